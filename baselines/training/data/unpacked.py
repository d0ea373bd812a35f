"""Zip and tar archives of images. They are unpacked once, into the cache, and are then read as the folders they hold.

All names are checked before anything is unpacked. Links, devices, and names that lead out of the archive are refused,
and so are archives of more than `MAX_BYTES`.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Self, cast

from baselines.owner import workplace
from baselines.training.data.archives import MAX_BYTES
from baselines.training.data.images import MAKING, cache_folder
from search_spaces.errors import MnasError, shorten
from search_spaces.serialization import read_text

# What the readers of damaged archives raise.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, ValueError, RuntimeError, LookupError),
)
# What decompresses a tar archive, by its first bytes.
_STREAMS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": cast(Callable[[Path], IO[bytes]], gzip.open),
    b"BZh": cast(Callable[[Path], IO[bytes]], bz2.open),
    b"\xfd7zXZ\x00": cast(Callable[[Path], IO[bytes]], lzma.open),
}
# Headers that hold the name of the next entry, which `tarfile` reads whole, and how many bytes they may have.
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONGEST = 2**20
# An entry's header counts as this many bytes, so that the number of entries is limited too.
_HEADER = 512
# File beside the unpacked files that says how many there are.
_COMPLETE = "complete.txt"


@dataclass(frozen=True)
class _Entry:
    """A file or folder in an archive.

    Attributes:
        name: name as stored.
        size: size in bytes.
        folder: whether it is a folder.
        odd: what it is if it is neither a folder nor a plain file.
        open: function that opens a file.
    """

    name: str
    size: int
    folder: bool
    odd: str
    open: Callable[[], IO[bytes] | None]


class _LongNameError(tarfile.TarError):
    """A name in an archive is longer than any file's."""


class _Member(tarfile.TarInfo):
    """A header of a tar archive, whose claim of a size is checked before `tarfile` reads as much."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header from its 512 bytes."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _LONG and member.size > _LONGEST:
            raise _LongNameError(f"a name in it has {member.size} bytes, at most {_LONGEST} are read")
        return member


@contextmanager
def _decompressed(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as stream:
        start = stream.read(6)
        stream.seek(0)
        how = next((how for magic, how in _STREAMS.items() if start.startswith(magic)), None)
        with how(archive) if how else nullcontext(stream) as plain:
            yield plain


def _is_tar(file: Path) -> bool:
    try:
        with _decompressed(file) as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member):
            return True
    except _LongNameError:  # which `_check` says
        return True
    except _DAMAGE:
        return False


def is_archive(file: Path) -> bool:
    """Whether a file is a zip archive, or a tar archive, compressed or not."""
    return _is_tar(file) or zipfile.is_zipfile(file)


def unpacked(archive: Path) -> Path:
    """Folder with the files of an archive; it has the name of the archive, without its suffixes.

    Raises:
        MnasError: the archive is damaged, too large, encrypted, or holds links or names that lead out of it; or the
            cache cannot be written.
    """
    if archive.stat().st_size > MAX_BYTES:
        raise _too_large(archive)
    with archive.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()[:24]
    name = archive.name.partition(".")[0] or "archive"
    place = cache_folder() / f"unpacked-{content}" / name
    if _is_complete(place):
        return place
    _check(archive)
    with ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            making = stack.enter_context(workplace(place.parent, MAKING))
            (making / name).mkdir()
            count = _unpack(archive, making / name)
            place.with_name(f"{name}-{_COMPLETE}").write_text(count)
            if place.exists() and not _is_complete(place):
                shutil.rmtree(place)
            with suppress(OSError):  # another process was faster
                (making / name).rename(place)
        except _DAMAGE as error:
            reason = getattr(error, "strerror", None) or error
            if getattr(error, "errno", None) is None:
                raise MnasError(f"data: {archive} cannot be unpacked ({reason}); make or download it again") from None
            raise MnasError(
                f"data: {archive} cannot be unpacked into {place.parent} ({reason}); free some space, set "
                "XDG_CACHE_HOME to another folder, or unpack it yourself and use the folder"
            ) from None
    return place


def _entries(archive: Path) -> Iterator[_Entry]:
    """What an archive holds; a file must be opened before the next entry is taken."""
    if _is_tar(archive):
        with _decompressed(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as opened:
                for member in opened:
                    plain = member.isfile() or member.isdir()
                    odd = "" if plain else "a link" if member.linkname else "a device or a pipe"
                    yield _Entry(member.name, member.size, member.isdir(), odd, partial(opened.extractfile, member))
                    opened.members.clear()  # type: ignore[attr-defined]  # which it would keep all
            rest = 0
            while block := stream.read(2**20):  # the checksum is at the end
                rest += len(block)
                if rest > MAX_BYTES:
                    raise tarfile.ReadError("more follows its end")
        return
    with zipfile.ZipFile(archive) as packed:
        infos = packed.infolist()
        # Some programs for Windows write its separators.
        windows = not any("/" in info.filename for info in infos)
        for info in infos:
            name = info.filename.replace("\\", "/") if windows else info.filename
            mode = info.external_attr >> 16
            odd = "a link" if stat.S_ISLNK(mode) else "encrypted" if info.flag_bits & 1 else ""
            yield _Entry(name, info.file_size, name.endswith("/"), odd, partial(packed.open, info))


def _check(archive: Path) -> None:
    """Refuse an archive for its names and sizes, before anything is unpacked."""
    total = 0
    try:
        for entry in _entries(archive):
            if entry.odd:
                raise MnasError(
                    f"data: {shorten(entry.name)} of {archive} is {entry.odd}; unpack it yourself and use the folder, "
                    "or pack it again with plain files alone"
                )
            path = PurePosixPath(entry.name)
            if path.is_absolute() or ".." in path.parts or PureWindowsPath(entry.name).drive or "\0" in entry.name:
                raise MnasError(
                    f"data: {archive} holds the name {shorten(entry.name)}, which leads out of the archive; pack it "
                    "again with names below one folder"
                )
            total += entry.size + _HEADER
            if total > MAX_BYTES:
                raise _too_large(archive)
    except _DAMAGE as error:
        if isinstance(error, MnasError):
            raise
        raise MnasError(f"data: {archive} cannot be read ({error}); make or download it again") from None


def _too_large(archive: Path) -> MnasError:
    return MnasError(f"data: {archive} unpacks to more than {MAX_BYTES} bytes; unpack it yourself and use the folder")


def _unpack(archive: Path, folder: Path) -> str:
    """Write the files of an archive into a folder. Returns how many files and bytes they are, as a text.

    Raises:
        OSError: a file cannot be written.
        EOFError: a file is shorter than the archive says.
    """
    for entry in _entries(archive):
        file = folder / PurePosixPath(entry.name)
        (file if entry.folder else file.parent).mkdir(parents=True, exist_ok=True)
        if not entry.folder:
            source = entry.open()
            assert source is not None
            with source, file.open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)
                if target.tell() != entry.size:
                    raise EOFError(f"{entry.name} is cut off")
    return _counts(folder)


def _counts(folder: Path) -> str:
    sizes = [os.stat(os.path.join(above, name)).st_size for above, _, names in os.walk(folder) for name in names]
    return f"{len(sizes)} files, {sum(sizes)} bytes"


def _is_complete(folder: Path) -> bool:
    """Whether all files are there still: caches are cleaned."""
    note = folder.with_name(f"{folder.name}-{_COMPLETE}")
    return note.is_file() and folder.is_dir() and read_text(note, kind="note") == _counts(folder)
