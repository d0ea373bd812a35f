"""Images read one by one. All are checked once, and small images of one size are packed into one array.

The result is cached: which images can be read, and the array, which is memory-mapped from then on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from baselines.notices import say
from baselines.owner import workplace
from baselines.training.data.decoding import Pixels, content_of, decode, opened, pixels_of, reading
from baselines.training.data.fit import WHOLE_SIDE, Sizes
from search_spaces.architecture import RGB
from search_spaces.errors import MnasError

# Images up to this side, all square and of one size, are packed. No fit changes them (`data.fit.WHOLE_SIDE`), so the
# cache holds for all.
PACKED_SIDE = WHOLE_SIDE
# Images checked between two reports of progress.
BLOCK = 1024
PROGRESS_SECONDS = 10.0
Labels = NDArray[np.int64]
# Tag of EXIF, and its values for images that are stored on their side.
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)


# Digests of images: 16 bytes each.
Digests = NDArray[np.void]


class Look(NamedTuple):
    """What reading an image through has found.

    Attributes:
        width, height: sides of the upright image, in pixels.
        digest: BLAKE2 of its content as stored, 16 bytes.
        pixels: the image itself if it is no larger than `PACKED_SIDE`, so that it need not be read again to be packed.
    """

    width: int
    height: int
    digest: bytes
    pixels: Pixels | None = None


def digest_of(content: bytes | memoryview) -> bytes:
    """The digest of an image's content: of a file's bytes, or of its pixels where there is no file."""
    return hashlib.blake2b(content, digest_size=16).digest()


class Images(Protocol):
    """Images that can be read one by one.

    Attributes:
        channels: channels that they are read with: 1, 3 or 4.
    """

    channels: int

    @property
    def threads(self) -> int:
        """Number of threads that may read at once."""
        ...

    @property
    def identity(self) -> str:
        """A text that differs if any image may have changed."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pixels:
        """One image: uint8 of shape (height, width, channels). Raises an `OSError` that names it if it cannot be."""
        ...

    @property
    def digests(self) -> Digests | None:
        """The digest of each image, shape (N,); None before they have been looked at."""
        ...

    @digests.setter
    def digests(self, found: Digests) -> None: ...

    def small(self, index: int, least: int) -> Pixels:
        """One image, perhaps of fewer pixels, with sides of ``least`` or more unless it is smaller."""
        ...

    def name(self, index: int) -> str:
        """Name of an image for messages."""
        ...

    def portable_name(self, index: int) -> str:
        """A name of an image, wherever the data set is stored."""
        ...

    def former_name(self, index: int) -> str:
        """A text by which an image was identified before digests."""
        ...

    def look(self, index: int) -> Look:
        """Read an image once, to its end. Raises `OSError` if it cannot be read."""
        ...


class Files:
    """Images in files, decoded on access.

    Args:
        root: folder that contains all files.
        names: paths of the files in it.
        shown: what that folder is called in messages; by default as it is.
    """

    def __init__(self, root: Path, names: Sequence[str], shown: Path | None = None) -> None:
        self._root, self._names, self._shown = root, names, shown or root
        self.channels = RGB
        self.digests: Digests | None = None

    @property
    def threads(self) -> int:
        """As `Images`."""
        return len(os.sched_getaffinity(0))

    def __getstate__(self) -> dict[str, Any]:
        """The values that readers in other processes need, which states of a hundred thousand files are not."""
        return {name: value for name, value in vars(self).items() if name != "_states"}

    @cached_property
    def _states(self) -> list[os.stat_result]:
        return [os.stat(self._path(index)) for index in range(len(self))]

    @property
    def identity(self) -> str:
        """As `Images`: made of the folder, and of names, sizes, times and permissions of the files."""
        states = zip(self._names, self._states, strict=True)
        files = [[name, state.st_size, state.st_mtime_ns, state.st_mode] for name, state in states]
        return json.dumps(["files", str(self._root.resolve()), files])

    def _path(self, index: int) -> str:
        return os.path.join(self._root, self._names[index])

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Pixels:
        return decode(Path(self._path(index)), channels=self.channels)

    def small(self, index: int, least: int) -> Pixels:
        """As `Images`."""
        return decode(Path(self._path(index)), least=least, channels=self.channels)

    def name(self, index: int) -> str:
        """As `Images`."""
        return os.path.join(self._shown, self._names[index])

    def portable_name(self, index: int) -> str:
        """As `Images`: path in the folder."""
        return self._names[index]

    def former_name(self, index: int) -> str:
        """As `Images`: path in the folder, and size of the file."""
        return f"{self._names[index]} {self._states[index].st_size}"

    def look(self, index: int) -> Look:
        """As `Images`; a large JPEG is read to its end, but decoded at an eighth of its sides."""
        from PIL import ImageOps

        file = self._path(index)
        with reading(file):
            content = content_of(Path(file))
        digest = digest_of(content)
        with opened(content, file) as image:
            if max(image.size) <= PACKED_SIDE:
                return look_at(pixels_of(image, self.channels), digest)
            stored = image.size
            turned = image.getexif().get(ORIENTATION, 1) in TURNED
            image.draft(None, (1, 1))
            smaller = image.size != stored
            upright = ImageOps.exif_transpose(image)
            upright.load()
            if smaller:
                width, height = reversed(stored) if turned else stored
            else:
                width, height = upright.size
        return Look(width, height, digest)


