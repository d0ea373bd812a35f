"""Images with classes, divided into train, val and test, from any source (`baselines.training.data.raw`).

There is always a validation part: the val folder if it exists, else `VAL_SHARE` of each class of train, drawn with the
seed. A training never uses the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.text import counted
from baselines.training.data.fit import CROP, FITS, Sizes, chosen_fit, fit_note, squares
from baselines.training.data.folders import PARTS
from baselines.training.data.groups import hold_out_groups
from baselines.training.data.images import (
    Digests,
    Labels,
    Subset,
    digest_of,
    print_progress,
)
from baselines.training.data.raw import Raw, load_raw
from search_spaces.architecture import RGB, check_name
from search_spaces.errors import MnasError, one_line

VAL_SHARE = 0.1


@dataclass(frozen=True)
class Part:
    """Images of one part of the data, with their labels.

    Attributes:
        images: array of shape (N, side, side, channels), or `baselines.training.data.images.Images`, or a subset.
        labels: class indices of shape (N,), from 0.
        fit: how images that are not square become square, one of `baselines.training.data.fit.FITS`.
        groups: index of the group of each image, whose images are held out together; None for each on its own.
    """

    images: Any
    labels: Labels
    fit: str = CROP
    groups: Labels | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def source(self) -> tuple[Any, NDArray[np.int64]]:
        """The array or `Images` that these images are taken from, and their indices in it."""
        if isinstance(self.images, Subset):
            return self.images.images, self.images.rows
        return self.images, np.arange(len(self))

    @property
    def side(self) -> int | None:
        """Side of the images in pixels if they are one array; None otherwise."""
        images, _ = self.source
        return images.shape[1] if isinstance(images, np.ndarray) else None

    @property
    def digests(self) -> Digests:
        """The digest of each image: of its file, or of its pixels in an array."""
        images, rows = self.source
        if not isinstance(images, np.ndarray):
            found: Digests = images.digests[rows]
            return found
        contents = (digest_of(np.ascontiguousarray(images[row]).data) for row in rows)
        return np.frombuffer(b"".join(contents), dtype="V16")

    def take(self, indices: NDArray[np.int64]) -> Part:
        """The images at the indices, in that order, without a copy."""
        images, rows = self.source
        groups = None if self.groups is None else self.groups[indices]
        return Part(Subset(images, rows[indices]), self.labels[indices], self.fit, groups)


@dataclass(frozen=True)
class ImageData:
    """Images to train and evaluate on.

    Attributes:
        source: source as the user gave it.
        classes: names of the classes, in the order of the labels.
        train, val, test: parts; test may be empty.
        fingerprint: 16 hex digits of a hash over the labels and the content of the images of all parts.
        former: the fingerprint that trainings of earlier versions have, which knew files by their names and sizes.
        side: side of the training images in pixels if they are one array; None otherwise.
        skipped: names of images that could not be read.
        sides: smallest, median and largest of the images' shorter sides in pixels; empty if unknown.
        aside: files that were left aside and why, for a person.
        repeated: images of val or test that are also in train, for a person.
        written: whether these are digits or letters, which no recipe flips.
        notes: what was assumed about the source, for a person.
        fit: as `Part`.
        fit_note: a sentence about the fit, for a person; empty if there is nothing to say.
        channels: channels that the images are read with.
    """

    source: str
    classes: tuple[str, ...]
    train: Part
    val: Part
    test: Part
    fingerprint: str
    side: int | None
    skipped: tuple[str, ...] = ()
    sides: tuple[int, ...] = ()
    aside: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    former: str = ""
    written: bool = False
    notes: tuple[str, ...] = ()
    fit: str = CROP
    fit_note: str = ""
    channels: int = RGB

    def has(self, fingerprint: str) -> bool:
        """Whether these are the images with a fingerprint."""
        return fingerprint in (self.fingerprint, self.former)

    def about(self) -> dict[str, Any]:
        """Summary of the data for a record of a training."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "classes": len(self.classes),
            "side": self.side,
            "fit": self.fit,
            **({} if self.channels == RGB else {"channels": self.channels}),
            **{name: len(getattr(self, name)) for name in PARTS},
            "images_per_class": np.bincount(self.train.labels, minlength=len(self.classes)).tolist(),
            "skipped": len(self.skipped),
            "aside": list(self.aside),
            "notes": list(self.notes),
            "repeated": list(self.repeated),
        }


