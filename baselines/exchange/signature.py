"""What a classifier expects of images and what its outputs mean, as a training's folder knows it.

Exported files carry it in their metadata: an entry for each field of `Signature`, in JSON where it is not a text.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baselines.training.data.decoding import MODES
from baselines.training.data.fit import FITS
from search_spaces.architecture import MAX_CLASSES, MAX_RESOLUTION, check_int, check_name
from search_spaces.errors import FieldError, MnasError, shorten
from search_spaces.serialization import from_dict, to_dict

# Characters of an entry; a million classes have names of sixteen letters then.
MAX_ENTRY = 2**24


@dataclass(frozen=True)
class Signature:
    """What a classifier expects of images, and what its outputs mean.

    Attributes:
        classes: names of the classes, in the order of the outputs.
        side: side of the square input in pixels.
        fit: how images that are not square become square, one of `baselines.training.data.fit.FITS`.
        mean, std: what is subtracted from each channel, as a fraction of white, and what it is divided by.
        network: name of the network.
    """

    classes: tuple[str, ...]
    side: int
    fit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    network: str = ""

    def __post_init__(self) -> None:
        check_int("number of classes", len(self.classes), 1, MAX_CLASSES)
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for place, name in enumerate(self.classes) if name in self.classes[:place])
            raise FieldError("classes", f"{shorten(twice)} is there twice")
        check_int("side", self.side, 1, MAX_RESOLUTION)
        check_name("fit", self.fit, FITS)
        for name, values, least in (("mean", self.mean, -math.inf), ("std", self.std, 0)):
            # Compared as Python's numbers: an integer may be too large for a float.
            if len(values) not in MODES or not all(least < value < 1e6 and value > -1e6 for value in values):
                raise FieldError(name, f"{shorten(values)} is not a number for each channel: grey, RGB or RGBA")
        if len(self.mean) != len(self.std):
            raise FieldError("std", f"{shorten(self.std)} has other channels than the mean")

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return len(self.mean)

    def entries(self) -> dict[str, str]:
        """The entries of a file's metadata."""
        fields = to_dict(self).items()
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields}


def read_signature(entries: Mapping[str, str], file: object) -> Signature:
    """The signature in a file's metadata, which may come from anybody; other entries are left aside.

    Args:
        entries: the metadata.
        file: path of the file, for messages.

    Raises:
        MnasError: entries are missing, or one breaks its rule.
    """
    fields = {field.name: field for field in dataclasses.fields(Signature)}
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in entries]
    if missing:
        raise MnasError(
            f"{file}: its metadata lack {', '.join(missing)}, without which images cannot be classified; write it "
            "with mnas export FOLDER --format onnx, where FOLDER is that of a training"
        )
    try:
        read = {name: _value(name, entries[name], str(field.type)) for name, field in fields.items() if name in entries}
        return from_dict(Signature, read)
    except FieldError as error:
        raise MnasError(f"{file}: its metadata are damaged ({error}); export it again") from None


def _value(name: str, text: str, kind: str) -> Any:
    if len(text) > MAX_ENTRY:
        raise FieldError(name, f"longer than {MAX_ENTRY:,} characters")
    if kind == "str":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FieldError(name, f"{shorten(text)} is not JSON") from None
