"""Images with classes, from where people have them: folders, IDX files, CIFAR's binary archives, libraries by name.

    folder/{train,val,test}/CLASS/*.jpg     val and test may be missing
    folder/CLASS/*.jpg                      split: of each class 10 % for val and 10 % for test
    folder of train-images-idx3-ubyte …     MNIST and Fashion-MNIST, packed with gzip or not
    folder or cifar-10-binary.tar.gz        CIFAR-10 and CIFAR-100 in their binary form
    hf:NAME, torchvision:NAME               as those libraries name them; where they are installed

A validation part is always held out of train: what is there as val, else `VAL_SHARE` of each class of train, drawn
with the seed. Test is never looked at by training. Small images of one size are packed once into a memory-mapped array
in the cache; larger ones are read from their files as they are needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from baselines.training.archives import read_cifar, read_idx
from baselines.training.libraries import Rows, read_hugging_face, read_torchvision
from search_spaces.errors import MnasError

VAL_SHARE = 0.1
# Images up to this side, all of one size, are packed.
PACKED_SIDE = 128
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
PARTS = ("train", "val", "test")
LIBRARIES = ("hf", "torchvision")

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Images(Protocol):
    """Images that can be read one by one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pixels:
        """One image: uint8 of shape (height, width, 3)."""
        ...


@dataclass(frozen=True)
class Part:
    """Images of one purpose, with their classes.

    Attributes:
        images: of shape (N, side, side, 3) where they are packed.
        labels: of shape (N,), from 0.
    """

    images: Any
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def packed(self) -> bool:
        """Whether the images are one array."""
        return isinstance(self.images, np.ndarray)

    def take(self, indices: NDArray[np.int64]) -> Part:
        """Some of them, in that order."""
        images = self.images[indices] if self.packed else _Chosen(self.images, indices)
        return Part(images, self.labels[indices])


@dataclass(frozen=True)
class _Chosen:
    """Some of the images of others."""

    images: Images
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Pixels:
        return self.images[int(self.indices[index])]