def located_data(source: str) -> str:
    """A source as an absolute path if it is an existing one, so that it is found from every folder."""
    prefix = "hf:" if source.startswith("hf:") else ""  # hf:NAME may name a folder too
    path = Path(source.removeprefix(prefix))
    return f"{prefix}{path.absolute()}" if path.exists() else source


def load_data(
    source: str,
    seed: int = 0,
    progress: Callable[[str], None] = print_progress,
    fit: str | None = None,
    channels: int = RGB,
) -> ImageData:
    """Load the images of a source.

    Args:
        source: folder, archive or name in a library; see the table in `baselines.training.data.raw`.
        seed: random seed of the images held out for validation; those held out for test do not depend on it.
        progress: function that is called with a line of progress if this takes long.
        fit: how images that are not square become square; None to choose by what they are.
        channels: channels to read images with: 1 (grey), 3 (RGB) or 4 (RGBA).

    Raises:
        FieldError: the fit is unknown, or there is no image with so many channels.
        MnasError: the source is not found or has no usable images, a class has too few images, or there is only one
            class.
    """
    if fit is not None:
        check_name("fit", fit, FITS)
    return _divide(source, load_raw(source, progress, channels), seed, fit)


def _divide(source: str, raw: Raw, seed: int, fit: str | None) -> ImageData:
    """Divide the images of a source into train, val and test, and make them square by a fit."""
    _check_classes(source, raw)
    parts = {name: Part(*images, groups=raw.groups.get(name)) for name, images in raw.parts.items()}
    for name, wanted, part_seed in (("test", "split" in parts, 0), ("val", "val" not in parts, seed)):
        origin = "split" if "split" in parts else "train"
        if wanted:
            held_out, rest = _hold_out(parts[origin], np.random.default_rng(part_seed))
            _check_held_out(source, name, parts[origin], held_out, raw.classes)
            parts[name], parts[origin] = parts[origin].take(held_out), parts[origin].take(rest)
    train = parts["split" if "split" in parts else "train"]
    repeated = _repeated(train, {name: parts[name] for name in ("val", "test") if name in parts}, raw.classes)
    used = fit or chosen_fit(raw.sizes)
    train, val, test = (_fitted(part, used) for part in (train, parts["val"], parts.get("test", _EMPTY)))
    return ImageData(
        source=source,
        classes=tuple(raw.classes),
        train=train,
        val=val,
        test=test,
        fingerprint=raw.fingerprints[0],
        side=train.side,
        skipped=tuple(raw.survey.skipped),
        sides=_sides(raw.sizes),
        aside=raw.aside,
        repeated=repeated,
        former=raw.fingerprints[1],
        written=raw.written,
        notes=raw.notes,
        fit=used,
        fit_note=fit_note(used, raw.sizes, chosen=fit is None),
        channels=raw.channels,
    )


def _fitted(part: Part, fit: str) -> Part:
    """A part with its fit, which an array is made square by."""
    images, rows = part.source
    if isinstance(images, np.ndarray) and images.shape[1] != images.shape[2]:
        return replace(part, images=squares(images[rows], fit), fit=fit)
    return replace(part, fit=fit)


def _repeated(train: Part, others: Mapping[str, Part], classes: Sequence[str]) -> tuple[str, ...]:
    """Sentences about images of other parts that are also in train."""
    known, found = set(train.digests.tolist()), []
    for name, part in others.items():
        places = [place for place, digest in enumerate(part.digests.tolist()) if digest in known]
        if places:
            images, rows = part.source
            first = places[0]
            label = classes[part.labels[first]]
            which = f"one of {label}" if isinstance(images, np.ndarray) else images.name(int(rows[first]))
            count = f"{len(places):,} of {counted(len(part), 'image')}"
            found.append(f"{count} of {name} are also in train, such as {one_line(which)}")
    return tuple(found)


def _sides(sizes: Sizes) -> tuple[int, ...]:
    """`ImageData.sides`."""
    sides = sizes.min(1)
    return (int(sides.min()), int(np.median(sides)), int(sides.max())) if len(sides) else ()


_EMPTY = Part(np.empty((0, 1, 1, 3), dtype=np.uint8), np.empty(0, dtype=np.int64))


