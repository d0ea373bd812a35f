"""Recipes, schedules and the optimizer against hand-computed values."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from baselines import load
from baselines.training.optimizer import RMSPropTF, make_optimizer
from baselines.training.recipe import RECIPES, Recipe, load_recipe
from search_spaces import FieldError, architecture_cost
from search_spaces.adaptation import adapted
from search_spaces.network import build_network


def test_the_schedule_of_the_paper() -> None:
    """arXiv 1905.11946 section 5.2: 0.256, times 0.97 every 2.4 epochs; a warm-up of 5 epochs (tensorflow/tpu)."""
    recipe, per_epoch = load_recipe("paper"), 312
    assert recipe.rate(0, per_epoch) == 0
    assert recipe.rate(per_epoch, per_epoch) == pytest.approx(0.256 / 5)
    assert recipe.rate(5 * per_epoch - 1, per_epoch) == pytest.approx(0.256, rel=1e-3)
    # Counted from step 0, so two decays have passed when the warm-up ends; the rate is constant for 749 steps.
    assert recipe.rate(5 * per_epoch, per_epoch) == pytest.approx(0.256 * 0.97**2)
    assert recipe.rate(3 * 749 - 1, per_epoch) == pytest.approx(0.256 * 0.97**2)
    assert recipe.rate(3 * 749, per_epoch) == pytest.approx(0.256 * 0.97**3)
    assert recipe.rate(350 * per_epoch, per_epoch) == pytest.approx(0.256 * 0.97**145)


def test_a_cosine_starts_at_its_peak_and_ends_at_nothing() -> None:
    recipe = replace(load_recipe("proxy"), warmup_epochs=0.0, epochs=10)
    peak = 0.2 * 128 / 256
    assert [recipe.rate(step, 10) for step in (0, 50, 100)] == pytest.approx([peak, peak / 2, 0])


@pytest.mark.parametrize(("name", "epochs"), [("cifar", 2), ("finetune", 1), ("paper", 5)])
def test_a_short_training_is_more_than_a_warm_up(name: str, epochs: int) -> None:
    recipe = load_recipe(name).shortened(epochs)
    rates = [recipe.rate(step, 10) for step in range(10 * epochs)]
    assert max(rates) == pytest.approx(recipe.learning_rate * recipe.batch / 256)


def test_the_moving_average_warms_up() -> None:
    recipe = load_recipe("paper")
    assert recipe.average_decay(0) == 0.1
    assert recipe.average_decay(90) == 0.91
    assert recipe.average_decay(10**6) == 0.9999


def test_rmsprop_equals_tensorflows() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = RMSPropTF([{"params": [weight], "weight_decay": 0.01}], 0.1)
    expected, square, momentum = [1.0, -2.0], [1.0, 1.0], [0.0, 0.0]
    # The rate changes: in TensorFlow, the momentum includes past rates.
    for rate, gradients in ((0.1, (0.5, -1.0)), (0.01, (0.25, 3.0)), (0.3, (-4.0, 0.0))):
        weight.grad = torch.tensor(gradients, dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        for place, gradient in enumerate(gradients):
            decayed = gradient + 0.01 * expected[place]
            square[place] = 0.9 * square[place] + 0.1 * decayed**2
            momentum[place] = 0.9 * momentum[place] + rate * decayed / math.sqrt(square[place] + 1e-3)
            expected[place] -= momentum[place]
        assert weight.detach().tolist() == pytest.approx(expected, rel=1e-12)


def test_a_step_computed_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    weight.grad = torch.tensor([0.5], dtype=torch.float64)
    RMSPropTF([weight], 0.1).step()
    # 1 - 0.1 * 0.5 / sqrt(0.9 * 1 + 0.1 * 0.25 + 0.001)
    assert weight.item() == pytest.approx(1 - 0.05 / math.sqrt(0.926))


def test_weight_decay_applies_to_all_but_batch_norm() -> None:
    network = build_network(adapted(load("efficientnet_b0").architecture, 32, 10))
    decayed, others = (group["params"] for group in make_optimizer(network, load_recipe("paper")).param_groups)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(others) == 2 * len(norms)
    # Biases of squeeze-excite and of the classifier decay too (tensorflow/tpu main.py).
    assert sum(weight.ndim == 1 for weight in decayed) == 2 * 16 + 1


def test_costs_of_adapted_networks() -> None:
    """MACs in millions at 32 px with 100 classes and a stem stride of 1, from other counters."""
    known = {"b0": 32.1, "b1": 47.5, "b2": 55.0, "b3": 80.3, "b4": 125.6, "b5": 197.1, "b6": 281.2, "b7": 433.0}
    for name, macs in known.items():
        small = adapted(load(f"efficientnet_{name}").architecture, 32, 100)
        assert architecture_cost(small).macs / 1e6 == pytest.approx(macs, abs=0.06)


def test_adapting_without_options_changes_nothing() -> None:
    b0 = load("efficientnet_b0").architecture
    assert adapted(b0, activation="relu") == replace(b0, activation="relu")
    assert adapted(b0) == b0
    assert adapted(b0, 64).stem == b0.stem
    with pytest.raises(FieldError, match="resolution: 7 is smaller than the network's total stride of 16"):
        adapted(b0, 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: 0 is not"),
        ({"batch": 1}, "batch: 1 is not"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'"),
        ({"learning_rate": float("nan")}, "learning_rate: nan is not"),
        ({"warmup_epochs": 1000.0}, "warmup_epochs: 1000.0 is not a number from 0 to 4"),
        ({"bn_momentum": 2.0}, "bn_momentum: 2.0 is not"),
    ],
)
def test_wrong_recipes(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe("proxy").with_values(**values)


def test_an_unknown_recipe_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'papper'; did you mean 'paper'"):
        load_recipe("papper")
    assert all(isinstance(recipe, Recipe) for recipe in RECIPES.values())
