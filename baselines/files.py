"""Files that are written whole or not at all, and never over another one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from search_spaces.errors import MnasError


def new_folder(name: str) -> Path:
    """A folder in runs/ that does not exist yet: of that name, or with a number behind it."""
    tries = (Path("runs") / (name if attempt == 1 else f"{name}-{attempt}") for attempt in range(1, 10_000))
    return next(folder for folder in tries if not folder.exists())


def check_new(file: Path, *, field: str = "out") -> None:
    """Raise `MnasError` where a file is there already, or its folder is not."""
    if file.exists():
        raise MnasError(f"{field}: {file} is there already; choose another file or remove it")
    if not file.absolute().parent.is_dir():
        raise MnasError(f"{field}: {file} cannot be written (there is no such folder); choose another place")


def write_new(file: Path, write: Callable[[Path], object], *, field: str = "out") -> None:
    """Write a file that is not there yet.

    Args:
        file: where.
        write: writes the content into the path that it is given, which has the name of ``file`` in a folder beside it.
        field: what the caller gave ``file`` as, for the message.

    Raises:
        MnasError: the file is there already or cannot be written; nothing is left then.
    """
    check_new(file, field=field)
    try:
        with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".mnas-") as folder:
            target = Path(folder) / file.name
            write(target)
            others = [other.name for other in Path(folder).iterdir() if other != target]
            if others:
                raise MnasError(f"{field}: {file} would need a second file ({others[0]}); choose another format")
            os.replace(target, file)
    except OSError as error:
        raise MnasError(
            f"{field}: {file} cannot be written ({error.strerror or error}); choose another place"
        ) from None


def file_name(text: str) -> str:
    """A text as the name of a file: ``torchvision:resnet50`` becomes ``torchvision-resnet50``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def write_new_text(file: Path, text: str, *, field: str = "out") -> None:
    """As `write_new`, for a text in UTF-8."""
    write_new(file, lambda target: target.write_text(text, encoding="utf-8"), field=field)