def load_for_evaluation(
    source: str,
    classes: Sequence[str],
    fingerprint: str,
    seed: int,
    part: str,
    fit: str = CROP,
    channels: int = RGB,
) -> ImageData:
    """Load images to evaluate a trained network on.

    Images that the network was trained on are divided as in the training. Other images keep their own parts; without
    parts, all of them are the test part.

    Args:
        source: source of the images, as for `load_data`.
        classes: names of the network's classes, in the order of the labels.
        fingerprint, seed: fingerprint of the images that the network was trained on, and seed of the training.
        part: part to evaluate.
        fit, channels: fit and channels of the training.

    Raises:
        MnasError: the source is not found, or the part has no usable images or an image of another class.
    """
    raw = load_raw(source, print_progress, channels)
    if fingerprint in raw.fingerprints:
        return _divide(source, raw, seed, fit)
    raw.parts = {"test" if name == "split" else name: images for name, images in raw.parts.items()}
    if part not in raw.parts or not len(raw.parts[part][1]):
        raise MnasError(f"part: {source} has no {part} images (only {', '.join(raw.parts)}); use another part")
    found = {raw.classes[label] for label in np.unique(raw.parts[part][1])}
    if unknown := sorted(found - set(classes)):
        raise MnasError(
            f"data: class {unknown[0]!r} of {source} is not a class of the training; use images of its classes"
        )
    places = {name: place for place, name in enumerate(classes)}
    renumbered = np.array([places.get(name, -1) for name in raw.classes], dtype=np.int64)
    parts = {name: Part(images, renumbered[labels]) for name, (images, labels) in raw.parts.items()}
    train, val, test = (_fitted(parts.get(name, _EMPTY), fit) for name in PARTS)
    return ImageData(
        source=source,
        classes=tuple(classes),
        train=train,
        val=val,
        test=test,
        fingerprint=raw.fingerprints[0],
        side={"train": train, "val": val, "test": test}[part].side,
        skipped=tuple(raw.survey.skipped),
        aside=raw.aside,
        notes=raw.notes,
        fit=fit,
        fit_note=fit_note(fit, raw.sizes, chosen=False),
        channels=raw.channels,
    )


def _hold_out(part: Part, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the held-out images (`VAL_SHARE` of each class, at least one, never all) and of the rest; sorted."""
    labels = part.labels
    if part.groups is not None:
        chosen = hold_out_groups(labels, part.groups, VAL_SHARE, rng)
        return chosen, np.setdiff1d(np.arange(len(labels)), chosen)
    held_out = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(len(members) - 1, max(1, round(VAL_SHARE * len(members))))
        held_out.append(rng.permutation(members)[:count])
    chosen = np.sort(np.concatenate(held_out)) if held_out else np.empty(0, dtype=np.int64)
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def _check_held_out(source: str, name: str, part: Part, held_out: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Refuse a division by groups that leaves a class out."""
    missing = np.setdiff1d(part.labels, part.labels[held_out]).tolist()
    if missing and part.groups is not None:
        raise MnasError(
            f"data: {source}: class {classes[missing[0]]!r} has too few groups to hold one out for {name} and keep "
            "others; add images of other groups, or a column split"
        )


def stratified(labels: Labels, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Sorted indices of ``count`` images in which each class keeps its share; of all images if there are no more.

    The images of a smaller count are among those of a larger count.
    """
    if count >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    # Each class is spread evenly over the unit interval, so every class has its share of the first ``count`` places.
    places = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        places[rng.permutation(members)] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.sort(np.argsort(places, kind="stable")[:count])


def _check_classes(source: str, raw: Raw) -> None:
    kind = "split" if "split" in raw.parts else "train"
    if kind not in raw.parts:
        raise MnasError(f"data: {source} has {' and '.join(raw.parts)} but no train; add a folder named train")
    labels = raw.parts[kind][1]
    if not len(labels):
        raise MnasError(f"data: {source} has no images to train on; use a folder of class folders (docs/training.md)")
    if len(raw.classes) < 2:
        raise MnasError(f"data: {source} has only one class, {raw.classes[0]!r}; add another")
    held_out = [part for part in (("test", "val") if kind == "split" else ("val",)) if part not in raw.parts]
    least = 1 + len(held_out)
    for name, count in zip(raw.classes, np.bincount(labels, minlength=len(raw.classes)), strict=True):
        if count < least:
            needed = f"expected {least} or more ({', '.join(['train', *held_out])})"
            raise MnasError(
                f"data: class {name!r} of {source} has {counted(int(count), 'image')}, {needed}; "
                "add images or remove the class"
            )
    if "val" in raw.parts and not len(raw.parts["val"][1]):
        raise MnasError(f"data: val of {source} has no readable images; add some or remove the folder")
