"""Images in class folders, as people have them: which folders are parts, which are classes, and what is left aside.

    folder/{train,val,test}/CLASS/*.jpg     in parts; other common names of parts too, in any case
    folder/CLASS/*.jpg                      not divided
    folder/NAME/…                           one folder around either of these, as archives often have

A folder is a part if its name says so and it holds class folders: a class may be called ``train``. What could be parts
or classes is refused. Hidden folders and those that systems add (``.ipynb_checkpoints``, ``@eaDir``, ``__MACOSX``) hold
copies, and are left aside; links to folders are followed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines.text import counted
from search_spaces.errors import MnasError, one_line

PARTS = ("train", "val", "test")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k"),
)
# Images that Pillow does not decode.
FOREIGN = (".heic", ".heif", ".jxl", ".raw", ".dng", ".cr2", ".nef", ".svg", ".psd", ".dcm", ".npy")
_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
# Words that the name of a part may have as well.
_FILLERS = {"set", "seg", "data", "dataset", "split", "images", "image", "imgs", "img", "folder", "part", "the"}
_DECORATION = re.compile(r"(train|test|val|valid|dev)(set|data|imgs|images)")
# Names that are shown of many.
_SHOWN = 5


@dataclass(frozen=True)
class ClassFolders:
    """What a folder holds.

    Attributes:
        classes: names of the classes, sorted.
        roots: folder of each part; ``split`` if it is not divided.
        files: image files of each part as paths in its folder, with the index of their class.
        aside: what was left aside and why, for a person.
    """

    classes: tuple[str, ...]
    roots: Mapping[str, Path]
    files: Mapping[str, Sequence[tuple[str, int]]]
    aside: tuple[str, ...]


def part_of(name: str) -> str | None:
    """The part that a folder's name stands for, such as ``val`` for ``Validation_set``; None for any other name."""
    words = re.split(r"[^a-z]+", _DECORATION.sub(r"\1 \2", name.lower()))
    parts = {_WORDS[word] for word in words if word in _WORDS}
    others = {word for word in words if word and word not in _WORDS} - _FILLERS
    return next(iter(parts)) if len(parts) == 1 and not others else None


def read_folders(folder: Path) -> ClassFolders:
    """The parts, classes and files of a folder.

    Raises:
        MnasError: it has no class folders, a class is missing from the first part, or it cannot be said what is a part.
    """
    aside = _Aside(folder)
    folder = _inner(folder)
    roots = _parts(folder, aside)
    first = next(iter(roots.values()))
    classes = tuple(one.name for one in _folders(first))
    if not classes:
        raise MnasError(f"data: {first} has no class folders{seen(first)}; add one for each class, with its images")
    if "split" in roots:
        _check_classes(first)
    files = {}
    for part, root in roots.items():
        for one in _folders(root):
            if one.name not in classes:
                raise MnasError(f"data: class {one.name!r} is in {root} but not in {first}; add it there or remove it")
        aside.look_beside(root)
        files[part] = [
            (file, label)
            for label, name in enumerate(classes)
            if (root / name).is_dir()
            for file in _sorted_images(root, name, aside)
        ]
        if not files[part] and root != first:
            raise MnasError(f"data: {root} has no images; add some or remove the folder")
    if not any(files.values()):
        raise MnasError(f"data: {folder} has no images{seen(folder)}; use a folder of class folders (docs/training.md)")
    return ClassFolders(classes, roots, files, aside.lines())


