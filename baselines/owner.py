"""A lock on a folder, for one process at a time. It ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
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


def _locked(descriptor: int, kind: int) -> bool:
    """Whether the lock could be had."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
