"""Running Python in a process of its own, for tests of what must not depend on the process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """Variables with which a process in any folder finds the packages."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def in_new_process(code: str, **variables: str) -> str:
    """What ``code`` prints, without the newline at the end, with further variables of its environment."""
    command, where = [sys.executable, "-c", code], {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=where).stdout.rstrip("\n")


def killed_when(arguments: Sequence[str], pattern: str, count: int, seconds: float = 120) -> None:
    """Run ``mnas`` with arguments in the current folder, and kill it when so many files match a pattern."""
    command = [sys.executable, "-m", "nas", *arguments]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + seconds
        while len(list(Path().glob(pattern))) < count and process.poll() is None:
            assert time.monotonic() < deadline, f"no {count} files {pattern} after {seconds} s"
            time.sleep(0.01)
        process.kill()
