"""A search goes on whatever an evaluator in its own process does, and is the same search."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas
from nas.evaluators.base import Evaluator, Metrics
from nas.evaluators.imagenet import ImageNetPredictor
from nas.evidence import Comparison
from search_spaces import Architecture, MnasError


class _BadNumber:
    def __float__(self) -> float:
        raise ZeroDivisionError("float")


class _BadText:
    def __float__(self) -> float:
        raise TypeError("float")

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class _BadList(list):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("cannot be read")


class _BadError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def _raise(error: BaseException) -> Any:
    raise error


# What is returned for one network with these metrics, and what the failure says; None if it is accepted.
ANSWERS: dict[str, tuple[Callable[[Metrics], Any], str | None]] = {
    "exit": (lambda _: sys.exit(0), "SystemExit: 0"),
    "generator exit": (lambda _: _raise(GeneratorExit()), "GeneratorExit"),
    "base": (lambda _: _raise(BaseException("base")), "BaseException: base"),
    "bad error": (lambda _: _raise(_BadError()), "_BadError: its text cannot be read"),
    "stop": (lambda _: _raise(StopIteration()), "StopIteration"),
    "bad number": (lambda _: [Metrics(_BadNumber())], "not a number (ZeroDivisionError: float)"),  # type: ignore[arg-type]
    "bad text": (lambda _: [Metrics(_BadText())], "not a number (TypeError: float)"),  # type: ignore[arg-type]
    "bad list": (lambda found: _BadList([found]), "RuntimeError: cannot be read"),
    "big": (lambda _: [Metrics(10**400)], "not a number (OverflowError"),
    "true": (lambda _: [Metrics(True)], "accuracy True is not a number"),
    "numpy's true": (lambda _: [Metrics(np.True_)], "accuracy np.True_ is not a number"),  # type: ignore[arg-type]
    "text": (lambda _: [Metrics("0.7")], "accuracy '0.7' is not a number"),  # type: ignore[arg-type]
    "text as std": (lambda found: [Metrics(found.accuracy, "0")], "accuracy_std '0' is not a number"),  # type: ignore[arg-type]
    "nothing": (lambda _: None, "TypeError: 'NoneType' object is not iterable"),
    "a number": (lambda found: [found.accuracy], "a result is a float and not Metrics"),
    "many": (lambda found: [found] * 2, "gave 2 results for 1 network"),
    "infinite": (lambda _: [Metrics(float("inf"))], "accuracy inf is not in [0, 1]"),
    "numpy": (lambda found: [Metrics(np.float32(found.accuracy), np.array(0.1))], None),  # type: ignore[arg-type]
    "torch": (lambda found: [Metrics(torch.tensor(found.accuracy))], None),  # type: ignore[arg-type]
    "generator": (lambda found: (each for each in [found]), None),
}


class Own(ImageNetPredictor):
    """The predictor, but its third and fourth answers are others; it answers one network at a time."""

    instant = False
    calls = 0

    def __init__(self, answer: Callable[[Metrics], Any]) -> None:
        super().__init__()
        self.answer = answer

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> Any:
        self.calls += 1
        found = super().evaluate(architectures, seed)
        return self.answer(found[0]) if self.calls in (3, 4) else found


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_search_outlives_every_answer(kind: str, tmp_path: Path) -> None:
    answer, message = ANSWERS[kind]
    found = nas.search(
        evaluator=Own(answer),
        controller="random",
        trials=8,
        execution={"executor": "in-process", "retries": 0},
        out=tmp_path / "run",
    )
    assert (found.complete, found.done) == (True, 8)
    assert found.failed == (0 if message is None else 2)
    errors = [trial.failure.error for trial in found.trials if trial.failure]
    assert all(message in error for error in errors if message)
    assert all(type(trial.metrics.accuracy) is float for trial in found.trials if trial.metrics)


CHANGES: dict[str, Callable[[], object]] = {
    "folder": lambda: os.chdir("/"),
    "environment": os.environ.clear,
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "gradients": lambda: torch.set_grad_enabled(False),
    "device": lambda: torch.set_default_device("meta"),
    "numpy's errors": lambda: np.seterr(all="raise"),
}


class Rude(ImageNetPredictor):
    """The predictor, which changes the process before it answers."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__()
        self.change = change

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        found = super().evaluate(architectures, seed)
        self.change()
        return found


@pytest.mark.parametrize("kind", CHANGES)
def test_a_search_is_the_same_whatever_its_evaluator_changes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = nas.search(controller="ppo", trials=60, out="expected")
    found = nas.search(evaluator=Rude(CHANGES[kind]), controller="ppo", trials=60, out="run")
    assert [trial.genotype for trial in found.trials] == [trial.genotype for trial in expected.trials]
    assert (tmp_path / "run" / "best.yaml").is_file()


class Partial(ImageNetPredictor):
    """Judges up to ten networks together."""

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        if len(architectures) > 10:
            sys.exit("too many")
        return super().evaluate(architectures, seed)


def test_a_comparison_leaves_out_what_fails() -> None:
    compared = nas.compare(["mnasnet_a1", "efficientnet_b0"], evaluator=Partial())
    assert isinstance(compared, Comparison)
    assert compared.ranks == [None, None]
    assert compared.reference.metrics is not None


class _Property:
    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: object = None) -> Any:
        raise ZeroDivisionError(self.name)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"instant": _Property("instant")}, "cannot be asked what it is (ZeroDivisionError: instant); fix it"),
        ({"instant": "yes"}, "its 'instant' 'yes' is not a bool"),
        ({"fingerprint": 3}, "its 'fingerprint' 3 is not a str"),
        ({"kind": "guessed"}, "its 'kind' 'guessed' is neither predicted nor measured"),
    ],
)
def test_what_it_says_of_itself_is_checked(attributes: dict[str, Any], message: str) -> None:
    kind: type[Evaluator] = type("Mine", (ImageNetPredictor,), attributes)
    with pytest.raises(MnasError) as error:
        nas.search(evaluator=kind, trials=5)
    assert message in str(error.value)