def look_at(pixels: Pixels, digest: bytes) -> Look:
    """What is known of an image that was decoded."""
    height, width = pixels.shape[:2]
    return Look(width, height, digest, pixels if max(height, width) <= PACKED_SIDE else None)


@dataclass(frozen=True)
class Subset:
    """Some of the images of an array or of `Images`, in any order, without a copy.

    Attributes:
        images: all images.
        rows: indices of the subset.
    """

    images: Any
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pixels:
        pixels: Pixels = self.images[int(self.rows[index])]
        return pixels

    def small(self, index: int, least: int) -> Pixels:
        """As `Images`."""
        if isinstance(self.images, np.ndarray):
            return self[index]
        pixels: Pixels = self.images.small(int(self.rows[index]), least)
        return pixels

    @property
    def digests(self) -> Digests | None:
        """As `Images`."""
        return None if self.images.digests is None else self.images.digests[self.rows]

    def portable_name(self, index: int) -> str:
        """As `Images`."""
        return str(self.images.portable_name(int(self.rows[index])))

    def former_name(self, index: int) -> str:
        """As `Images`."""
        return str(self.images.former_name(int(self.rows[index])))


@dataclass
class Survey:
    """What reading images through once has found.

    Attributes:
        skipped: names of images that cannot be read.
        sizes: widths and heights of the others in pixels, an array of shape (N, 2) for each part.
    """

    skipped: list[str] = field(default_factory=list)
    sizes: list[Sizes] = field(default_factory=list)


def readable_images(images: Images, survey: Survey, progress: Callable[[str], None]) -> tuple[Any, NDArray[np.int64]]:
    """The images that can be read, as one array if all are small and of one size; and their indices among all.

    Args:
        images: all images.
        survey: what was found, which is added to.
        progress: function that is called with a line of progress if this takes long.
    """
    identity = images.identity + (f" {images.channels} channels" if images.channels != RGB else "")
    key = hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder = cache_folder() / key
    sizes, images.digests, packed = _load_cached(folder) or _check_images(images, folder, progress)
    good = np.flatnonzero(sizes[:, 0])
    survey.skipped += [images.name(int(index)) for index in np.flatnonzero(sizes[:, 0] == 0)]
    survey.sizes.append(sizes[good])
    if packed is not None:
        return packed, good
    return images if len(good) == len(images) else Subset(images, good), good


# Sides of all images (0 and 0 for unreadable ones), digests, and the readable ones as an array if they are packed.
Checked = tuple[NDArray[np.int32], Digests, Any]
SIZES, DIGESTS, PACKED = "upright.npy", "digests.npy", "images.npy"
# Start of the names of folders that are not complete yet; the process that makes one owns it.
MAKING = "making-"


def _packed_side(sizes: NDArray[np.int32]) -> int | None:
    """Side of the images if they are to be packed; None otherwise."""
    unique_sizes = np.unique(sizes[sizes[:, 0] > 0], axis=0)
    if len(unique_sizes) != 1 or unique_sizes[0, 0] != unique_sizes[0, 1] or unique_sizes[0, 0] > PACKED_SIDE:
        return None
    return int(unique_sizes[0, 0])


def _load_cached(folder: Path) -> Checked | None:
    """The cached result; None if there is none, or its files are damaged."""
    try:
        sizes = np.load(folder / SIZES)
        digests = np.load(folder / DIGESTS)
        packed = np.load(folder / PACKED, mmap_mode="r") if _packed_side(sizes) else None
    except (OSError, ValueError, EOFError, IndexError):
        return None
    if digests.dtype != np.uint8 or digests.shape != (len(sizes), 16):
        return None
    return sizes, digests.view("V16")[:, 0], None if packed is None else packed[: np.count_nonzero(sizes[:, 0])]


