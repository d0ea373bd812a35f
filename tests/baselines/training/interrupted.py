"""A training that is interrupted from the terminal, and the same training uninterrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file

from baselines.training.checkpoint import CHECKPOINT
from baselines.training.folder import HISTORY, WEIGHTS
from nas.__main__ import main
from tests.processes import environment


def check_interrupted_and_resumed(*options: str) -> None:
    """Interrupt a training of B0 with Ctrl-C after its first epoch, and resume it.

    All its processes must end with the state saved, and the final weights must be those of an uninterrupted training.
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
    _, err = cut.communicate(timeout=120)
    assert cut.returncode == 130, err
    assert "mnas train --resume cut" in err
    assert "Traceback" not in err
    assert Path("cut", CHECKPOINT).exists()
    assert main(["train", "--resume", "cut", "--json"]) == 0
    whole, resumed = (load_file(Path(name, WEIGHTS)) for name in ("whole", "cut"))
    assert whole.keys() == resumed.keys()
    assert all((whole[name] == resumed[name]).all() for name in whole)
