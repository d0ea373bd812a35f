"""TensorFlow's RMSProp, with which EfficientNet was trained; a recipe's optimizer, and the weights that decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from baselines.training.recipe import Recipe

# EfficientNet's values: arXiv 1905.11946 section 5.2 (decay) and tensorflow/tpu utils.py (epsilon).
RMSPROP_DECAY = 0.9
RMSPROP_EPS = 1e-3
# The usual value: arXiv 1711.05101, and torch's.
ADAMW_BETA2 = 0.999


class RMSPropTF(torch.optim.Optimizer):
    """RMSProp as TensorFlow defines it (tf.compat.v1.train.RMSPropOptimizer).

        mean_square <- decay mean_square + (1 - decay) gradient²          starts at 1
        momentum <- momentum_decay momentum + rate gradient / sqrt(mean_square + eps)
        weight <- weight - momentum

    PyTorch's RMSProp starts the mean square at 0, adds eps outside the root, and multiplies the momentum by the current
    rate, so published rates do not transfer to it.

    Args:
        parameters: weights, or groups of weights.
        rate: learning rate.
        momentum: decay of the momentum.
        decay: decay of the mean square.
        eps: constant inside the root.
        weight_decay: L2 penalty, added to the gradient.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        rate: float,
        momentum: float = 0.9,
        decay: float = RMSPROP_DECAY,
        eps: float = RMSPROP_EPS,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": rate, "momentum": momentum, "decay": decay, "eps": eps, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step. ``closure``, if given, is called first, as in every torch optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients: list[Tensor] = [weight.grad for weight in weights]
            squares, momenta = [], []
            for weight in weights:
                state = self.state[weight]
                if not state:
                    state["mean_square"] = torch.ones_like(weight)
                    state["momentum"] = torch.zeros_like(weight)
                squares.append(state["mean_square"])
                momenta.append(state["momentum"])
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
            torch._foreach_mul_(squares, group["decay"])
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["decay"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_addcdiv_(momenta, gradients, roots, value=group["lr"])
            torch._foreach_sub_(weights, momenta)
        return loss


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer. All weights decay except those and the biases of batch norm (tensorflow/tpu main.py)."""
    norms = {
        id(weight)
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for weight in module.parameters(recurse=False)
    }
    decayed = [weight for weight in network.parameters() if id(weight) not in norms]
    others = [weight for weight in network.parameters() if id(weight) in norms]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "rmsprop-tf":
        return RMSPropTF(groups, recipe.learning_rate, recipe.momentum)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.learning_rate, (recipe.momentum, ADAMW_BETA2), foreach=True)
    return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=recipe.momentum > 0, foreach=True)
