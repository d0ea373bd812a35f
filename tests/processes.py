"""Running Python in a process of its own, for tests of what must not depend on the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """Variables with which a process in any folder finds the packages."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def in_new_process(code: str) -> str:
    """What ``code`` prints, without the newline at the end."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.rstrip("\n")
