from __future__ import annotations

from pathlib import Path

import pytest

from nas.__main__ import main
from nas.front import fronted, pareto_front, retargeted
from nas.journal import Journal
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from nas.trial import Trial, best_trial
from search_spaces import MnasError, StageSpace
from tests.trials import write

SETTINGS = SearchSettings("efficientnet", "imagenet", "random", make_objective("hard", 400e6), 200, 0)


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return run_search(SETTINGS)


@pytest.mark.parametrize("cost", ["macs", "params", "a100-throughput", "zcu102-latency"])
def test_the_front_is_what_nothing_dominates(space: StageSpace, trials: list[Trial], cost: str) -> None:
    front = pareto_front(space, trials, cost)
    sign = -1 if cost.endswith("throughput") else 1
    values = {t.number: (sign * t.costs[0], t.metrics.accuracy) for t in front if t.metrics}
    everything = pareto_points(space, trials, cost, sign)
    for number, (price, accuracy) in everything.items():
        dominated = any(
            other_price <= price and other >= accuracy and (other_price, other) != (price, accuracy)
            for other_price, other in everything.values()
        )
        assert (number in values) != dominated
    assert list(values.values()) == sorted(values.values())


def pareto_points(space: StageSpace, trials: list[Trial], cost: str, sign: int) -> dict[int, tuple[float, float]]:
    from nas.front import with_costs

    return {t.number: (sign * t.costs[0], t.metrics.accuracy) for t in with_costs(space, trials, [cost]) if t.metrics}


def test_another_target_needs_no_evaluation(space: StageSpace, trials: list[Trial]) -> None:
    best = retargeted(space, trials, make_objective("hard", 300e6))
    assert best is not None
    below = [trial for trial in trials if trial.cost.macs <= 300e6 and trial.metrics]
    assert best.number == max(below, key=lambda trial: trial.metrics.accuracy if trial.metrics else 0).number
    same = retargeted(space, trials, make_objective("hard", 400e6))
    assert same == best_trial(trials, make_objective("hard", 400e6))
    fast = retargeted(space, trials, make_objective("hard", {"a100-throughput": 9000}))
    assert fast is not None
    assert fast.costs[0] >= 9000


def test_unknown_costs(space: StageSpace, trials: list[Trial]) -> None:
    with pytest.raises(MnasError, match="unknown target 'mac'; did you mean 'macs'"):
        pareto_front(space, trials, "mac")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective", "soft"], "objective: --objective needs a target; add --target-macs or --target"),
        (["--exponent", "-0.5"], "exponent: --exponent needs a target; add --target-macs or --target"),
        (["--target-macs", "300M", "--objective", "sotf"], "unknown objective 'sotf'; did you mean 'soft'"),
    ],
)
def test_an_objective_needs_a_target(
    tmp_path: Path, trials: list[Trial], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with Journal.create(tmp_path / "run", SETTINGS) as journal:
        write(journal, trials)
    assert main(["front", str(tmp_path / "run"), *options]) == 2
    assert message in capsys.readouterr().err
    with Journal.open(tmp_path / "run") as journal:
        assert fronted(journal).objective is None
        assert fronted(journal, targets={"macs": 300e6}).objective == make_objective("hard", 300e6)
