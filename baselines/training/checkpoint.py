"""The state of a training in one file that is never half written."""

from __future__ import annotations

import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from baselines.files import replace_file
from baselines.training.best import Best
from search_spaces.errors import MnasError, reason_of

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 60.0


class Checkpoint:
    """Saves and loads the state of a training. Only the process of the first device saves.

    Args:
        folder: folder of the checkpoint; None to keep none.
        network, optimizer, averaged, best: what is saved and loaded; ``averaged`` and ``best`` may be None.
    """

    def __init__(
        self, folder: Path | None, network: nn.Module, optimizer: Any, averaged: Any, best: Best | None = None
    ) -> None:
        self._file = None if folder is None else folder / CHECKPOINT
        self._parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "averaged": averaged, "best": best}
        self._saved = time.monotonic()
        self.step = 0
        """Step of the saved state; 0 if there is none."""

    def load(self, device: torch.device) -> int:
        """Load the saved state. Returns its step; 0 if there is none.

        Raises:
            MnasError: the file is damaged or belongs to another training.
        """
        if self._file is None or not self._file.is_file():
            return 0
        try:
            state = torch.load(self._file, map_location=device, weights_only=True)
            for name, part in self._parts.items():
                if part is not None:
                    part.load_state_dict(state[name])
            self.step = int(state["step"])
            return self.step
        except Exception as error:  # torch raises many kinds of errors for a file that is not its own
            what = f"belongs to another training or is damaged ({reason_of(error)})"
            if isinstance(error, pickle.UnpicklingError) and _is_pickle(self._file):
                what = "is a pickle of other things than tensors and numbers, which could run code, so it is not read"
            raise MnasError(f"{self._file}: {what}; remove it to start again") from None

    @property
    def is_enabled(self) -> bool:
        """Whether there is a folder to save in."""
        return self._file is not None

    @property
    def is_due(self) -> bool:
        """Whether `CHECKPOINT_SECONDS` have passed since the last save."""
        return self.is_enabled and time.monotonic() >= self._saved + CHECKPOINT_SECONDS

    def save(self, step: int) -> None:
        """Write the state after a step. Raises `MnasError` if that fails."""
        if self._file is None:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items() if part is not None}
        state["step"] = step
        try:
            replace_file(self._file, lambda stream: torch.save(state, stream))
        except (OSError, RuntimeError) as error:
            raise MnasError(f"{self._file}: cannot be written ({error}); free some space and use --resume") from None
        self._saved, self.step = time.monotonic(), step


def _is_pickle(file: Path) -> bool:
    """Whether a file is a pickle, or an archive of torch with one inside."""
    with file.open("rb") as stream:
        return stream.read(1) == b"\x80" or zipfile.is_zipfile(file)
