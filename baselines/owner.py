"""One owner for a folder at a time: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock(folder: Path) -> int | None:
    """A descriptor of the folder, locked until it is closed; None where another process has locked it.

    Raises:
        OSError: the folder cannot be read, or its file system knows no locks.
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
    """Whether a process has locked a folder at this moment. Raises `OSError` as `lock` does."""
    descriptor = lock(folder)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None
