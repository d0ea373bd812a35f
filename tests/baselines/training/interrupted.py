"""A training that is interrupted from the terminal, beside one that is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file

from baselines.training.run import HISTORY, WEIGHTS
from baselines.training.train import CHECKPOINT
from nas.__main__ import main
from tests.processes import environment


def interrupted_and_gone_on_with(*options: str) -> None:
    """Ctrl-C after the first epoch of B0's training ends all its processes with the state kept, which is gone on from.

    The weights at the end are those of a training that was never stopped.
    """
    command = [sys.executable, "-m", "nas", "train", "efficientnet_b0", *options, "--out"]
    subprocess.run([*command, "whole"], env=environment(), capture_output=True, check=True)
    cut = subprocess.Popen(
        [*command, "cut"], env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not Path("cut", HISTORY).exists():
        time.sleep(0.05)
    os.killpg(cut.pid, signal.SIGINT)
    _, said = cut.communicate(timeout=120)
    assert cut.returncode == 130, said
    assert "mnas train --resume cut" in said
    assert "Traceback" not in said
    assert Path("cut", CHECKPOINT).exists()
    assert main(["train", "--resume", "cut", "--json"]) == 0
    whole, resumed = (load_file(Path(name, WEIGHTS)) for name in ("whole", "cut"))
    assert whole.keys() == resumed.keys()
    assert all((whole[name] == resumed[name]).all() for name in whole)
