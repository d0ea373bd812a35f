"""The best epoch of a training by its validation part: whose weights are kept, and when a training ends early."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from baselines.training.recipe import Recipe


class Best:
    """The first of the epochs with the highest accuracy on the validation part, and its weights if they are kept.

    Args:
        recipe: recipe of the training.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._epoch, self._accuracy = 0, -1.0
        self._weights: dict[str, Tensor] | None = None

    def see(self, epoch: int, accuracy: float, network: nn.Module) -> None:
        """Take note of the accuracy after an epoch, and of the weights of the network that was validated."""
        if accuracy <= self._accuracy:
            return
        self._epoch, self._accuracy = epoch, accuracy
        if self._recipe.keep == "best":  # on the CPU, where the next epochs need no memory
            self._weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def is_long_ago(self, epoch: int) -> bool:
        """Whether the training ends after this epoch, since patience with it is over."""
        since = max(self._epoch, self._recipe.freeze_epochs)
        return bool(self._recipe.patience) and epoch - since >= self._recipe.patience

    def kept(self, network: nn.Module) -> nn.Module:
        """A copy of the network with the weights that are kept; the network itself if they are those of the end."""
        if self._weights is None:
            return network
        kept = copy.deepcopy(network)
        kept.load_state_dict(self._weights)
        return kept

    def state_dict(self) -> dict[str, Any]:
        """The state, which `load_state_dict` reads."""
        return {"epoch": self._epoch, "accuracy": self._accuracy, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of an earlier process."""
        self._epoch, self._accuracy = int(state["epoch"]), float(state["accuracy"])
        weights = state["weights"]
        self._weights = None if weights is None else {name: tensor.cpu() for name, tensor in weights.items()}