def _check_images(images: Images, folder: Path, progress: Callable[[str], None]) -> Checked:
    """Check all images and cache the result, which is never half written.

    Raises:
        MnasError: the cache cannot be written, for example because the disk is full.
    """
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = stack.enter_context(workplace(folder.parent, MAKING))
        except OSError as error:
            partial = None
            progress(f"{folder.parent} cannot be written ({error.strerror}), so images are checked every time")
        try:
            pack = _Pack(len(images), partial)
            sizes, digests = _look_through(images, pack, progress)
            packed = pack.finished()
            if partial is not None:
                np.save(partial / SIZES, sizes)
                np.save(partial / DIGESTS, digests)
                if folder.exists() and _load_cached(folder) is None:
                    shutil.rmtree(folder)
                with suppress(OSError):  # another process was faster
                    partial.rename(folder)
        except OSError as error:
            raise MnasError(
                f"data: {folder.parent} cannot be written ({error.strerror or error}); free some space, or set "
                "XDG_CACHE_HOME to another folder"
            ) from None
    return sizes, digests.view("V16")[:, 0], packed


class _Pack:
    """The images as one array, filled as they are looked at, as long as all are small, square and of one size.

    Args:
        count: number of images, of which some may turn out to be unreadable.
        folder: folder for the array's file; None to keep it in memory.
    """

    def __init__(self, count: int, folder: Path | None) -> None:
        self._count, self._folder = count, folder
        self._array: Any = None
        self._used = 0
        self._given_up = False

    def add(self, images: Sequence[Pixels | None]) -> None:
        """Add images, None for large ones."""
        if self._given_up or not images:
            return
        shapes = {None if pixels is None else pixels.shape for pixels in images}
        shape = shapes.pop()
        if (
            shapes
            or shape is None
            or shape[0] != shape[1]
            or (self._array is not None and shape != self._array.shape[1:])
        ):
            self._given_up, self._array = True, None
            if self._folder is not None:
                (self._folder / PACKED).unlink(missing_ok=True)
            return
        if self._array is None:
            self._array = self._new((self._count, *shape))
        for pixels in images:
            self._array[self._used] = pixels
            self._used += 1

    @property
    def started(self) -> bool:
        """Whether images have been small so far."""
        return self._array is not None

    def _new(self, shape: tuple[int, ...]) -> Any:
        if self._folder is None:
            return np.empty(shape, dtype=np.uint8)
        file = self._folder / PACKED
        array = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        with file.open("r+b") as stream:  # on a full disk, writing to the map would kill the process
            os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
        return array

    def finished(self) -> Any:
        """The images that were added, not to be written to; None if they cannot be one array."""
        if self._array is None:
            return None
        if isinstance(self._array, np.memmap):
            self._array.flush()
        self._array.flags.writeable = False
        return self._array[: self._used]


def _look_through(images: Images, pack: _Pack, progress: Callable[[str], None]) -> tuple[NDArray[np.int32], Pixels]:
    """Read each image once: its two sides, or 0 and 0 if it cannot be read (N, 2), and its digest (N, 16).

    Those that can be read are added to the pack.
    """

    def look(index: int) -> Look:
        try:
            return images.look(index)
        except OSError:
            return Look(0, 0, bytes(16))

    sizes, digests = np.zeros((len(images), 2), dtype=np.int32), np.zeros((len(images), 16), dtype=np.uint8)
    last_report = time.monotonic()
    with ThreadPoolExecutor(images.threads) as pool:
        for start in range(0, len(images), BLOCK):
            block = range(start, min(start + BLOCK, len(images)))
            # Decoding a small image takes less time than handing the interpreter's lock to another thread.
            several = images.threads > 1 and not pack.started
            found = list(pool.map(look, block) if several else map(look, block))
            sizes[start : block.stop] = [one[:2] for one in found]
            pack.add([one.pixels for one in found if one.width])
            digests[start : block.stop] = np.frombuffer(b"".join(one.digest for one in found), np.uint8).reshape(-1, 16)
            if time.monotonic() - last_report >= PROGRESS_SECONDS:
                progress(f"checked {block.stop:,} of {len(images):,} images; this is done once")
                last_report = time.monotonic()
    return sizes, digests


def print_progress(text: str) -> None:
    """Print a line of progress on stderr."""
    say(f"mnas: {text}")


def cache_folder() -> Path:
    """Folder of the packed images; it may be deleted."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "mnas" / "images"
