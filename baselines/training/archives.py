"""Image archives in formats of their own: IDX (MNIST, Fashion-MNIST) and CIFAR's binary form."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import MnasError

Parts = dict[str, tuple[Any, NDArray[np.int64]]]
# No file of these data sets is larger; what claims to be is refused before it fills the memory.
MAX_BYTES = 2**30


def read_idx(folder: Path) -> tuple[list[str], Parts]:
    """Classes and parts of a folder of IDX files: images as uint8 (N, height, width, 3), grey three times.

    Raises:
        MnasError: a file is missing, or is not what its name says.
    """
    parts: Parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        if part == "test" and not any(folder.glob(f"{prefix}-images*")):
            continue
        images = _idx(_one(folder, f"{prefix}-images*idx3-ubyte*"), 3)
        labels = _idx(_one(folder, f"{prefix}-labels*idx1-ubyte*"), 1).astype(np.int64)
        if len(images) != len(labels):
            raise MnasError(f"data: {folder} has {len(images)} {part} images but {len(labels)} labels; get it anew")
        parts[part] = (np.repeat(images[..., None], 3, axis=-1), labels)
    count = 1 + max(int(labels.max(initial=0)) for _, labels in parts.values())
    return [str(label) for label in range(count)], parts


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise MnasError(f"data: {folder} has no file {pattern}; get the data set anew")
    return found[0]


def _idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes: magic 0x0008NN, N sizes of four bytes, then the values."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read(MAX_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise MnasError(f"data: {file} cannot be read ({error}); get it anew") from None
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes((0, 0, 8, dimensions)):
        raise MnasError(f"data: {file} is no IDX file of bytes with {dimensions} dimensions; get it anew")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    if len(content) - head != np.prod(shape, dtype=object):
        raise MnasError(f"data: {file} says {shape} but holds {len(content) - head} values; get it anew")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


# By kind: bytes of labels before the image, which of them is the class, files of train and test, names of the classes.
_CIFAR = {
    10: (1, 0, [f"data_batch_{number}.bin" for number in range(1, 6)], ["test_batch.bin"], "batches.meta.txt"),
    100: (2, 1, ["train.bin"], ["test.bin"], "fine_label_names.txt"),
}


def read_cifar(source: Path) -> tuple[list[str], Parts]:
    """Classes and parts of CIFAR-10 or CIFAR-100 in binary form, in a folder or in the archive as it is distributed.

    Raises:
        MnasError: a file is missing or damaged.
    """
    try:
        files = dict(_tar_members(source) if source.is_file() else _folder_members(source))
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise MnasError(f"data: {source} cannot be read ({error}); get it anew") from None
    kind = 10 if "data_batch_1.bin" in files else 100
    labels_before, column, train, test, names = _CIFAR[kind]
    parts: Parts = {}
    for part, members in (("train", train), ("test", test)):
        images, labels = [], []
        for member in members:
            if member not in files:
                raise MnasError(f"data: {source} has no {member}, so it is no CIFAR in binary form; get it anew")
            values = np.frombuffer(files[member], np.uint8)
            if not len(values) or len(values) % (labels_before + 3072):
                raise MnasError(f"data: {member} of {source} has {len(values)} bytes, no whole images; get it anew")
            rows = values.reshape(-1, labels_before + 3072)
            labels.append(rows[:, column].astype(np.int64))
            images.append(rows[:, labels_before:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        parts[part] = (np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels))
        if parts[part][1].max() >= kind:
            raise MnasError(f"data: {source} has the label {parts[part][1].max()} of {kind} classes; get it anew")
    listed = files.get(names, b"").decode("utf-8", "replace").split()
    return listed if len(listed) == kind else [str(label) for label in range(kind)], parts


def _folder_members(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted([*folder.rglob("*.bin"), *folder.rglob("*.txt")]):
        if file.stat().st_size <= MAX_BYTES:
            yield file.name, file.read_bytes()


def _tar_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            name = member.name.rsplit("/", 1)[-1]
            if member.isfile() and name.endswith((".bin", ".txt")) and member.size <= MAX_BYTES:
                stream = opened.extractfile(member)
                assert stream is not None
                yield name, stream.read()
