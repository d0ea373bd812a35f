"""CIFAR-10 and CIFAR-100 in their Python form: pickles, which are read without running anything in them.

A pickle is a small program that may name any function to be called. Here, every name but those in `_KNOWN` is refused,
and for these there are stand-ins of our own, so that not even numpy's functions run on values from the file. Claims of
sizes are checked against the file before it is unpickled.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from baselines.training.data.archives import MAX_BYTES, Parts
from search_spaces.errors import MnasError, shorten
from search_spaces.serialization import read_bytes

# By file with the class names: its key of them, the key of the labels, and the files of train and test.
_LAYOUTS = {
    "batches.meta": ("label_names", "labels", [f"data_batch_{number}" for number in range(1, 6)], ["test_batch"]),
    "meta": ("fine_label_names", "fine_labels", ["train"], ["test"]),
}
_VALUES = 3 * 32 * 32
# A batch of CIFAR has one value for each label and file name, and three operations for each.
_MAX_OPERATIONS = 2_000_000
# Python's hash of a tuple in a tuple in … has no limit of its own.
_MAX_TUPLES = 20_000
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_REFUSED_OPERATIONS = {
    "FROZENSET",
    "INST",
    "OBJ",
    "NEWOBJ_EX",
    "PERSID",
    "BINPERSID",
    "EXT1",
    "EXT2",
    "EXT4",
    "NEXT_BUFFER",
}
_MEMO = {"PUT", "BINPUT", "LONG_BINPUT"}


def pickled_cifar(folder: Path) -> Path | None:
    """The folder with CIFAR's pickles in a folder, at most one level deeper; None if there is none."""
    for first, other in (("data_batch_1", "data_batch_1"), ("meta", "train")):
        for file in sorted([*folder.glob(first), *folder.glob(f"*/{first}")]):
            if file.is_file() and file.with_name(other).is_file():
                return file.parent
    return None


def read_pickled_cifar(folder: Path) -> tuple[list[str], Parts]:
    """Classes and parts of CIFAR-10 or CIFAR-100 (fine classes) in Python form. Images are uint8 (N, 32, 32, 3).

    Raises:
        MnasError: a file is missing or damaged, or holds anything but what CIFAR's files hold.
    """
    meta = next(name for name, layout in _LAYOUTS.items() if (folder / layout[2][0]).is_file())
    key, label_key, train, test = _LAYOUTS[meta]
    names = _value(folder / meta, _read(folder / meta), key)
    if not isinstance(names, list) or not all(isinstance(name, str | bytes) for name in names):
        raise MnasError(f"data: {folder / meta}: {key} must be a list of texts; download the data set again")
    classes = [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names]
    parts: Parts = {}
    for part, files in (("train", train), ("test", test)):
        found = [_batch(folder / name, label_key, len(classes)) for name in files]
        images, labels = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        parts[part] = (images, labels)
    return classes, parts