@dataclass(frozen=True)
class ImageData:
    """Everything that is to be learned from.

    Attributes:
        source: as a person named it.
        classes: names, in the order of the labels.
        train, val, test: parts; test has no images where there are none.
        fingerprint: 16 hex digits over labels and images of all parts (files: over their names and sizes).
        side: of all images in pixels; None where they differ.
        skipped: files that could not be read.
    """

    source: str
    classes: tuple[str, ...]
    train: Part
    val: Part
    test: Part
    fingerprint: str
    side: int | None
    skipped: tuple[str, ...] = ()

    def about(self) -> dict[str, Any]:
        """What a record of a training says of its data."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "classes": len(self.classes),
            "side": self.side,
            **{name: len(getattr(self, name)) for name in PARTS},
            "skipped": len(self.skipped),
        }


@dataclass
class Raw:
    """What a source has, before val is held out: by part, images and labels."""

    classes: Sequence[str]
    parts: dict[str, tuple[Any, Labels]]
    skipped: list[str] = field(default_factory=list)


def load_data(source: str, seed: int = 0, progress: Callable[[str], None] = lambda text: None) -> ImageData:
    """The images that a source names; see the module.

    Args:
        seed: of what is held out for validation; what is for test is the same for every seed.
        progress: is told of what takes long.

    Raises:
        MnasError: there is no such source, it holds no images that can be used, or a class is empty or alone.
    """
    raw = _raw(source, progress)
    _check_classes(source, raw)
    parts = {name: Part(*images) for name, images in raw.parts.items()}
    for name, wanted, of_part in (("test", "split" in parts, 0), ("val", "val" not in parts, seed)):
        origin = "split" if "split" in parts else "train"
        if wanted:
            held, rest = _held_out(parts[origin].labels, np.random.default_rng(of_part))
            parts[name], parts[origin] = parts[origin].take(held), parts[origin].take(rest)
    parts["train"] = parts.pop("split", parts.get("train", _NOTHING))
    images = parts["train"].images
    side = images.shape[1] if isinstance(images, np.ndarray) else None
    return ImageData(
        source=source,
        classes=tuple(raw.classes),
        train=parts["train"],
        val=parts["val"],
        test=parts.get("test", _NOTHING),
        fingerprint=_fingerprint(raw),
        side=side,
        skipped=tuple(raw.skipped),
    )


_NOTHING = Part(np.empty((0, 1, 1, 3), dtype=np.uint8), np.empty(0, dtype=np.int64))


def _held_out(labels: Labels, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of a share of each class, at least one and never all, and of the rest; both in order."""
    held = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(len(members) - 1, max(1, round(VAL_SHARE * len(members))))
        held.append(rng.permutation(members)[:count])
    chosen = np.sort(np.concatenate(held)) if held else np.empty(0, dtype=np.int64)
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def stratified(labels: Labels, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Indices of ``count`` of the images, or of all where there are no more, each class with its share, in order.

    Those of a smaller count are among those of a larger one.
    """
    if count >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    # Images of a class are spread evenly over the unit interval; the first ``count`` places are every class's share.
    places = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        places[rng.permutation(members)] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.sort(np.argsort(places, kind="stable")[:count])


def _check_classes(source: str, raw: Raw) -> None:
    learned = raw.parts.get("train", raw.parts.get("split"))
    if learned is None or not len(learned[1]):
        raise MnasError(f"data: {source} has no images to train on; give a folder of class folders (docs/training.md)")
    if len(raw.classes) < 2:
        raise MnasError(f"data: {source} has one class, {raw.classes[0]!r}, so there is nothing to tell apart; add one")
    counts = np.bincount(learned[1], minlength=len(raw.classes))
    for name, count in zip(raw.classes, counts, strict=True):
        if count < 2:
            what = "no image" if count == 0 else "one image, of which none can be held out"
            raise MnasError(f"data: class {name!r} of {source} has {what}; add some or remove the class")


def _fingerprint(raw: Raw) -> str:
    total = hashlib.sha256(json.dumps(list(raw.classes)).encode())
    for name in sorted(raw.parts):
        images, labels = raw.parts[name]
        total.update(f"{name} {len(labels)} ".encode() + labels.tobytes())
        if isinstance(images, np.ndarray):
            for start in range(0, len(images), 4096):
                total.update(np.ascontiguousarray(images[start : start + 4096]).tobytes())
        elif isinstance(images, _Files | Rows):
            total.update(images.listing.encode())
    return total.hexdigest()[:16]


# --- sources ----------------------------------------------------------------------------------------------------------


def _raw(source: str, progress: Callable[[str], None]) -> Raw:
    prefix, _, name = source.partition(":")
    if prefix in LIBRARIES and name:
        return _library(prefix, name)
    path = Path(source)
    if path.is_file():
        if not tarfile.is_tarfile(path):
            raise MnasError(f"data: {source} is neither a folder nor a binary archive of CIFAR; give one of these")
        return Raw(*read_cifar(path))
    if not path.is_dir():
        raise MnasError(f"data: there is no folder {source}; give one, or hf:NAME or torchvision:NAME")
    if any(path.glob("train-images*idx3-ubyte*")):
        return Raw(*read_idx(path))
    if any(path.glob("**/data_batch_1.bin")) or any(path.glob("**/train.bin")):
        return Raw(*read_cifar(path))
    return _folders(path, progress)


def _folders(path: Path, progress: Callable[[str], None]) -> Raw:
    """Class folders, in parts or to be split."""
    roots = {part: path / part for part in PARTS if (path / part).is_dir()}
    if roots and "train" not in roots:
        raise MnasError(f"data: {path} has {' and '.join(roots)} but no train; add a folder train")
    roots = roots or {"split": path}
    learned = next(iter(roots.values()))
    classes = _class_names(learned)
    if not classes:
        raise MnasError(f"data: {learned} has no class folders with images; a folder for each class is needed")
    parts: dict[str, tuple[Any, Labels]] = {}
    skipped: list[str] = []
    for part, root in roots.items():
        for name in _class_names(root):
            if name not in classes:
                raise MnasError(f"data: class {name!r} is in {root} but not in {learned}; add it there or remove it")
        files = [
            (file, label)
            for label, name in enumerate(classes)
            if (root / name).is_dir()
            for file in sorted((root / name).rglob("*"))
            if file.suffix.lower() in SUFFIXES and file.is_file()
        ]
        if not files and part not in (learned.name, "split"):
            raise MnasError(f"data: {root} has no images; add some or remove the folder")
        parts[part] = _read_files(path, files, skipped, progress)
    return Raw(classes, parts, skipped)


def _class_names(root: Path) -> list[str]:
    return sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))


class _Files:
    """Images in files, decoded when they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    @property
    def listing(self) -> str:
        """Names and sizes."""
        return "\n".join(f"{'/'.join(file.parts[-2:])} {file.stat().st_size}" for file in self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Pixels:
        return decode(self._files[index])


def decode(file: Path) -> Pixels:
    """An image file as uint8 of shape (height, width, 3), upright. Raises `OSError` where it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError, EOFError) as error:
        raise OSError(str(error)) from None


def _read_files(
    source: Path, files: Sequence[tuple[Path, int]], skipped: list[str], progress: Callable[[str], None]
) -> tuple[Any, Labels]:
    """Images and labels of files: an array from the cache where they are small and of one size."""
    labels = np.array([label for _, label in files], dtype=np.int64)
    if not files:
        return np.empty((0, 1, 1, 3), dtype=np.uint8), labels
    sizes = _first_sizes([file for file, _ in files])
    if len(sizes) != 1 or max(next(iter(sizes))) > PACKED_SIDE or len(set(next(iter(sizes)))) != 1:
        good = [(file, label) for file, label in files if _opens(file, skipped)]
        return _Files([file for file, _ in good]), np.array([label for _, label in good], dtype=np.int64)
    (side, _) = next(iter(sizes))
    return _packed(source, files, side, skipped, progress)


def _first_sizes(files: Sequence[Path]) -> set[tuple[int, int]]:
    """Sizes of up to a hundred of the files, spread over all."""
    sizes = set()
    for place in np.linspace(0, len(files) - 1, min(100, len(files))).astype(int):
        try:
            sizes.add(decode(files[place]).shape[:2])
        except OSError:
            continue
    return {(int(height), int(width)) for height, width in sizes}


def _opens(file: Path, skipped: list[str]) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            image.verify()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError, EOFError):
        skipped.append(str(file))
        return False
    return True


def _packed(
    source: Path, files: Sequence[tuple[Path, int]], side: int, skipped: list[str], progress: Callable[[str], None]
) -> tuple[Any, Labels]:
    """The files' images as a memory-mapped array, made where it is not in the cache."""
    stats = [(str(file.relative_to(source)), file.stat()) for file, _ in files]
    listing = json.dumps([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])
    key = hashlib.sha256(f"{source.resolve()} {listing}".encode()).hexdigest()[:24]
    place = cache_folder() / key
    if not place.is_dir():
        progress(f"packing {len(files)} images of {source}")
        _pack(place, files, side)
    about = json.loads((place / "about.json").read_text())
    skipped += [str(source / name) for name in about["skipped"]]
    return np.load(place / "images.npy", mmap_mode="r"), np.load(place / "labels.npy")


def _pack(place: Path, files: Sequence[tuple[Path, int]], side: int) -> None:
    """Write the array of images: whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as making:
        images = np.lib.format.open_memmap(
            Path(making, "all.npy"), mode="w+", dtype=np.uint8, shape=(len(files), side, side, 3)
        )
        labels: list[int] = []
        skipped: list[str] = []
        for file, label in files:
            try:
                pixels = decode(file)
                if pixels.shape != images.shape[1:]:
                    raise OSError(f"is {pixels.shape[1]}x{pixels.shape[0]}")
            except OSError:
                skipped.append("/".join(file.parts[-3:]))
                continue
            images[len(labels)] = pixels
            labels.append(label)
        np.save(Path(making, "images.npy"), images[: len(labels)])
        np.save(Path(making, "labels.npy"), np.array(labels, dtype=np.int64))
        Path(making, "about.json").write_text(json.dumps({"skipped": skipped}))
        Path(making, "all.npy").unlink()
        try:
            shutil.copytree(making, f"{place}.{os.getpid()}")
            Path(f"{place}.{os.getpid()}").rename(place)
        except OSError:
            shutil.rmtree(f"{place}.{os.getpid()}", ignore_errors=True)
            if not place.is_dir():  # another process was not faster, so it is a fault
                raise


def cache_folder() -> Path:
    """Where packed images lie; it may be deleted."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "mnas" / "images"


def _library(library: str, name: str) -> Raw:
    """A library's data set, packed where its images are small, square and of one size."""
    if library == "hf":
        classes, found = read_hugging_face(name)
    else:
        classes, found = read_torchvision(name, cache_folder() / "torchvision")
    parts: dict[str, tuple[Any, Labels]] = {}
    skipped: list[str] = []
    for part, (images, labels) in found.items():
        places = np.linspace(0, len(images) - 1, min(100, len(images))).astype(int)
        sizes = {pixels.shape[:2] for _, pixels in _readable(images, places, [])}
        parts[part] = (images, labels)
        if len(sizes) == 1 and max(size := next(iter(sizes))) <= PACKED_SIDE and size[0] == size[1]:
            good = list(_readable(images, np.arange(len(images)), skipped))
            if len({pixels.shape for _, pixels in good}) == 1:
                parts[part] = (np.stack([pixels for _, pixels in good]), labels[[index for index, _ in good]])
    return Raw(classes, parts, skipped)


def _readable(images: Rows, indices: NDArray[np.int64], skipped: list[str]) -> Iterator[tuple[int, Pixels]]:
    """Those of the images that can be read, with their index; the others are named."""
    for index in map(int, indices):
        try:
            yield index, images[index]
        except OSError as error:
            skipped.append(str(error))
