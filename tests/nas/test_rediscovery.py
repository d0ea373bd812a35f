from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from baselines import load
from baselines.intervals import wilson
from nas.__main__ import main
from nas.calibration import MARGIN, calibrated_objective
from nas.evidence import agreement
from nas.rediscovery import median_ranks
from nas.search import SearchSettings, run_search
from nas.trial import best_trial
from search_spaces import MnasError, SearchSpace


def test_agreement_with_a_network_outside_counts_what_the_space_offers(space: SearchSpace) -> None:
    """MnasNet-A1 has an expansion of 3, four layers in stage 4 and 160 channels, which the space does not offer."""
    b0, a1 = load("efficientnet_b0").architecture, load("mnasnet_a1").architecture
    found = agreement(space, b0, a1)
    # 7 stages x (kernel, expansion, squeeze-excite, layers), less expansion of stage 3 and layers of stage 4
    assert found.choices == 26
    table = [
        # B0 and A1: kernel, expansion, SE, layers (FACTS: published tables of the two papers)
        ((3, 1, 0.25, 1), (3, 1, 0.0, 1)),
        ((3, 6, 0.25, 2), (3, 6, 0.0, 2)),
        ((5, 6, 0.25, 2), (5, None, 0.25, 3)),
        ((3, 6, 0.25, 3), (3, 6, 0.0, None)),
        ((5, 6, 0.25, 3), (3, 6, 0.25, 2)),
        ((5, 6, 0.25, 4), (5, 6, 0.25, 3)),
        ((3, 6, 0.25, 1), (3, 6, 0.0, 1)),
    ]
    assert found.shared == sum(x == y for one, other in table for x, y in zip(one, other, strict=True))
    assert agreement(space, b0, b0).shared == 28


@pytest.mark.parametrize("count", [6, 9, 20, 21])
def test_the_interval_of_a_median_covers_it(count: int) -> None:
    ends = median_ranks(count)
    assert ends is not None
    low, high = ends
    assert low + high == count - 1
    rng = np.random.default_rng(0)
    ordered = np.sort(rng.random((40_000, count)), axis=1)  # of uniform values, the median is 0.5
    covered = ((ordered[:, low] <= 0.5) & (ordered[:, high] >= 0.5)).mean()
    assert covered > 0.95 - 0.005
    if low + 1 < high - 1:
        narrower = ((ordered[:, low + 1] <= 0.5) & (ordered[:, high - 1] >= 0.5)).mean()
        assert narrower < 0.95 + 0.005


def test_too_few_searches_have_no_interval() -> None:
    assert median_ranks(5) is None


def test_wilson_interval() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, Table I: 81 of 263 and 15 of 148 by method 3
    assert wilson(81 / 263, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(15 / 148, 148) == (pytest.approx(0.0624, abs=1e-4), pytest.approx(0.1605, abs=1e-4))


def test_the_study(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--seeds", "2", "--trials", "60", "--controllers", "bayesian,random", "--html", "s.html"]
    assert main(["rediscover", *options, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    bayesian, random = data["summaries"]
    assert (bayesian["controller"], random["controller"]) == ("bayesian", "random")
    assert bayesian["reward"] > random["reward"]
    assert data["reference_rank"]["percentile"] > 99.9
    for search in data["searches"]:
        assert (search["passed"] is None) == (search["reward"] <= data["reference_reward"])
    assert "EfficientNet-B0" in Path("s.html").read_text()
    assert main(["rediscover", *options]) == 2
    assert "s.html is there already" in capsys.readouterr().err
    assert main(["rediscover", "--controllers", "bayesain"]) == 2
    assert "did you mean 'bayesian'" in capsys.readouterr().err


@pytest.mark.parametrize("target", [200e6, 400e6])
def test_calibrated_searches_end_at_their_target(target: float) -> None:
    objective = calibrated_objective("efficientnet", "imagenet", {"macs": target}, seed=0)
    below, above = objective.exponents
    assert above == pytest.approx(below * MARGIN**2)
    for controller in ("bayesian", "nni:regularized-evolution"):
        trials = run_search(SearchSettings("efficientnet", "imagenet", controller, objective, 400, 0))
        best = best_trial(trials, objective)
        assert best is not None
        assert math.isclose(best.cost.macs, target, rel_tol=0.02)


def test_only_macs_are_calibrated() -> None:
    with pytest.raises(MnasError, match="the calibrated form takes one target, of macs"):
        calibrated_objective("efficientnet", "imagenet", {"params": 5e6}, seed=0)
