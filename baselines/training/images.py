"""Images one by one, from where they lie; all are looked through once, and small ones of one size become one array.

What was found is kept in the cache: which images can be read, and the array, which is memory-mapped ever after.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import MnasError

if TYPE_CHECKING:
    from PIL.Image import Image

# Images up to this side, all square and of one size, are packed.
PACKED_SIDE = 128
# So many are looked through between two chances to stop.
BLOCK = 1024
TOLD_SECONDS = 10.0
# Faults of a disk, a network or a process.
PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOENT)

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Images(Protocol):
    """Images that can be read one by one."""

    @property
    def threads(self) -> int:
        """How many threads may read at once."""
        ...

    @property
    def identity(self) -> str:
        """Another text wherever an image may have changed."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pixels:
        """One image: uint8 of shape (height, width, 3). Raises `OSError`, which names it, where it cannot be read."""
        ...

    def name(self, index: int) -> str:
        """What a person knows an image by."""
        ...

    def mark(self, index: int) -> str:
        """What tells an image from others, wherever all of them lie."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """The two sides as stored. Raises `OSError` where the image cannot be read to its end."""
        ...


class Files:
    """Images in files, decoded when they are asked for.

    Args:
        root: folder that all are in.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root, self._files = root, files

    @property
    def threads(self) -> int:
        """As `Images`."""
        return len(os.sched_getaffinity(0))

    @property
    def identity(self) -> str:
        """As `Images`: place, names, sizes, times and permissions."""
        stats = [(str(file.relative_to(self._root)), file.stat()) for file in self._files]
        files = [[name, stat.st_size, stat.st_mtime_ns, stat.st_mode] for name, stat in stats]
        return json.dumps(["files", str(self._root.resolve()), files])

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Pixels:
        return decode(self._files[index])

    def name(self, index: int) -> str:
        """As `Images`."""
        return str(self._files[index])

    def mark(self, index: int) -> str:
        """As `Images`: name in the folder, and size."""
        file = self._files[index]
        return f"{file.relative_to(self._root)} {file.stat().st_size}"

    def size(self, index: int) -> tuple[int, int]:
        """As `Images`; of a JPEG, all is read but only an eighth of each side made."""
        from PIL import Image, ImageOps

        file = self._files[index]
        with reading(str(file)), Image.open(file) as image:
            size = image.size
            image.draft(None, (1, 1))
            ImageOps.exif_transpose(image).load()
        return size


def decode(file: Path) -> Pixels:
    """An image file as uint8 of shape (height, width, 3), upright. Raises `OSError`, which names it."""
    from PIL import Image

    with reading(str(file)), Image.open(file) as image:
        return pixels_of(image)


def pixels_of(image: Image) -> Pixels:
    """An image of Pillow as uint8 of shape (height, width, 3), upright."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # of which Pillow would keep the values up to 255, and make white of others
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return np.asarray(upright.convert("RGB"))


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever Pillow raises inside becomes an `OSError` that names the image.

    Raises:
        MnasError: the system is at fault and not the image, which must not be left out for that.
    """
    from PIL import Image

    kinds = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError)
    try:
        yield
    except (*kinds, RuntimeError, struct.error, Image.DecompressionBombError) as error:
        if getattr(error, "errno", None) in PASSING:
            raise MnasError(f"data: {name} cannot be read now ({error}); bring it back, or remove it") from None
        raise OSError(f"{name} cannot be read ({error})") from None


@dataclass(frozen=True)
class Chosen:
    """Some of the images of others, in another order; of an array, without a copy of it."""

    images: Any
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pixels:
        pixels: Pixels = self.images[int(self.rows[index])]
        return pixels

    def mark(self, index: int) -> str:
        """As `Images`."""
        text: str = self.images.mark(int(self.rows[index]))
        return text


def usable(images: Images, labels: Labels, skipped: list[str], progress: Callable[[str], None]) -> tuple[Any, Labels]:
    """Those of the images that can be read, with their labels; as one array where all are small and of one size.

    Args:
        labels: one for each image.
        skipped: to which the names of the others are added.
        progress: is told of what takes long.
    """
    key = hashlib.sha256(images.identity.encode()).hexdigest()[:24]
    sizes, packed = _kept(cache_folder() / key) or _look_through(images, cache_folder() / key, progress)
    good = np.flatnonzero(sizes[:, 0])
    skipped += [images.name(int(index)) for index in np.flatnonzero(sizes[:, 0] == 0)]
    if packed is not None:
        return packed, labels[good]
    return images if len(good) == len(images) else Chosen(images, good), labels[good]


