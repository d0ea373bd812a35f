"""A lock on a folder, for one process at a time. It ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# How long a lock is tried for: those who only look hold it for some microseconds.
LOOK_SECONDS = 0.25


def lock(folder: Path) -> int | None:
    """Lock a folder. Returns its descriptor, which holds the lock until it is closed; None if another process owns it.

    Raises:
        OSError: the folder cannot be read, or its file system does not support locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + LOOK_SECONDS
        while not _locked(descriptor, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(LOOK_SECONDS / 50)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_owned(folder: Path) -> bool:
    """Whether a process holds the lock of a folder now. Raises `OSError` as `lock` does.

    Processes that look do not get in each other's way, and an owner who comes meanwhile waits for them.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return not _locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


@contextmanager
def workplace(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder of this process to make something in, which is removed at the end with what is in it still.

    What processes that were killed had begun there is removed first: folders of the same prefix that nobody owns. A new
    folder gets that prefix only once it is locked.

    Raises:
        OSError: no folder can be made in ``parent``.
    """
    for left_over in parent.glob(f"{glob.escape(prefix)}*"):
        with suppress(OSError):
            if not is_owned(left_over):
                shutil.rmtree(left_over, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(dir=parent, prefix=f".new{prefix}"))
    place = fresh.with_name(fresh.name.removeprefix(".new"))
    owner = None
    try:
        with suppress(OSError):  # some file systems have no locks
            owner = lock(fresh)
        fresh.rename(place)
        yield place
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)
        if owner is not None:
            os.close(owner)


def _locked(descriptor: int, kind: int) -> bool:
    """Whether the lock could be had."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
