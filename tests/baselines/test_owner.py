"""One owner a folder; those who look at it are in nobody's way."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from baselines.owner import is_owned, lock


def test_one_process_owns_a_folder(tmp_path: Path) -> None:
    assert not is_owned(tmp_path)
    held = lock(tmp_path)
    assert held is not None
    assert is_owned(tmp_path)
    assert lock(tmp_path) is None
    os.close(held)
    assert not is_owned(tmp_path)


def test_two_that_look_see_no_owner(tmp_path: Path) -> None:
    looking = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not is_owned(tmp_path)
    os.close(looking)


def test_an_owner_waits_for_one_that_looks(tmp_path: Path) -> None:
    looking = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Thread(target=lambda: (time.sleep(0.05), os.close(looking))).start()
    held = lock(tmp_path)
    assert held is not None
    os.close(held)
