"""Networks that options make one and the same, and what a comparison cannot tell apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baselines import BaselineSpec, Provenance, load
from baselines.training.recipe import load_recipe
from baselines.training.settings import TrainingSettings
from nas.studies.comparability import check_distinct, comparison_notes
from nas.studies.trained_comparison import ComparisonOptions
from search_spaces import Architecture, MnasError
from search_spaces.adaptation import adapted

B0 = load("efficientnet_b0").architecture


def spec(name: str, **values: Any) -> BaselineSpec:
    return BaselineSpec(name, replace(B0, **values), Provenance("a test"))


def trained(given: BaselineSpec, options: ComparisonOptions, side: int) -> BaselineSpec:
    """As `trained_subject` does, for three classes."""
    architecture: Architecture = adapted(given.architecture, side, 3, options.width, options.activation)
    return BaselineSpec(given.name, architecture, Provenance("a test"))


@pytest.mark.parametrize(
    ("values", "options", "why"),
    [
        ({"resolution": 64}, {"resolution": 96}, "--resolution 96 trains both at 96 px; use --resolution own"),
        ({"resolution": 64}, {"resolution": None}, "both are trained at 96 px; use --resolution own"),
        ({"activation": "relu"}, {"activation": "mish"}, "--activation mish replaces that of both; remove"),
        (
            {"head": replace(B0.head, out_channels=1281)},
            {"width": 0.1},
            "--width 0.1 rounds both to the same channels; use another --width",
        ),
        ({"num_classes": 10}, {}, "both get the classes of the images; remove one"),
        ({"dropout": 0.5}, {"recipe": "proxy"}, "the recipe proxy sets the dropout of both; use another --recipe"),
        ({}, {}, "x and y are the same network; remove one"),
    ],
)
def test_networks_that_become_the_same(values: dict[str, Any], options: dict[str, Any], why: str) -> None:
    chosen = ComparisonOptions(**options)
    pair = [spec("x"), spec("other", resolution=128, activation="gelu", padding="same"), spec("y", **values)]
    with pytest.raises(MnasError) as error:
        check_distinct(pair, [trained(one, chosen, 96) for one in pair], chosen)
    assert "x and y" in str(error.value)
    assert why in str(error.value)


@pytest.mark.parametrize("side", [8, 12, 15])
def test_networks_that_differ_in_a_stride_that_tiny_images_take_away(side: int) -> None:
    flat = replace(B0, stages=(B0.stages[0], replace(B0.stages[1], stride=1), *B0.stages[2:]))
    chosen = ComparisonOptions(resolution=side)
    pair = [spec("x"), spec("y", stages=flat.stages)]
    with pytest.raises(MnasError, match=rf"the first stages have stride 1 at {side} px; use a larger --resolution"):
        check_distinct(pair, [trained(one, chosen, side) for one in pair], chosen)
    check_distinct(pair, [trained(one, chosen, 16) for one in pair], chosen)


def test_networks_that_differ_in_their_regularisation_are_compared() -> None:
    """Unless the recipe sets it; the counts of the two are equal."""
    pair = [spec("x"), spec("y", dropout=0.5)]
    options = ComparisonOptions(recipe="cifar")
    check_distinct(pair, [trained(one, options, 32) for one in pair], options)


def test_notes_on_sides() -> None:
    """A network that is larger than most images is named; several of them share a sentence."""
    names = ("small", "medium", "large")
    nets = [trained(spec(name), ComparisonOptions(), side) for name, side in zip(names, (32, 48, 96), strict=True)]
    settings = TrainingSettings("images", load_recipe("proxy"), sides=(20, 40, 64))
    larger = "medium (48 px) and large (96 px) are larger than most images (median 40 px)"
    assert list(comparison_notes(names, nets, settings)) == [f"{larger}: enlarged images carry no new information"]
    assert list(comparison_notes(names[:2], nets[:2], settings)) == [
        "medium is trained at 48 px on images of 20 to 64 px (median 40): enlarged images carry no new information"
    ]
    assert list(comparison_notes(names, nets, replace(settings, sides=()))) == []
