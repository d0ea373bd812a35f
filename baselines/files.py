"""Writing files completely or not at all, and never over an existing one."""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from baselines.owner import workplace
from search_spaces.errors import MnasError


def new_folder(name: str) -> Path:
    """A folder in runs/ that does not exist yet, with that name, or with a number after it."""
    tries = (Path("runs") / (name if attempt == 1 else f"{name}-{attempt}") for attempt in range(1, 10_000))
    return next(folder for folder in tries if not folder.exists())


def check_new(file: Path, *, field: str = "out") -> None:
    """Raise `MnasError` if a file already exists, or its folder does not."""
    if file.exists():
        raise MnasError(f"{field}: {file} already exists; choose another file or remove it")
    if not file.absolute().parent.is_dir():
        raise MnasError(f"{field}: {file} cannot be written (folder not found); choose another folder")


def write_new(file: Path, write: Callable[[Path], object], *, field: str = "out") -> None:
    """Write a file that does not exist yet.

    Args:
        file: file to write.
        write: function that writes the content to the path it is given, of the same name in a temporary folder.
        field: name of the option that gave ``file``, for errors.

    Raises:
        MnasError: the file already exists or cannot be written; nothing is left then.
    """
    check_new(file, field=field)
    try:
        with workplace(file.absolute().parent, ".mnas-") as folder:
            target = folder / file.name
            write(target)
            others = [other.name for other in folder.iterdir() if other != target]
            if others:
                raise MnasError(f"{field}: {file} would need a second file ({others[0]}); choose another format")
            os.replace(target, file)
    except OSError as error:
        raise MnasError(f"{field}: {file} cannot be written ({error.strerror or error}); choose another file") from None


def replace_file(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file in a folder that only this process writes to, completely or not at all, in place of what is there.

    No link is followed: the folder may have been received from others, and a link in it may point anywhere. What a kill
    has left of an earlier attempt is removed.

    Args:
        file: file to write.
        write: function that writes the content to the stream that it is given.

    Raises:
        OSError: the file cannot be written; the earlier one is kept then.
    """
    for other in file.parent.glob(f".{glob.escape(file.name)}.*"):
        other.unlink()
    partial = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(partial, flags, 0o666), "wb") as stream:
            write(stream)
        os.replace(partial, file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def file_name(text: str) -> str:
    """A text made usable as the name of a file: ``torchvision:resnet50`` becomes ``torchvision-resnet50``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def write_new_text(file: Path, text: str, *, field: str = "out") -> None:
    """As `write_new`, for a text in UTF-8."""
    write_new(file, lambda target: target.write_text(text, encoding="utf-8"), field=field)
