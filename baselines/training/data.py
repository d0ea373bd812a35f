"""Images with classes, from where people have them: folders, IDX files, CIFAR's binary archives, libraries by name.

    folder/{train,val,test}/CLASS/*.jpg     val and test may be missing
    folder/CLASS/*.jpg                      split: of each class 10 % for val and 10 % for test
    folder of train-images-idx3-ubyte …     MNIST and Fashion-MNIST, packed with gzip or not
    folder or cifar-10-binary.tar.gz        CIFAR-10 and CIFAR-100 in their binary form
    hf:NAME, torchvision:NAME               as those libraries name them; where they are installed

A validation part is always held out of train: what is there as val, else `VAL_SHARE` of each class of train, drawn
with the seed. Test is never looked at by training. Small images of one size are packed once into a memory-mapped array
in the cache; larger ones are read from their files as they are needed (`baselines.training.images`).
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.training.archives import read_cifar, read_idx
from baselines.training.images import Chosen, Files, Labels, cache_folder, tell, usable
from baselines.training.libraries import read_hugging_face, read_torchvision
from search_spaces.errors import MnasError

VAL_SHARE = 0.1
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
PARTS = ("train", "val", "test")
LIBRARIES = ("hf", "torchvision")


@dataclass(frozen=True)
class Part:
    """Images of one purpose, with their classes.

    Attributes:
        images: an array of shape (N, side, side, 3), `baselines.training.images.Images`, or some of either.
        labels: of shape (N,), from 0.
    """

    images: Any
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def source(self) -> tuple[Any, NDArray[np.int64]]:
        """What the images are some of, and which."""
        if isinstance(self.images, Chosen):
            return self.images.images, self.images.rows
        return self.images, np.arange(len(self))

    @property
    def side(self) -> int | None:
        """Of all images in pixels where they are one array; else None."""
        images, _ = self.source
        return images.shape[1] if isinstance(images, np.ndarray) else None

    def take(self, indices: NDArray[np.int64]) -> Part:
        """Some of them, in that order; nothing is copied."""
        images, rows = self.source
        return Part(Chosen(images, rows[indices]), self.labels[indices])


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


def load_data(source: str, seed: int = 0, progress: Callable[[str], None] = tell) -> ImageData:
    """The images that a source names; see the module.

    Args:
        seed: of what is held out for validation; what is for test is the same for every seed.
        progress: is told of what takes long.

    Raises:
        MnasError: there is no such source, it holds no images that can be used, or a class is empty or alone.
    """
    return _divided(source, _raw(source, progress), seed)


def _divided(source: str, raw: Raw, seed: int) -> ImageData:
    """The parts of a source, some of which are held out of others."""
    _check_classes(source, raw)
    parts = {name: Part(*images) for name, images in raw.parts.items()}
    for name, wanted, of_part in (("test", "split" in parts, 0), ("val", "val" not in parts, seed)):
        origin = "split" if "split" in parts else "train"
        if wanted:
            held, rest = _held_out(parts[origin].labels, np.random.default_rng(of_part))
            parts[name], parts[origin] = parts[origin].take(held), parts[origin].take(rest)
    train = parts["split" if "split" in parts else "train"]
    return ImageData(
        source=source,
        classes=tuple(raw.classes),
        train=train,
        val=parts["val"],
        test=parts.get("test", _NOTHING),
        fingerprint=_fingerprint(raw),
        side=train.side,
        skipped=tuple(raw.skipped),
    )


_NOTHING = Part(np.empty((0, 1, 1, 3), dtype=np.uint8), np.empty(0, dtype=np.int64))


def load_to_judge(
    source: str,
    classes: Sequence[str],
    fingerprint: str,
    seed: int,
    part: str,
) -> ImageData:
    """Images for a network that is trained already; those that it was trained on are divided as they were then.

    Of others, the parts are those that there are; all are the test part where there are none.

    Args:
        classes: that the images may be of, in the order of the labels.
        fingerprint, seed: of the images that it was trained on.
        part: that is to be judged.

    Raises:
        MnasError: there is no such source, or the part has no images that can be read, or one of another class.
    """
    raw = _raw(source, tell)
    known = _fingerprint(raw)
    if known == fingerprint:
        return _divided(source, raw, seed)
    raw.parts = {"test" if name == "split" else name: images for name, images in raw.parts.items()}
    if part not in raw.parts or not len(raw.parts[part][1]):
        raise MnasError(f"part: {source} has no {part} images (only {', '.join(raw.parts)}); choose another part")
    there = {raw.classes[label] for label in np.unique(raw.parts[part][1])}
    if strange := sorted(there - set(classes)):
        raise MnasError(f"data: class {strange[0]!r} of {source} is none of the training's; give images of its classes")
    places = {name: place for place, name in enumerate(classes)}
    renumbered = np.array([places.get(name, -1) for name in raw.classes], dtype=np.int64)
    parts = {name: Part(images, renumbered[labels]) for name, (images, labels) in raw.parts.items()}
    train, val, test = (parts.get(name, _NOTHING) for name in PARTS)
    return ImageData(source, tuple(classes), train, val, test, known, parts[part].side, tuple(raw.skipped))


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
    kind = "split" if "split" in raw.parts else "train"
    if kind not in raw.parts:
        raise MnasError(f"data: {source} has {' and '.join(raw.parts)} but no train; add a folder train")
    labels = raw.parts[kind][1]
    if not len(labels):
        raise MnasError(f"data: {source} has no images to train on; give a folder of class folders (docs/training.md)")
    if len(raw.classes) < 2:
        raise MnasError(f"data: {source} has one class, {raw.classes[0]!r}, so there is nothing to tell apart; add one")
    held = [part for part in (("test", "val") if kind == "split" else ("val",)) if part not in raw.parts]
    least = 1 + len(held)
    for name, count in zip(raw.classes, np.bincount(labels, minlength=len(raw.classes)), strict=True):
        if count < least:
            of_them = f", of which {' and '.join(held)} take one each" if held and count else ""
            images = "no image" if count == 0 else f"{count} image{'s' if count > 1 else ''}"
            raise MnasError(f"data: class {name!r} of {source} has {images}{of_them}; add some or remove the class")
    if "val" in raw.parts and not len(raw.parts["val"][1]):
        raise MnasError(f"data: val of {source} has no image that can be read; add some or remove the folder")


def _fingerprint(raw: Raw) -> str:
    total = hashlib.sha256(json.dumps(list(raw.classes)).encode())
    for name in sorted(raw.parts):
        images, labels = raw.parts[name]
        total.update(f"{name} {len(labels)} ".encode() + labels.tobytes())
        if isinstance(images, np.ndarray):
            for start in range(0, len(images), 4096):
                total.update(np.ascontiguousarray(images[start : start + 4096]).tobytes())
        else:
            total.update("\n".join(images.mark(index) for index in range(len(images))).encode())
    return total.hexdigest()[:16]


# --- sources ----------------------------------------------------------------------------------------------------------


def _raw(source: str, progress: Callable[[str], None]) -> Raw:
    prefix, _, name = source.partition(":")
    if prefix in LIBRARIES and name:
        return _library(prefix, name, progress)
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
        labels = np.array([label for _, label in files], dtype=np.int64)
        parts[part] = usable(Files(root, [file for file, _ in files]), labels, skipped, progress)
    return Raw(classes, parts, skipped)


def _class_names(root: Path) -> list[str]:
    return sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _library(library: str, name: str, progress: Callable[[str], None]) -> Raw:
    """A library's data set."""
    if library == "hf":
        classes, found = read_hugging_face(name)
    else:
        classes, found = read_torchvision(name, cache_folder() / "torchvision")
    skipped: list[str] = []
    parts = {part: usable(images, labels, skipped, progress) for part, (images, labels) in found.items()}
    return Raw(classes, parts, skipped)
