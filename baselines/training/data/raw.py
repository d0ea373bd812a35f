"""Images with classes as a source has them: folders, archives of folders, IDX files, CIFAR, or libraries.

    folder/{train,val,test}/CLASS/*.jpg     val and test may be missing (names: `baselines.training.data.folders`)
    folder/CLASS/*.jpg                      split: 10 % of each class for val and 10 % for test
    folder of train-images-idx3-ubyte …     MNIST and Fashion-MNIST, with or without gzip
    folder of data_batch_1.bin …            CIFAR-10 and CIFAR-100 in their binary form, or in Python's (data_batch_1 …)
    zip or tar archive of any of these      unpacked into the cache
    labels.csv                              files, labels, groups and parts: `baselines.training.data.lists`
    hf:NAME, torchvision:NAME               names in those libraries, if they are installed

Small images of one size are packed once into a memory-mapped array in the cache; other images are read from their files
as they are needed (`baselines.training.data.images`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from baselines.training.data.archives import idx_files, read_cifar, read_idx
from baselines.training.data.decoding import check_channels, with_channels
from baselines.training.data.fit import Sizes
from baselines.training.data.folders import files_near, read_folders
from baselines.training.data.hugging_face import read_hugging_face
from baselines.training.data.images import Files, Images, Labels, Survey, cache_folder, readable_images
from baselines.training.data.lists import SUFFIXES as LIST_SUFFIXES
from baselines.training.data.lists import read_list
from baselines.training.data.pickled import pickled_cifar, read_pickled_cifar
from baselines.training.data.torchvision_sets import read_torchvision
from baselines.training.data.unpacked import is_archive, unpacked
from search_spaces.architecture import RGB
from search_spaces.errors import MnasError

LIBRARIES = ("hf", "torchvision")


@dataclass
class Raw:
    """Images of a source before val is held out.

    Attributes:
        classes: names of the classes, in the order of the labels.
        parts: images and labels by name of the part; the part "split" is to be divided into train, val and test.
        survey: unreadable images, and sizes of the others where they were read one by one.
        aside: files that were left aside and why, for a person.
        written: whether these are digits or letters, which no recipe flips.
        groups: index of the group of each image, by name of the part; empty if images are held out on their own.
        notes: what was assumed about the source, for a person.
        channels: channels that images are read with.
    """

    classes: Sequence[str]
    parts: dict[str, tuple[Any, Labels]] = field(default_factory=dict)
    survey: Survey = field(default_factory=Survey)
    aside: tuple[str, ...] = ()
    written: bool = False
    groups: dict[str, Labels] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    channels: int = RGB

    def __post_init__(self) -> None:
        for part, (images, labels) in self.parts.items():
            self.parts[part] = (with_channels(images, self.channels), labels)

    def add(
        self,
        part: str,
        images: Images,
        labels: Labels,
        progress: Callable[[str], None],
        groups: Labels | None = None,
    ) -> None:
        """Add the images of a part that can be read, with their labels and groups."""
        images.channels = self.channels
        found, kept = readable_images(images, self.survey, progress)
        self.parts[part] = (found, labels[kept])
        if groups is not None:
            self.groups[part] = groups[kept]

    @cached_property
    def fingerprints(self) -> tuple[str, str]:
        """Fingerprint, and that which earlier versions had, of the parts as they were read; arrays are hashed once."""
        now = _fingerprint(self)
        packed = all(isinstance(images, np.ndarray) for images, _ in self.parts.values())
        return now, now if packed else _fingerprint(self, former=True)

    @cached_property
    def sizes(self) -> Sizes:
        """Width and height of the images that can be read, upright, of shape (N, 2)."""
        if self.survey.sizes:
            return np.concatenate(self.survey.sizes)
        arrays = [images for images, _ in self.parts.values()]
        return np.concatenate([np.full((len(array), 2), array.shape[2:0:-1], dtype=np.int32) for array in arrays])


def load_raw(source: str, progress: Callable[[str], None], channels: int = RGB) -> Raw:
    """Read the images of a source.

    Args:
        source: folder, archive, list or name in a library; see the table at the top of this module.
        progress: function that is called with a line of progress if this takes long.
        channels: channels to read images with: 1 (grey), 3 (RGB) or 4 (RGBA).

    Raises:
        FieldError: there is no image with so many channels.
        MnasError: the source is not found, or cannot be read.
    """
    check_channels(channels)
    prefix, _, name = source.partition(":")
    if prefix in LIBRARIES and name:
        return _library(prefix, name, progress, channels)
    path = Path(source)
    if path.is_file():
        read = _list if path.suffix.lower() in LIST_SUFFIXES else _archive
        return read(path, progress, channels)
    if not path.is_dir():
        raise MnasError(f"data: {source} not found; use a folder, an archive, a CSV file, hf:NAME or torchvision:NAME")
    return _folder(path, path, progress, channels)


def _archive(archive: Path, progress: Callable[[str], None], channels: int) -> Raw:
    """Images of an archive, by the rules for the folder in it."""
    if not is_archive(archive):
        raise MnasError(
            f"data: {archive}: expected a folder, a zip or tar archive of one, or a CSV file; unpack other archives"
        )
    folder = unpacked(archive)
    try:
        return _folder(folder, archive, progress, channels)
    except MnasError as error:
        raise MnasError(str(error).replace(str(folder), str(archive))) from None


def _folder(path: Path, shown: Path, progress: Callable[[str], None], channels: int) -> Raw:
    """Images of a folder.

    Args:
        path: folder.
        shown: what stands for the folder in messages: itself, or the archive that it was in.
        progress, channels: as for `load_raw`.
    """
    if any(part == "train" and kind == "images" for _, part, kind in idx_files(path)):
        # All other sets in this form are digits and letters: MNIST, EMNIST, KMNIST, QMNIST.
        return Raw(*read_idx(path), written="fashion" not in str(shown.resolve()).lower(), channels=channels)
    if files_near(path, ("data_batch_1.bin", "train.bin").__contains__):
        return Raw(*read_cifar(path), channels=channels)
    if pickles := pickled_cifar(path):
        return Raw(*read_pickled_cifar(pickles), channels=channels)
    found = read_folders(path)
    raw = Raw(found.classes, aside=found.aside, channels=channels)
    for part, files in found.files.items():
        root = found.roots[part]
        images = Files(root, [file for file, _ in files], shown / root.relative_to(path))
        raw.add(part, images, np.array([label for _, label in files], dtype=np.int64), progress)
    return raw


def _list(file: Path, progress: Callable[[str], None], channels: int) -> Raw:
    """Images that a CSV file lists."""
    found = read_list(file)
    raw = Raw(found.classes, aside=found.aside, channels=channels)
    root = Path(os.path.abspath(file.parent))
    for part, files in found.files.items():
        images = Files(root, [str(each.relative_to(root)) for each in files], file.parent)
        raw.add(part, images, found.labels[part], progress, None if found.groups is None else found.groups[part])
    return raw


def _library(library: str, name: str, progress: Callable[[str], None], channels: int) -> Raw:
    """Images of a library's data set."""
    found = read_hugging_face(name) if library == "hf" else read_torchvision(name, cache_folder() / "torchvision")
    raw = Raw(
        found.classes, aside=tuple(found.aside), notes=tuple(found.notes), written=found.written, channels=channels
    )
    for part, (images, labels) in found.parts.items():
        raw.add(part, images, labels, progress)
    return raw


def _fingerprint(raw: Raw, *, former: bool = False) -> str:
    """16 hex digits of a hash over classes, labels and images; formerly images in files were known by their names."""
    total = hashlib.sha256(json.dumps(list(raw.classes)).encode())
    for name in sorted(raw.parts):
        images, labels = raw.parts[name]
        total.update(f"{name} {len(labels)} ".encode() + labels.tobytes())
        if name in raw.groups:
            total.update(b"groups" + raw.groups[name].tobytes())
        if isinstance(images, np.ndarray):
            for start in range(0, len(images), 4096):
                total.update(np.ascontiguousarray(images[start : start + 4096]).tobytes())
        else:
            name_of = images.former_name if former else images.portable_name
            # Names of files need not be UTF-8.
            total.update("\n".join(map(name_of, range(len(images)))).encode(errors="surrogateescape"))
            if not former:
                total.update(images.digests.tobytes())
    return total.hexdigest()[:16]