# The sides of every image, 0 and 0 of those that cannot be read, and the others as one array where they are packed.
Found = tuple[NDArray[np.int32], Any]
SIZES, PACKED = "sizes.npy", "images.npy"


def _side(sizes: NDArray[np.int32]) -> int | None:
    """That of all images where they are packed."""
    kinds = np.unique(sizes[sizes[:, 0] > 0], axis=0)
    if len(kinds) != 1 or kinds[0, 0] != kinds[0, 1] or kinds[0, 0] > PACKED_SIDE:
        return None
    return int(kinds[0, 0])


def _kept(place: Path) -> Found | None:
    """What was found before; None where nothing was, or its files were damaged or removed."""
    try:
        sizes = np.load(place / SIZES)
        packed = np.load(place / PACKED, mmap_mode="r") if _side(sizes) else None
    except (OSError, ValueError, EOFError, IndexError):
        return None
    return sizes, None if packed is None else packed[: np.count_nonzero(sizes[:, 0])]


def _look_through(images: Images, place: Path, progress: Callable[[str], None]) -> Found:
    """Find out, and keep what was found, whole or not at all. Raises `MnasError` where there is no room for that."""
    making = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=place.parent, prefix="making-"))
    except OSError as error:
        progress(f"{place.parent} cannot be written ({error.strerror}), so images are looked through every time")
    try:
        sizes = _sizes(images, progress)
        packed = _packed(images, sizes, making)
        if making is not None:
            np.save(making / SIZES, sizes)
            if place.exists() and _kept(place) is None:
                shutil.rmtree(place)
            with suppress(OSError):  # another process was faster
                making.rename(place)
    except OSError as error:
        raise MnasError(
            f"data: {place.parent} cannot be written ({error.strerror or error}); make room there, or set "
            "XDG_CACHE_HOME to another folder"
        ) from None
    finally:
        if making is not None:
            shutil.rmtree(making, ignore_errors=True)
    return sizes, packed


def _packed(images: Images, sizes: NDArray[np.int32], making: Path | None) -> Any:
    """The images that can be read as one array, in a file of the folder if there is one; None where they do not fit.

    The sizes of those that cannot be read after all are set to 0.
    """
    good, side = np.flatnonzero(sizes[:, 0]), _side(sizes)
    if side is None:
        return None
    shape = (len(good), side, side, 3)
    if making is None:
        packed = np.empty(shape, dtype=np.uint8)
    else:
        packed = np.lib.format.open_memmap(making / PACKED, mode="w+", dtype=np.uint8, shape=shape)
        with (making / PACKED).open("r+b") as stream:  # or a full disk would end the process without a word
            os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
    count = 0
    for index in map(int, good):
        try:
            packed[count] = images[index]
        except OSError:
            sizes[index] = 0
        else:
            count += 1
    if isinstance(packed, np.memmap):
        packed.flush()
    packed.flags.writeable = False
    return packed[:count]


def _sizes(images: Images, progress: Callable[[str], None]) -> NDArray[np.int32]:
    """Of each image the two sides, or 0 and 0 where it cannot be read: shape (N, 2)."""

    def size(index: int) -> tuple[int, int]:
        try:
            return images.size(index)
        except OSError:
            return 0, 0

    found = np.zeros((len(images), 2), dtype=np.int32)
    told = time.monotonic()
    with ThreadPoolExecutor(images.threads) as pool:
        for start in range(0, len(images), BLOCK):
            block = range(start, min(start + BLOCK, len(images)))
            found[start : block.stop] = list(pool.map(size, block) if images.threads > 1 else map(size, block))
            if time.monotonic() - told >= TOLD_SECONDS:
                progress(f"looked through {block.stop:,} of {len(images):,} images, which is done once")
                told = time.monotonic()
    return found


def tell(text: str) -> None:
    """Say on stderr what takes long."""
    print(f"mnas: {text}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Where packed images lie; it may be deleted."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "mnas" / "images"
