"""Data sets of torchvision, by the names of their classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from baselines.training.data.libraries import LibrarySet, Rows, Split, fill
from search_spaces.errors import MnasError, reason_of, unknown_name

# The names that torchvision has for each part, in the order in which they are tried, by the parameter that takes them.
_PARTS: dict[str, dict[str, Sequence[Any]]] = {
    "split": {
        "train": ("train", "trainval", "train-standard"),
        "val": ("val", "valid"),
        "test": ("test",),
    },
    "version": {"train": ("2021_train",), "val": ("2021_valid",)},
    "train": {"train": (True,), "test": (False,)},
}
# Sets whose ``split`` says which set is wanted, and its values.
_SEVERAL = {"EMNIST": ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")}
# Sets that do not have one class for each image, some of many gigabytes, and classes for folders.
_OTHERS = {
    *("VOCSegmentation", "VOCDetection", "Cityscapes", "SBDataset", "Kitti", "WIDERFace", "CelebA", "LFWPairs"),
    *("MovingMNIST", "SBU", "KittiFlow", "Sintel", "FlyingChairs", "FlyingThings3D", "HD1K", "Kitti2012Stereo"),
    *("Kitti2015Stereo", "CarlaStereo", "Middlebury2014Stereo", "CREStereo", "FallingThingsStereo"),
    *("SceneFlowStereo", "SintelStereo", "InStereo2k", "ETH3DStereo", "LSUN", "LSUNClass", "VisionDataset"),
    "ImageFolder",
}
# Sets of digits and letters, which are not flipped.
_WRITTEN = {"MNIST", "EMNIST", "KMNIST", "QMNIST", "USPS", "SEMEION", "SVHN", "Omniglot"}
# Rows whose labels are compared with those that a set lists.
_COMPARED = 5


def read_torchvision(name: str, folder: Path) -> LibrarySet:
    """A data set of torchvision.

    Args:
        name: name of its class in ``torchvision.datasets``; ``NAME:SET`` if that has several (EMNIST).
        folder: folder that the data set is downloaded to.

    Raises:
        MnasError: the data set is unknown, cannot be loaded or has no classes, or torchvision is not installed.
    """
    from baselines.exchange.torchvision_import import import_torchvision

    sets, source = import_torchvision().datasets, f"torchvision:{name}"
    plain, _, chosen = name.partition(":")
    kind = getattr(sets, plain, None)
    if not isinstance(kind, type):
        raise unknown_name("data set of torchvision", plain, sets.__all__)
    names, splits = None, {}
    for part, found in _splits(source, kind, str(folder), _options(source, kind, chosen)):
        title = f"{source} {part}"
        try:
            splits[part] = Split(Rows(title, f"{title} {len(found)} in {folder}", found, 0), _labels(found))
        except Exception as error:  # of a data set whose files are damaged, or without classes
            raise MnasError(
                f"data: {source} cannot be read ({reason_of(error, 200)}); download it again to {folder}"
            ) from None
        names = names or _names(found, splits[part].labels)
    return fill(LibrarySet(written=plain in _WRITTEN), source, splits, names)


def _options(source: str, kind: type, chosen: str) -> dict[str, Any]:
    """Arguments that do not depend on the part.

    Raises:
        MnasError: the set has no classes, or needs what a source does not say.
    """
    name, several = kind.__name__, _SEVERAL.get(kind.__name__, ())
    if several and chosen not in several:
        listed = ", ".join(several)
        raise MnasError(f"data: {source}: expected one of its sets ({listed}), as in torchvision:{name}:{several[0]}")
    if chosen and not several:
        raise MnasError(f"data: {source}: {name} is one set; use torchvision:{name}")
    first, *others = signature(kind).parameters.values()
    needed = {each.name for each in others if each.default is Parameter.empty and each.kind != Parameter.VAR_KEYWORD}
    if name in _OTHERS or first.name != "root" or needed - {"split"}:
        raise MnasError(
            f"data: {source}: not a set of images with one class each that torchvision provides; use another set, or "
            "a folder of images"
        )
    return {**({"download": True} if "download" in _parameters(kind) else {}), **({"split": chosen} if chosen else {})}


def _parameters(kind: type) -> set[str]:
    """Parameters of a class and of those that it is made from, which it may pass them on to."""
    return {
        name
        for base in kind.__mro__
        if "__init__" in vars(base)
        for name in signature(vars(base)["__init__"]).parameters
    }


def _splits(source: str, kind: type, folder: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of a set by their names, ``split`` alone for a set that is not divided."""
    parameters = _parameters(kind) - options.keys()
    choice = next((name for name in _PARTS if name in parameters), None)
    if choice is None:
        yield "split", _load(source, kind, folder, [dict(options)])
        return
    for part, values in _PARTS[choice].items():
        found = _load(source, kind, folder, [{**options, choice: value} for value in values], needed=part == "train")
        if found is not None:
            yield part, found


def _load(source: str, kind: type, folder: str, tried: Sequence[dict[str, Any]], *, needed: bool = True) -> Any:
    """The set with the first arguments that it takes; None if it takes none and is not needed."""
    fault: Exception | None = None
    for arguments in tried:
        try:
            return kind(folder, **arguments)
        except ValueError as error:  # there is no such part
            fault, wanted = error, needed
        except Exception as error:  # of the network, of files that are missing, or of a library for their format
            fault, wanted = error, True
            break
    if not wanted or fault is None:
        return None
    raise MnasError(
        f"data: {source} cannot be loaded ({reason_of(fault, 200)}); check the network, or put its files into {folder}"
    )


def _labels(found: Any) -> Sequence[Any]:
    """The label of each image: as the set lists them if that is what its rows have, else from the rows."""
    places = sorted({*range(0, len(found), max(1, len(found) // _COMPARED)), len(found) - 1} - {-1})
    compared = [(place, _label(found, place)) for place in places]
    for listed in _lists(found):
        if all(listed[place] == label for place, label in compared):
            return listed
    return [_label(found, place) for place in range(len(found))]


def _lists(found: Any) -> Iterator[Sequence[Any]]:
    """Lists of a label for each image that a set may have."""
    for attribute in ("targets", "labels", "_labels", "y"):
        values: Any = getattr(found, attribute, None)
        values = values.tolist() if hasattr(values, "tolist") else values
        if isinstance(values, list | tuple) and len(values) == len(found):
            yield [_plain_label(value) for value in values]
    for attribute in ("samples", "_samples"):
        pairs = getattr(found, attribute, None)
        if isinstance(pairs, list) and len(pairs) == len(found) and all(len(pair) == 2 for pair in pairs):
            yield [_plain_label(label) for _, label in pairs]


def _label(found: Any, place: int) -> Any:
    """The label of an image as a plain value, None if it has none. Some sets open the image without reading it."""
    image, label = found[place][:2]
    if hasattr(image, "close"):
        image.close()
    return _plain_label(label)


def _plain_label(label: Any) -> Any:
    """A label as a plain value; None for -1, which is no label in any set of torchvision."""
    plain = label.item() if hasattr(label, "item") else label
    return None if plain == -1 else plain


def _names(found: Any, labels: Sequence[Any]) -> list[str] | None:
    """Names of the classes, if labels are their indices; the first of several for a class."""
    present = {label for label in labels if label is not None}
    for attribute in ("classes", "categories"):
        names = getattr(found, attribute, None)
        if isinstance(names, list | tuple) and all(isinstance(label, int) for label in present):
            plain = [name if isinstance(name, str) else name[0] for name in names]
            from_one = len(plain) in present and 0 not in present
            if plain and not from_one and all(isinstance(name, str) for name in plain):
                return plain
    return None
