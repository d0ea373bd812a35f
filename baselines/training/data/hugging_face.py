"""Data sets of Hugging Face's ``datasets``, by name or from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.training.data.labels import LABEL_COLUMNS, one_column, plain_name
from baselines.training.data.libraries import LibrarySet, Rows, Split, fill, parts_of
from search_spaces.errors import MnasError, not_installed, one_line, reason_of

# Sets of digits and letters, which are not flipped.
_WRITTEN = ("mnist", "emnist", "kmnist", "qmnist", "usps", "svhn")
# Types of columns that may hold classes.
_LABELS = ("string", "large_string", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def read_hugging_face(name: str) -> LibrarySet:
    """A data set of ``datasets``.

    Args:
        name: name on the hub (``NAME:CONFIGURATION`` if it has several), or a folder of the data set's files.

    Raises:
        MnasError: the data set cannot be loaded or used, or ``datasets`` is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise not_installed("data", "datasets", "hf") from None
    written = Path(name.partition(":")[0]).name.lower() in _WRITTEN
    source, found, splits = f"hf:{name}", LibrarySet(written=written), {}
    try:
        loaded = _load(datasets, name)
    except Exception as error:  # of the library, the network or the hub
        raise MnasError(f"data: {source} cannot be loaded ({reason_of(error, 300)}); check the name") from None
    chosen = parts_of(found, source, loaded)
    image, label = _columns(found, source, loaded[next(iter(chosen.values()))])
    names = None
    for part, split in chosen.items():
        rows = loaded[split]
        if absent := [column for column in (image, label) if column not in rows.features]:
            found.aside.append(f"the part {one_line(split, 30)}, which has no column {one_line(absent[0], 30)}")
            continue
        names = names or getattr(rows.features[label], "names", None)
        labels = rows[label]
        rows = rows.cast_column(image, datasets.Image(decode=False))  # only our formats are decoded
        identity = f"{source} {split} {rows._fingerprint}"
        splits[part] = Split(Rows(f"{source} {split}", identity, rows, image, _image_bytes(rows, image)), labels)
    return fill(found, source, splits, names)


def _load(datasets: Any, name: str) -> Any:
    """The splits of a data set: a mapping from their names."""
    if not Path(name).exists():
        plain, _, configuration = name.partition(":")
        return datasets.load_dataset(plain, configuration or None)
    if any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json")):
        saved = datasets.load_from_disk(name)
        return saved if isinstance(saved, dict) else {"saved": saved}
    return datasets.load_dataset(name)


def _columns(found: LibrarySet, source: str, rows: Any) -> tuple[str, str]:
    """The columns of images and of labels; says which of several were taken."""
    features = rows.features
    kinds = {name: type(kind).__name__ for name, kind in features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    images = images or [name for name, kind in features.items() if _has_bytes(kind)]
    if not images:
        raise MnasError(f"data: {source} has no column of images (only {_listed(kinds)}); use another data set")
    plain = [name for name, kind in features.items() if getattr(kind, "dtype", None) in _LABELS and name not in images]
    labels = [name for name in plain if kinds[name] == "ClassLabel"] or [
        name for name in plain if plain_name(name) in LABEL_COLUMNS
    ]
    if not labels and len(plain) == 1:
        labels = plain
    if not labels:
        raise MnasError(
            f"data: {source} has no column of one class for each image (only {_listed(kinds)}); name it label"
        )
    label = labels[0]
    if kinds[label] != "ClassLabel":
        label = one_column(source, {name: rows[name] for name in labels})
    for what, used, others in (("images", images[0], images[1:]), ("classes", label, labels[1:])):
        if others:
            also = one_line(", ".join(others), 60)
            found.notes.append(f"{what} are those of the column {one_line(used, 30)}; also in the set: {also}")
    return images[0], label


def _has_bytes(kind: Any) -> bool:
    """Whether a column holds the contents of files, alone or with their names, as other programs write them."""
    inside = kind.get("bytes") if isinstance(kind, dict) else kind
    return getattr(inside, "dtype", None) in ("binary", "large_binary")


def _listed(kinds: Mapping[str, str]) -> str:
    return one_line(", ".join(kinds), 100)


def _image_bytes(rows: Any, column: str) -> NDArray[np.int64]:
    """Size of each image of a data set, without reading the images; 0 for images in files."""
    import pyarrow.compute

    lengths = pyarrow.compute.binary_length(pyarrow.compute.struct_field(rows.data.column(column), "bytes"))
    sizes: NDArray[np.int64] = lengths.fill_null(0).to_numpy().astype(np.int64)
    return sizes
