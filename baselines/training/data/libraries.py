"""Data sets of libraries, by name: Hugging Face ``datasets`` and torchvision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.training.data.decoding import decode, pixels_of, reading
from baselines.training.data.images import Digests, Look, digest_of
from search_spaces.errors import MnasError, not_installed, shorten, unknown_name


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
        digests: as `baselines.training.data.images.Images`.
    """

    title: str
    identity: str
    rows: Any
    column: str | int
    sizes: NDArray[np.int64] | None = None
    threads: int = 1
    digests: Digests | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self._read(index)[1]

    def _read(self, index: int) -> tuple[bytes | None, NDArray[np.uint8]]:
        """The content of an image's file, None if there is no file, and its pixels."""
        name = self.name(index)
        with reading(name):
            found = self.rows[int(index)][self.column]
            if not isinstance(found, dict):
                return None, pixels_of(found)
            content: bytes = found["bytes"] if found["bytes"] is not None else Path(found["path"]).read_bytes()
        return content, decode(content, name)

    def name(self, index: int) -> str:
        """As `baselines.training.data.images.Images`."""
        return f"image {index} of {self.title}"

    def portable_name(self, index: int) -> str:
        """As `baselines.training.data.images.Images`."""
        return str(index)

    def former_name(self, index: int) -> str:
        """As `baselines.training.data.images.Images`."""
        return self.name(index) if self.sizes is None else f"{index} {self.sizes[index]}"

    def look(self, index: int) -> Look:
        """As `baselines.training.data.images.Images`."""
        content, pixels = self._read(index)
        height, width = pixels.shape[:2]
        return Look(width, height, digest_of(pixels.tobytes() if content is None else content))


# Images and labels by name of the part.
Parts = dict[str, tuple[Rows, NDArray[np.int64]]]


def read_hugging_face(name: str) -> tuple[Sequence[str], Parts]:
    """Classes and parts of a data set of ``datasets``.

    Args:
        name: name on the hub, or a folder of the data set's files.

    Raises:
        MnasError: the data set cannot be loaded or used, or ``datasets`` is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise not_installed("data", "datasets", "hf") from None
    try:
        found = datasets.load_dataset(name)
    except Exception as error:  # of the library, the network or the hub
        raise MnasError(f"data: hf:{name} cannot be loaded ({shorten(str(error))}); check the name") from None
    if "train" not in found:
        raise MnasError(f"data: hf:{name} has no part train (only {', '.join(found)}); use another data set")
    features = found["train"].features
    image = next((key for key, kind in features.items() if type(kind).__name__ == "Image"), None)
    label = next((key for key, kind in features.items() if type(kind).__name__ == "ClassLabel"), None)
    if image is None or label is None:
        raise MnasError(f"data: hf:{name}: expected a column of images and a column of classes; use another data set")
    found = found.cast_column(image, datasets.Image(decode=False))  # only our formats are decoded
    names = {"train": "train", "validation": "val", "valid": "val", "test": "test"}
    parts = {
        names[split]: (
            Rows(
                f"hf:{name} {split}", f"hf:{name} {split} {rows._fingerprint}", rows, image, _image_bytes(rows, image)
            ),
            _integers(rows[label]),
        )
        for split, rows in found.items()
        if split in names and not {-1, None} & set(rows[label])  # a test part may have no labels
    }
    return features[label].names, parts


def _image_bytes(rows: Any, column: str) -> NDArray[np.int64]:
    """Size of each image of a data set of ``datasets``, without reading the images; 0 for images in files."""
    import pyarrow.compute

    lengths = pyarrow.compute.binary_length(pyarrow.compute.struct_field(rows.data.column(column), "bytes"))
    sizes: NDArray[np.int64] = lengths.fill_null(0).to_numpy().astype(np.int64)
    return sizes


def read_torchvision(name: str, folder: Path) -> tuple[Sequence[str], Parts]:
    """Classes and parts of a data set of torchvision, by the name of its class.

    Args:
        name: name of the class in ``torchvision.datasets``.
        folder: folder that the data set is downloaded to.

    Raises:
        MnasError: the data set is unknown or cannot be loaded, or torchvision is not installed.
    """
    from baselines.exchange.torchvision_import import import_torchvision

    sets = import_torchvision().datasets
    kind = getattr(sets, name, None)
    if not isinstance(kind, type):
        raise unknown_name("data set of torchvision", name, sets.__all__)
    parts: Parts = {}
    classes: Sequence[str] = ()
    for part in ("train", "test"):
        # Older data sets take train=True, newer ones split="train".
        choice: dict[str, Any] = (
            {"split": part} if "split" in signature(kind).parameters else {"train": part == "train"}
        )
        try:
            found = kind(str(folder), **choice, download=True)
            labels = _integers(found.targets if hasattr(found, "targets") else (row[1] for row in found))
            title = f"torchvision:{name} {part}"
            parts[part] = (Rows(title, f"{title} {len(found)} in {folder}", found, 0), labels)
        except Exception as error:  # of the network, or of a data set with other arguments
            raise MnasError(
                f"data: torchvision:{name} cannot be loaded ({shorten(str(error))}); use a folder of images"
            ) from None
        classes = classes or getattr(found, "classes", None) or [str(label) for label in range(max(labels) + 1)]
    return classes, parts


def _integers(labels: Iterable[Any]) -> NDArray[np.int64]:
    return np.fromiter(map(int, labels), dtype=np.int64)
