"""Images of the data sets of libraries: rows that are decoded on access, and parts by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.text import counted
from baselines.training.data.decoding import content_of, decode, pixels_of, reading
from baselines.training.data.folders import PARTS, part_of
from baselines.training.data.images import Digests, Look, digest_of, look_at
from baselines.training.data.labels import classes_of
from search_spaces.architecture import RGB
from search_spaces.errors import MnasError, one_line, shorten


@dataclass
class Rows:
    """Images of a library's data set, decoded on access.

    Attributes:
        title: name of the data set and part for messages.
        identity: text that differs if any image may have changed.
        rows: rows of the data set, by index.
        column: column of the image in a row.
        sizes: sizes of the stored images in bytes; None for a data set that is the same everywhere.
        threads: number of threads that may read at once; 1, since a library need not be thread-safe.
        kept: indices of the rows that are used; None for all.
        digests, channels: as `baselines.training.data.images.Images`.
    """

    title: str
    identity: str
    rows: Any
    column: str | int
    sizes: NDArray[np.int64] | None = None
    threads: int = 1
    digests: Digests | None = None
    kept: NDArray[np.int64] | None = None
    channels: int = RGB

    def __len__(self) -> int:
        return len(self.rows if self.kept is None else self.kept)

    def _row(self, index: int) -> int:
        """The row of an image in the data set."""
        return int(index if self.kept is None else self.kept[index])

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self._read(index)[1]

    def small(self, index: int, least: int) -> NDArray[np.uint8]:
        """As `baselines.training.data.images.Images`."""
        return self._read(index, least)[1]

    def _read(self, index: int, least: int | None = None) -> tuple[bytes | None, NDArray[np.uint8]]:
        """The content of an image's file, None if there is no file, and its pixels."""
        name = self.name(index)
        with reading(name):
            found = self.rows[self._row(index)][self.column]
            if not isinstance(found, dict):
                return None, pixels_of(found, self.channels)
            content: bytes = found["bytes"] if found["bytes"] is not None else content_of(Path(found["path"]))
        return content, decode(content, name, least, self.channels)

    def name(self, index: int) -> str:
        """As `baselines.training.data.images.Images`."""
        return f"image {self._row(index)} of {self.title}"

    def portable_name(self, index: int) -> str:
        """As `baselines.training.data.images.Images`."""
        return str(self._row(index))

    def former_name(self, index: int) -> str:
        """As `baselines.training.data.images.Images`."""
        return self.name(index) if self.sizes is None else f"{self._row(index)} {self.sizes[self._row(index)]}"

    def look(self, index: int) -> Look:
        """As `baselines.training.data.images.Images`."""
        content, pixels = self._read(index)
        return look_at(pixels, digest_of(pixels.tobytes() if content is None else content))


@dataclass
class Split:
    """A part of a data set as a library has it.

    Attributes:
        images: its images.
        labels: its labels, None where there is none.
    """

    images: Rows
    labels: Sequence[Any]


@dataclass
class LibrarySet:
    """Images of a library's data set.

    Attributes:
        classes: names of the classes, in the order of the labels.
        parts: images and labels by name of the part; ``split`` alone if the set is not divided.
        aside: what was left aside and why, for a person.
        notes: what was assumed, for a person.
        written: whether these are digits or letters.
    """

    classes: Sequence[str] = ()
    parts: dict[str, tuple[Any, NDArray[np.int64]]] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    written: bool = False


def fill(found: LibrarySet, source: str, splits: dict[str, Split], names: Sequence[str] | None) -> LibrarySet:
    """Fill in classes and parts, without images that have no label of a class and classes that have no images.

    Args:
        found: set to fill, in which something may have been left aside already.
        source: source of the images, for messages.
        splits: images and labels of each part.
        names: names of the classes, if labels are indices of them; -1 is then no label, as usual.

    Raises:
        MnasError: a label is neither a text nor a whole number, or no image has one.
    """
    places = {part: _labelled(found, part, split.labels, names) for part, split in splits.items()}
    labels = [splits[part].labels[place] for part in splits for place in places[part]]
    if not labels:
        raise MnasError(f"data: {source} has no image with a label; use another data set")
    found.classes, indices = classes_of(source, labels, names)
    if unused := [name for name in names or () if name not in found.classes]:
        more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
        found.aside.append(f"the class {one_line(unused[0], 30)}{more}, without images")
    start = 0
    for part, split in splits.items():
        kept = places[part]
        if len(kept) < len(split.labels):
            split.images.kept = np.array(kept, dtype=np.int64)
        if kept:
            found.parts[part] = (split.images, indices[start : start + len(kept)])
        start += len(kept)
    return found


def _labelled(found: LibrarySet, part: str, labels: Sequence[Any], names: Sequence[str] | None) -> list[int]:
    """The places of labels of a class; says how many others there are."""
    places, missing, beyond = [], 0, []
    for place, label in enumerate(labels):
        number = names is not None and isinstance(label, int | np.integer)
        if label is None or (number and label == -1):
            missing += 1
        elif number and not 0 <= label < len(names or ()):
            beyond.append(label)
        else:
            places.append(place)
    if missing:
        found.aside.append(f"{counted(missing, 'image')} of {part} without a label")
    if beyond:
        outside = f"outside 0 to {len(names or ()) - 1}, such as {shorten(beyond[0])}"
        found.aside.append(f"{counted(len(beyond), 'image')} of {part} with a label {outside}")
    return places


def parts_of(found: LibrarySet, source: str, splits: Iterable[str]) -> dict[str, str]:
    """The split of each part, by their names; a single split of another name than train is to be divided.

    Raises:
        MnasError: there are several splits, and none to train on.
    """
    splits, chosen, others = list(splits), {}, []
    for split in splits:
        part = part_of(split)
        if part is None or part in chosen:
            others.append(split)
        else:
            chosen[part] = split
    if "train" in chosen:
        found.aside += [f"the part {one_line(split, 30)}, which is not train, val or test" for split in others]
        return {part: chosen[part] for part in PARTS if part in chosen}
    if len(splits) == 1:
        found.notes.append(f"the only part, {one_line(splits[0], 30)}, is divided into train, val and test")
        return {"split": splits[0]}
    raise MnasError(f"data: {source} has no part train (only {', '.join(splits)}); use another data set")
