"""A lock on a folder, for one process at a time. It ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock(folder: Path) -> int | None:
    """Lock a folder. Returns its descriptor, which holds the lock until it is closed; None if it is already locked.

    Raises:
        OSError: the folder cannot be read, or its file system does not support locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_owned(folder: Path) -> bool:
    """Whether a process holds the lock of a folder now. Raises `OSError` as `lock` does."""
    descriptor = lock(folder)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None