def _batch(file: Path, key: str, num_classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of a file."""
    content = _read(file)
    data, labels = _value(file, content, "data"), _value(file, content, key)
    images = data.values if isinstance(data, _Array) else None
    if images is None or images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != _VALUES:
        raise MnasError(f"data: {file}: data must be bytes of shape N x {_VALUES}; download the data set again")
    if isinstance(labels, _Array) and labels.values is not None and labels.values.ndim == 1:
        labels = labels.values.tolist()
    if not isinstance(labels, list) or len(labels) != len(images):
        raise MnasError(f"data: {file} has {len(images)} images but not as many {key}; download the data set again")
    for label in labels:
        if type(label) is not int or not 0 <= label < num_classes:
            raise MnasError(
                f"data: {file} has the label {shorten(label)}, expected 0 to {num_classes - 1}; download it again"
            )
    pixels = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), np.array(labels, dtype=np.int64)


def _value(file: Path, content: dict[Any, Any], key: str) -> Any:
    """A value by its key, which Python 2 wrote as bytes."""
    for name in (key, key.encode()):
        if name in content:
            return content[name]
    raise MnasError(f"data: {file} has no {key}; expected CIFAR in Python form; download it again")


def _read(file: Path) -> dict[Any, Any]:
    """The dictionary in a pickle."""
    if not file.is_file():
        raise MnasError(f"data: {file} not found; expected CIFAR in Python form; download it again")
    raw = read_bytes(file, MAX_BYTES, "part of CIFAR")
    try:
        _check_claims(raw)
        content = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except (RecursionError, MemoryError, Exception) as error:  # whatever a damaged pickle leads to
        reason = shorten(str(error), 200) if str(error) else type(error).__name__
        raise MnasError(f"data: {file} is not a pickle of CIFAR ({reason}); download the data set again") from None
    if not isinstance(content, dict):
        raise MnasError(f"data: {file} holds no dictionary, so it is not of CIFAR; download the data set again")
    return content


def _check_claims(raw: bytes) -> None:
    """Go through the operations of a pickle without doing them.

    Raises:
        ValueError: one is unknown or refused, there are too many, or one claims more than there is. (`Unpickler`
            allocates what is claimed: the length of a text, or a place in its memory.)
    """
    tuples = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(raw)):
        tuples += operation.name in _TUPLES
        if number >= _MAX_OPERATIONS or tuples > _MAX_TUPLES:
            raise ValueError(f"it has more than {_MAX_OPERATIONS} operations, or {_MAX_TUPLES} tuples")
        if operation.name in _REFUSED_OPERATIONS:
            raise ValueError(f"the operation {operation.name} is not allowed")
        if operation.name in _MEMO and int(argument or 0) > number:
            raise ValueError(f"{operation.name} of the place {argument}")
        if operation.name == "FRAME" and int(argument or 0) > len(raw):
            raise ValueError(f"a frame of {argument} bytes")


class _Array:
    """What numpy's arrays are built from: called by nobody, filled by `__setstate__`."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        self.values = _values(content, dtype, shape, "F" if fortran else "C")


class _Type:
    """A numeric type of numpy."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if text not in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "b1"):
            raise pickle.UnpicklingError(f"the type {shorten(text)} of values is not of CIFAR")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"the byte order {shorten(order)} is unknown")
        self.dtype = np.dtype(order.replace("|", "=") + self.dtype.str[1:])


class _Function:
    """A function that a pickle may call, and whose attributes it cannot set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function is not to be changed")


def _values(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """Values of an array from bytes that the pickle holds."""
    if not isinstance(dtype, _Type) or not isinstance(content, bytes | bytearray) or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array is not made of bytes and their type")
    if not isinstance(shape, tuple) or len(shape) > 4 or not all(type(side) is int and side >= 0 for side in shape):
        raise pickle.UnpicklingError(f"the shape {shorten(shape)} of an array")
    if math.prod(shape) * dtype.dtype.itemsize != len(content):
        raise pickle.UnpicklingError(f"the shape {shorten(shape)} of an array with {len(content)} bytes")
    return np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    array = _Array()
    array.values = _values(content, dtype, shape, order)
    return array


def _scalar(dtype: Any, content: Any) -> Any:
    return _values(content, dtype, (), "C").item()


def _encode(text: Any, encoding: Any, *_: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1", "latin-1"):
        raise pickle.UnpicklingError(f"the encoding {shorten(encoding)}")
    return text.encode("latin-1")


# The names that pickles of arrays have, of numpy 1 and 2, and what stands for them.
_KNOWN: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("numpy", "ndarray"): _reconstruct,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in `_KNOWN` alone."""

    def find_class(self, module: str, name: str, /) -> Any:
        """What stands for a name. Raises `pickle.UnpicklingError` if the name is not allowed."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which is not allowed")
        return _Function(_KNOWN[module, name])
