"""What every evaluator must do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.evaluators.base import Evaluator
from nas.evaluators.registry import EVALUATORS, load_evaluator
from search_spaces import FieldError, StageSpace
from tests.processes import in_new_process


@pytest.fixture(params=sorted(EVALUATORS))
def evaluator(request: pytest.FixtureRequest) -> Evaluator:
    return load_evaluator(request.param)


def test_metrics_are_usable_and_in_order(evaluator: Evaluator, space: StageSpace) -> None:
    architectures = space.decode_indices(space.sample_indices(np.random.default_rng(0), 50))
    metrics = evaluator.evaluate(architectures)
    assert len(metrics) == 50
    assert all(metric.problem() is None for metric in metrics)
    one_by_one = [evaluator.evaluate([architecture])[0] for architecture in architectures]
    np.testing.assert_allclose(np.array(metrics), np.array(one_by_one), rtol=1e-5)


def test_no_architectures_no_metrics(evaluator: Evaluator) -> None:
    assert evaluator.evaluate([]) == []


def test_it_says_what_it_means(evaluator: Evaluator) -> None:
    assert evaluator.name in EVALUATORS
    assert "accuracy" in evaluator.meaning or "top-1" in evaluator.meaning


def test_what_it_cannot_judge_is_refused_by_field(evaluator: Evaluator, space: StageSpace) -> None:
    strange = replace(space.template, num_classes=7)
    with pytest.raises(FieldError, match="num_classes"):
        evaluator.check(strange)
    with pytest.raises(FieldError, match="num_classes"):
        evaluator.evaluate([space.template, strange])


def test_same_result_in_another_process(evaluator: Evaluator, space: StageSpace) -> None:
    code = (
        "from nas.evaluators.registry import load_evaluator; from search_spaces import load_space; "
        f"print(load_evaluator({evaluator.name!r}).evaluate([load_space('efficientnet').template]))"
    )
    assert in_new_process(code) == str(evaluator.evaluate([space.template]))
