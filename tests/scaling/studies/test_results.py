"""Results of all front doors: one line where they are printed, a table in a notebook, and equal by their values."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import baselines
import nas
import scaling
from scaling import Coefficients
from search_spaces import Architecture
from tests.scaling.studies.conftest import study

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

# A fresh result of each kind at each call.
INSTANT: dict[str, Callable[[], Any]] = {
    "spec": lambda: baselines.load("efficientnet_b0"),
    "scaled": lambda: scaling.scale("efficientnet_b0", preset="b1"),
    "solution": lambda: scaling.solve("efficientnet_b0", rule="fast", target="macs=2x"),
    "explanation": lambda: scaling.explain("efficientnet_b0", preset="b1"),
    "family": lambda: scaling.family("efficientnet_b0", presets=("b1", "b2")),
    "comparison": lambda: nas.compare(["efficientnet_b1", "efficientnet_b0"]),
    "predictions": lambda: baselines.Predictions("net", ("cat", "dog"), ("a.png",), np.array([[0.25, 0.75]])),  # type: ignore[arg-type]
}
STUDIES = ("ablate", "family", pytest.param("search", marks=pytest.mark.slow))
# Values, which print as the call that makes them.
VALUES = {Architecture, Coefficients}


def check(one: Any, same: Any) -> None:
    shown = repr(one)
    assert shown.startswith(f"{type(one).__name__}(")
    assert len(shown) < 200
    assert "\n" not in shown
    assert "<pre" in one._repr_html_()
    assert one == same
    assert hash(one) == hash(same)
    assert shown == repr(same)


@pytest.mark.parametrize("kind", INSTANT)
def test_a_result(kind: str) -> None:
    check(INSTANT[kind](), INSTANT[kind]())


@pytest.mark.usefixtures("workplace")
def test_a_search_and_its_trials() -> None:
    one = nas.search(target_macs=400e6, controller="random", trials=20, out="run")
    same = nas.load_run("run")
    check(one, same)
    check(one.best, same.best)
    assert f"{one.best.genotype['stage1_kernel_size']}" in one.best._repr_html_()


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.usefixtures("stops")
def test_a_study(kind: str, images: str) -> None:
    check(study(kind, images, "run"), scaling.load_run(Path("run")))


def test_no_kind_of_result_is_left_out() -> None:
    """The classes that functions of the front doors return are those above."""
    found = {
        kind
        for package in (baselines, nas, scaling)
        for function in (getattr(package, name) for name in package.__all__)
        if inspect.isfunction(function)
        for kind in kinds_of(typing.get_type_hints(function)["return"])
        if kind.__module__.split(".")[0] in ("search_spaces", "baselines", "nas", "scaling")
    }
    studies = {scaling.Ablation, scaling.TrainedFamily, scaling.CoefficientSearch}
    assert found == {type(make()) for make in INSTANT.values()} | {nas.Found} | studies | VALUES


def kinds_of(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
