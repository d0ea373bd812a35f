"""Data sets of libraries by name: Hugging Face's ``datasets`` and torchvision's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.training.images import pixels_of, reading
from search_spaces.errors import MnasError, shorten, unknown_name


@dataclass(frozen=True)
class Rows:
    """Images of a library's data set, decoded when they are asked for.

    Attributes:
        what: as a person knows them.
        identity: another text wherever one of them may have changed.
        rows: by index.
        column: of the image in a row.
        sizes: of the images as they are stored, in bytes; None of a data set that is the same everywhere.
    """

    what: str
    identity: str
    rows: Any
    column: str | int
    sizes: NDArray[np.int64] | None = None
    threads: int = 1  # a library need not have thought of several

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        with reading(self.name(index)):  # damaged, or no image at all
            return pixels_of(self.rows[int(index)][self.column])

    def name(self, index: int) -> str:
        """As `baselines.training.images.Images`."""
        return f"image {index} of {self.what}"

    def mark(self, index: int) -> str:
        """As `baselines.training.images.Images`."""
        return self.name(index) if self.sizes is None else f"{index} {self.sizes[index]}"

    def size(self, index: int) -> tuple[int, int]:
        """As `baselines.training.images.Images`."""
        width, height = self[index].shape[:2]
        return width, height


# By name of the part, images and labels.
Parts = dict[str, tuple[Rows, NDArray[np.int64]]]


def read_hugging_face(name: str) -> tuple[Sequence[str], Parts]:
    """A data set of ``datasets``, by name or as a folder of its files. Raises `MnasError` where it cannot be had."""
    try:
        import datasets
    except ImportError:
        raise MnasError("data: datasets is not installed; pip install 'mnas[hf]'") from None
    try:
        found = datasets.load_dataset(name)
    except Exception as error:  # its own, the network's, the hub's
        raise MnasError(f"data: hf:{name} cannot be loaded ({shorten(str(error))}); check the name") from None
    if "train" not in found:
        raise MnasError(f"data: hf:{name} has no part train (only {', '.join(found)}); choose another")
    features = found["train"].features
    image = next((key for key, kind in features.items() if type(kind).__name__ == "Image"), None)
    label = next((key for key, kind in features.items() if type(kind).__name__ == "ClassLabel"), None)
    if image is None or label is None:
        raise MnasError(f"data: hf:{name} has no column of images and no column of classes; choose another")
    names = {"train": "train", "validation": "val", "valid": "val", "test": "test"}
    parts = {
        names[split]: (
            Rows(f"hf:{name} {split}", f"hf:{name} {split} {rows._fingerprint}", rows, image, _stored(rows, image)),
            _integers(rows[label]),
        )
        for split, rows in found.items()
        if split in names and not {-1, None} & set(rows[label])  # a hub's test part may keep its labels to itself
    }
    return features[label].names, parts


def _stored(rows: Any, column: str) -> NDArray[np.int64]:
    """Bytes of each image of a data set of ``datasets``, without reading one; 0 of those that lie in files."""
    import pyarrow.compute

    lengths = pyarrow.compute.binary_length(pyarrow.compute.struct_field(rows.data.column(column), "bytes"))
    found: NDArray[np.int64] = lengths.fill_null(0).to_numpy().astype(np.int64)
    return found


def read_torchvision(name: str, folder: Path) -> tuple[Sequence[str], Parts]:
    """A data set of torchvision by the name of its class, kept in a folder. Raises `MnasError` as above."""
    from baselines.torchvision_import import import_torchvision

    sets = import_torchvision().datasets
    kind = getattr(sets, name, None)
    if not isinstance(kind, type):
        raise unknown_name("data set of torchvision", name, sets.__all__)
    parts: Parts = {}
    classes: Sequence[str] = ()
    for part in ("train", "test"):
        # Older ones of its sets say train=True, newer ones split="train".
        which: dict[str, Any] = {"split": part} if "split" in signature(kind).parameters else {"train": part == "train"}
        try:
            found = kind(str(folder), **which, download=True)
            labels = _integers(found.targets if hasattr(found, "targets") else (row[1] for row in found))
            what = f"torchvision:{name} {part}"
            parts[part] = (Rows(what, f"{what} {len(found)} in {folder}", found, 0), labels)
        except Exception as error:  # the network's, or of a set that is made in another way
            raise MnasError(
                f"data: torchvision:{name} cannot be loaded ({shorten(str(error))}); give a folder"
            ) from None
        classes = classes or getattr(found, "classes", None) or [str(label) for label in range(max(labels) + 1)]
    return classes, parts


def _integers(labels: Iterable[Any]) -> NDArray[np.int64]:
    return np.fromiter(map(int, labels), dtype=np.int64)