def images_below(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """The image files in a folder at any depth, as paths in it, sorted; and what was left aside and why.

    Raises:
        MnasError: the folder, or one in it, cannot be read.
    """
    aside = _Aside(folder)
    try:
        found = _sorted_images(folder, "", aside)
    except OSError as error:
        raise MnasError(f"images: {error.filename} cannot be read ({error.strerror}); change its permissions") from None
    return found, aside.lines()


def files_near(folder: Path, wanted: Callable[[str], bool], depth: int = 2) -> list[Path]:
    """The files with wanted names in a folder and in those in it, nearest first, then by name."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if wanted(entry.name) and _is_file(entry):
                files.append(folder / entry.name)
            elif depth and not _is_added(entry.name) and _is_folder(entry):
                folders.append(folder / entry.name)
    below = [file for inside in sorted(folders) for file in files_near(inside, wanted, depth - 1)]
    return sorted(files) + sorted(below, key=lambda file: (len(file.parts), file))


def _inner(folder: Path) -> Path:
    """The only folder in a folder, and so on, if it holds folders and is no class itself."""
    while True:
        inside = _folders(folder)
        if len(inside) != 1 or part_of(inside[0].name) or _has_images(folder) or _has_images(inside[0]):
            return folder
        if not any(_holds_images(each) for each in _folders(inside[0])):
            return folder
        folder = inside[0]


def _parts(folder: Path, aside: _Aside) -> dict[str, Path]:
    """The folder of each part, ``split`` alone if the folder is not divided."""
    found: dict[str, list[Path]] = {}
    others = []
    for inside in _folders(folder):
        part = part_of(inside.name)
        if part is not None and _holds_classes(inside):
            found.setdefault(part, []).append(inside)
        else:
            others.append(inside)
    twice = next((folders for folders in found.values() if len(folders) > 1), None)
    if twice:
        names = " and ".join(each.name for each in twice)
        raise MnasError(f"data: {folder} has {names}, which are one part by their names; keep one, or join them")
    if not found:
        return {"split": folder}
    classes = [each.name for each in others if _holds_images(each)]
    if classes and len(found) == 1:
        (part,) = (folders[0].name for folders in found.values())
        raise MnasError(
            f"data: {folder} has the folder {part}, which looks like a part, beside {_listed(classes)}, which look "
            "like classes; move the classes into parts, or rename the folder"
        )
    for each in others:
        aside.add(f"in {one_line(each.name)}, which is no part", each)
    return {part: found[part][0] for part in PARTS if part in found}


def _check_classes(root: Path) -> None:
    """Refuse classes that all hold the same folders, since they are rather parts, or datasets."""
    inside = {each.name: {one.name for one in _folders(each)} for each in _folders(root) if not _has_images(each)}
    inside = {name: names for name, names in inside.items() if names}
    shared = set.intersection(*inside.values()) if len(inside) > 1 else set()
    if len(shared) > 1:
        raise MnasError(
            f"data: {_listed(sorted(inside))} of {root} hold the same folders ({_listed(sorted(shared))}), so these "
            "look like the classes; name the folders around them train, val and test, or use one of them as --data"
        )


class _Aside:
    """Counts what is left aside, by reason."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: Counter[str] = Counter()

    def add(self, reason: str, path: Path) -> None:
        """Leave a file, or all files in a folder, aside."""
        count = 1 if not path.is_dir() else sum(len(names) for _, _, names in os.walk(path))
        if count:
            self._counts[reason] += count

    def look_beside(self, root: Path) -> None:
        """Leave files beside class folders aside, and folders that systems add."""
        for path in sorted(root.iterdir()):
            if path.is_dir() and _is_added(path.name):
                self.add(f"in {one_line(path.name)}", path)
            elif path.is_file() and path.suffix.lower() in (*SUFFIXES, *FOREIGN):
                self.add(f"beside the folders of {one_line(root.name)}", path)

    def lines(self) -> tuple[str, ...]:
        """A line for each reason."""
        return tuple(f"{counted(count, 'file')} {reason}" for reason, count in self._counts.most_common())


def _sorted_images(root: Path, inside: str, aside: _Aside) -> list[str]:
    """The files of `_images`, folder by folder."""
    return sorted(_images(root, inside, aside), key=lambda file: file.split(os.sep))


def _images(root: Path, inside: str, aside: _Aside, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """The image files in a class folder and below, as paths in the root.

    Links to folders are followed, except to a folder around them.
    """
    state = os.stat(root / inside)
    here = (state.st_dev, state.st_ino)
    if here in above:
        return
    with os.scandir(root / inside) as entries:
        listed = list(entries)
    for entry in listed:
        suffix = os.path.splitext(entry.name)[1].lower()
        file = os.path.join(inside, entry.name)
        if _is_folder(entry):
            if _is_added(entry.name):
                aside.add(f"in {one_line(entry.name)}", Path(entry))
            else:
                yield from _images(root, file, aside, (*above, here))
        elif entry.name.startswith("."):
            aside.add("with hidden names", Path(entry))
        elif suffix in SUFFIXES and _is_file(entry):
            yield file
        elif suffix in FOREIGN:
            aside.add(f"of the kind {suffix}, which is not decoded; convert them to JPEG or PNG", Path(entry))
        elif entry.is_symlink() and not os.path.exists(entry):
            aside.add("linked to nothing", Path(entry))
        else:
            aside.add(f"of the kind {one_line(suffix)}" if suffix else "without a suffix", Path(entry))


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link to one; for links in a circle, its own method would raise."""
    return os.path.isfile(entry) if entry.is_symlink() else entry.is_file()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    return os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()


def _is_added(name: str) -> bool:
    """Whether a folder was added by a system or a program, and not by the person."""
    return name.startswith((".", "@", "$")) or name in ("__MACOSX", "__pycache__", "lost+found")


def _folders(root: Path) -> list[Path]:
    return sorted(each for each in root.iterdir() if each.is_dir() and not _is_added(each.name))


def _has_images(folder: Path) -> bool:
    """Whether a folder itself holds images."""
    return any(each.suffix.lower() in SUFFIXES and not each.name.startswith(".") for each in folder.iterdir())


def _holds_images(folder: Path, depth: int = 3) -> bool:
    """Whether a folder or one of those in it holds images."""
    return _has_images(folder) or (depth > 0 and any(_holds_images(each, depth - 1) for each in _folders(folder)))


def _holds_classes(folder: Path) -> bool:
    """Whether a folder holds class folders rather than images."""
    return not _has_images(folder) and any(_holds_images(each) for each in _folders(folder))


def seen(folder: Path) -> str:
    """What kinds of files there are instead of images, as the middle of a sentence."""
    kinds = Counter(
        (os.path.splitext(name)[1].lower() or "no suffix") for _, _, names in os.walk(folder) for name in names
    )
    if not kinds:
        return " (it holds no files)"
    listed = ", ".join(f"{count} of {one_line(kind)}" for kind, count in kinds.most_common(_SHOWN))
    return f" (it holds {counted(sum(kinds.values()), 'file')}: {listed})"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
