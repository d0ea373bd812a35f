"""Readers of data sets in arrays: IDX (MNIST, Fashion-MNIST) and the binary form of CIFAR."""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.training.data.folders import files_near
from search_spaces.errors import MnasError, one_line
from search_spaces.serialization import read_bytes

Parts = dict[str, tuple[Any, NDArray[np.int64]]]
# No file of these data sets, unpacked, and no archive in total is larger. A larger one is refused before it fills the
# memory.
MAX_BYTES = 2**30
# Of the sides of images in IDX files.
MAX_SIDE = 4096


# Files of MNIST and of all that have its form: train-images-idx3-ubyte.gz, emnist-letters-test-labels-idx1-ubyte,
# train-images.idx3-ubyte, also in a folder of that name.
_IDX_NAME = re.compile(
    r"(?P<set>.*?)(?P<part>train|t10k|test)[-._](?P<kind>images|labels)[-._]idx[13][-._]ubyte(\.gz)?"
)


def idx_files(folder: Path) -> dict[tuple[str, str, str], Path]:
    """The IDX files in a folder and in those in it, by the name of the set, part (train or test) and kind."""
    found: dict[tuple[str, str, str], Path] = {}
    for file in files_near(folder, lambda name: "ubyte" in name.lower()):
        match = _IDX_NAME.fullmatch(file.name.lower())
        if match:
            part = "train" if match["part"] == "train" else "test"
            found.setdefault((match["set"].strip("-._"), part, match["kind"]), file)
    return found


def read_idx(folder: Path) -> tuple[list[str], Parts]:
    """Classes and parts of a folder of IDX files. Images are uint8 (N, height, width, 1).

    The classes are the labels that occur: they may begin with 1, or have gaps.

    Raises:
        MnasError: a file is missing or damaged, or the folder holds several sets.
    """
    files = idx_files(folder)
    sets = sorted({name for name, part, _ in files if part == "train"})
    if len(sets) > 1:
        names = ", ".join(one_line(name) for name in sets)
        raise MnasError(f"data: {folder} holds several sets ({names}); put the files of one into a folder of its own")
    parts: Parts = {}
    for part in ("train", "test"):
        if part == "test" and (sets[0], part, "images") not in files:
            continue
        found = []
        for kind, dimensions in (("images", 3), ("labels", 1)):
            if (sets[0], part, kind) not in files:
                raise MnasError(f"data: {folder} has no file of {part} {kind} in IDX form; download the data set again")
            found.append(_read_idx_file(files[sets[0], part, kind], dimensions))
        images, labels = found
        if len(images) != len(labels):
            raise MnasError(
                f"data: {folder} has {len(images)} {part} images but {len(labels)} labels; download it again"
            )
        parts[part] = (images[..., None], labels.astype(np.int64))
    known = np.unique(np.concatenate([labels for _, labels in parts.values()]))
    return [str(label) for label in known], {
        part: (images, np.searchsorted(known, labels)) for part, (images, labels) in parts.items()
    }


def _read_idx_file(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """Values of an IDX file of bytes: magic 0x0008NN, N sizes of four bytes, then the values.

    Raises:
        MnasError: it is not such a file, or cannot be read.
    """
    try:
        content = read_bytes(file, MAX_BYTES, "part of a data set")
        if file.suffix == ".gz":
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise MnasError(f"data: {file} cannot be read ({error}); download it again") from None
    if len(content) > MAX_BYTES:
        raise MnasError(f"data: {file} unpacks to more than {MAX_BYTES} bytes; no data set of this kind has so many")
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise MnasError(f"data: {file}: expected an IDX file of bytes with {dimensions} dimensions; download it again")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    if not all(1 <= side <= MAX_SIDE for side in shape[1:]):
        raise MnasError(f"data: {file} has images of {shape[1]} x {shape[2]} px, expected sides of 1 to {MAX_SIDE}")
    if len(content) - header != math.prod(shape):
        raise MnasError(f"data: {file} has the shape {shape} but {len(content) - header} values; download it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


# By number of classes: label bytes before each image, index of the class among them, files of train and test, file of
# the class names.
_CIFAR = {
    10: (1, 0, [f"data_batch_{number}.bin" for number in range(1, 6)], ["test_batch.bin"], "batches.meta.txt"),
    100: (2, 1, ["train.bin"], ["test.bin"], "fine_label_names.txt"),
}


def read_cifar(folder: Path) -> tuple[list[str], Parts]:
    """Classes and parts of CIFAR-10 or CIFAR-100 in binary form, from a folder.

    Raises:
        MnasError: a file is missing or damaged.
    """
    files = dict(_folder_members(folder))
    num_classes = 10 if "data_batch_1.bin" in files else 100
    label_bytes, column, train, test, names = _CIFAR[num_classes]
    parts: Parts = {}
    for part, members in (("train", train), ("test", test)):
        images, labels = [], []
        for member in members:
            if member not in files:
                raise MnasError(f"data: {folder} has no {member}; expected CIFAR in binary form; download it again")
            values = np.frombuffer(files[member], np.uint8)
            size = label_bytes + 3072
            if not len(values) or len(values) % size:
                raise MnasError(
                    f"data: {member} of {folder} has {len(values)} bytes, not a multiple of {size}; download it again"
                )
            rows = values.reshape(-1, size)
            labels.append(rows[:, column].astype(np.int64))
            images.append(rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        parts[part] = (np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels))
        if (largest := parts[part][1].max()) >= num_classes:
            raise MnasError(f"data: {folder} has the label {largest} but only {num_classes} classes; download it again")
    class_names = files.get(names, b"").decode("utf-8", "replace").split()
    return class_names if len(class_names) == num_classes else [str(label) for label in range(num_classes)], parts


_CIFAR_FILES = {name for *_, train, test, names in _CIFAR.values() for name in (*train, *test, names)}


def _folder_members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The files of CIFAR in a folder, by name."""
    left = MAX_BYTES
    for file in sorted([*folder.rglob("*.bin"), *folder.rglob("*.txt")]):
        if file.name in _CIFAR_FILES and file.is_file():
            content = read_bytes(file, left, "part of CIFAR")
            left -= len(content)
            yield file.name, content
