from __future__ import annotations

import io
import json
import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines import load
from nas.evaluators.base import Metrics
from nas.evaluators.proxy_training import ProxyTraining
from nas.executors.base import Execution, Failure
from nas.journal import Journal
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from nas.trial import Trial
from nas.views.report import Report, data, page, report, text
from search_spaces import MnasError, architecture_cost, load_space
from tests.pages import ReadPage, check_page
from tests.trials import write

SETTINGS = SearchSettings("efficientnet", "imagenet", "random", make_objective("hard", 400e6), 60, 0)
OUT_OF_MEMORY = Failure("memory", "<script>alert(1)</script>")


def failed(trial: Trial) -> Trial:
    return replace(trial, metrics=None, reward=None, failure=OUT_OF_MEMORY)


def made(
    folder: Path,
    settings: SearchSettings = SETTINGS,
    change: Callable[[list[Trial]], list[Trial]] = lambda trials: trials,
    reason: str | None = "complete",
    wanted: int | None = None,
) -> Report:
    """The report of a run whose trials are changed before they are written."""
    trials = change(run_search(replace(settings, evaluator="imagenet")))
    with Journal.create(folder, replace(settings, trials=wanted or settings.trials)) as journal:
        write(journal, trials)
        if reason is not None:
            journal.end(reason)
    with Journal.open(folder) as journal:
        return report(journal)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A run in which every seventh trial failed."""
    folder = tmp_path_factory.mktemp("runs") / "<b>run & 'more'"
    return made(folder, change=lambda trials: [failed(t) if t.number % 7 == 3 else t for t in trials])


@pytest.fixture(scope="module")
def read(found: Report) -> ReadPage:
    return check_page(page(found).html())


@pytest.fixture(scope="module")
def as_data(found: Report) -> dict[str, Any]:
    return dict(json.loads(json.dumps(data(found), allow_nan=False)))


def lines(found: Report) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    for part in text(found):
        console.print(part, markup=False)
    return console.export_text()


def facts(read: ReadPage) -> str:
    return " ".join(read.text.split())


def test_the_best_is_the_best_by_brute_force(found: Report, as_data: dict[str, Any]) -> None:
    inside = [trial for trial in found.trials if trial.metrics and trial.cost.macs <= 400e6]
    best = max(inside, key=lambda trial: trial.metrics.accuracy if trial.metrics else 0)
    assert found.best == best
    assert as_data["best"]["number"] == best.number
    assert as_data["best"]["macs"] == architecture_cost(best.architecture).macs
    assert as_data["meets_target"] is True


def test_numbers_of_the_page_and_of_the_terminal_are_those_of_the_data(
    found: Report, read: ReadPage, as_data: dict[str, Any]
) -> None:
    best, shown, printed = as_data["best"], facts(read), lines(found)
    top1 = f"{100 * best['accuracy']:.2f} ± {100 * best['accuracy_std']:.2f} %"
    change = as_data["comparison"]["differences"][0]
    difference = f"{100 * change['accuracy']:+.2f} ± {100 * change['accuracy_std']:.2f}"
    for part in (f"{best['macs']:,}", f"{best['params']:,}", f"×{change['macs_ratio']:.3f}", difference):
        assert part in shown
    assert f"Shares {change['agreement']['shared']} of 28 choices" in shown
    command, digest = as_data["reproduce"]["command"], as_data["reproduce"]["digest"]
    for part in (top1, digest, f"{100 * as_data['effects']['explained']:.0f} % of the variance"):
        assert part in shown
        assert part in printed
    assert command in shown
    assert "9 of 60 trials failed (memory: 9)" in shown  # 3, 10, … 59
    totals = read.table("Totals")
    assert [row[1] for row in totals.rows] == [f"{best['macs']:,}", "385,814,752"]


def test_best_so_far_is_recounted(found: Report, read: ReadPage, as_data: dict[str, Any]) -> None:
    best, expected = -math.inf, []
    for done, trial in enumerate(found.trials, start=1):
        if trial.metrics is None:
            continue
        merit = trial.metrics.accuracy if trial.cost.macs <= 400e6 else trial.reward - 1  # type: ignore[operator]
        if merit > best:
            best = merit
            expected.append((done, trial.number))
    assert [(step["done"], step["number"]) for step in as_data["best_so_far"]] == expected
    assert [(int(row[0]), int(row[1])) for row in read.table("Each trial that was the best").rows] == expected
    progress = read.plots[0]
    assert progress["data"][1]["x"][:-1] == [done for done, _ in expected]
    # Failures are marked at their positions.
    assert progress["data"][3]["x"] == [done for done, trial in enumerate(found.trials, start=1) if trial.failure]


def test_the_front_is_the_front_by_brute_force(found: Report, read: ReadPage, as_data: dict[str, Any]) -> None:
    done = [(trial.cost.macs, -trial.metrics.accuracy, trial.number) for trial in found.trials if trial.metrics]
    expected = [n for macs, worse, n in sorted(done) if not any(m <= macs and w < worse for m, w, _ in done)]
    (front,) = as_data["fronts"]
    assert (front["cost"], front["target"], front["efficientnet_b0"]) == ("macs", 400e6, 385_814_752)
    assert [trial["number"] for trial in front["trials"]] == expected
    table = read.table("The network found, B0, the Pareto front")
    assert table.rows[0][:2] == [str(found.best.number), "found"]
    assert table.rows[1][0] == "EfficientNet-B0"
    assert {int(row[0]) for row in table.rows if row[1] in ("on the front", "found")} >= set(expected)
    assert len(table.rows) == len(done) + 1
    # The network found, B0 and the target are in the figure.
    figure = read.plots[1]
    assert figure["data"][-1]["x"] == [found.best.cost.macs / 1e6]
    assert figure["data"][-2]["x"] == [pytest.approx(385.814752)]
    assert figure["layout"]["shapes"][0]["x0"] == 400
    assert {label["text"] for label in figure["layout"]["annotations"]} == {"found", "B0"}


def test_ties_are_within_the_noise_of_the_difference(found: Report, as_data: dict[str, Any]) -> None:
    best = found.best.metrics
    assert best is not None
    expected = {
        trial.number
        for trial in found.trials
        if trial.metrics
        and trial.number != found.best.number
        and trial.cost.macs <= 400e6
        and abs(trial.metrics.accuracy - best.accuracy)
        <= np.hypot(*(m.accuracy_std or 0 for m in (trial.metrics, best)))
    }
    assert {trial["number"] for trial in as_data["ties"]} == expected


def test_effects_are_of_the_networks_of_the_run(read: ReadPage, as_data: dict[str, Any]) -> None:
    items = as_data["effects"]["items"]
    assert len({item["label"] for item in items}) == 28
    shown = {(row[0], row[1]): row for row in read.table("Worth of each value").rows}
    assert len(shown) == len(items)
    for item in items:
        row = shown[item["label"], str(item["value"])]
        assert row[2] == str(item["networks"])
        if item["accuracy"] is not None:
            assert row[3] == f"{100 * item['accuracy']:+.2f} ± {100 * item['std']:.2f}"
        assert ("found" in row[5]) == item["found"]
        assert item["found"] == (as_data["best"]["genotype"][item["label"]] == item["value"])


def test_stages_are_marked_where_they_differ_from_b0(found: Report, read: ReadPage) -> None:
    table = read.table(f"{found.spec.name} at 224 px")
    b0 = load("efficientnet_b0").architecture
    assert [row[0] for row in table.rows][1:8] == [f"stages.{place}" for place in range(7)]
    for place, (own, other) in enumerate(zip(found.best.architecture.stages, b0.stages, strict=True)):
        row = table.rows[place + 1]
        assert row[3:5] == [str(own.out_channels), str(own.num_layers)]
        assert (f"×{other.num_layers}" in row[-1]) == (own.num_layers != other.num_layers)
    assert table.rows[-1][0] == "total"
    assert table.rows[-1][7] == f"{found.best.cost.macs:,}"


def test_the_command_runs_the_same_search_again(tmp_path: Path) -> None:
    from nas.__main__ import main

    settings = SearchSettings(
        "efficientnet", "imagenet", "bayesian", make_objective("absolute", {"macs": 3e8, "params": 5e6}, -0.2), 25, 7
    )
    first = made(tmp_path / "first", settings)
    words = shlex.split(data(first)["reproduce"]["command"])
    assert words[:2] == ["mnas", "search"]
    assert main([*words[1:], "--out", str(tmp_path / "again")]) == 0
    with Journal.open(tmp_path / "again") as journal:
        assert journal.settings == settings
        assert journal.digest() == first.digest


@pytest.mark.parametrize(
    ("execution", "words"),
    [
        (Execution(), ""),
        (Execution("processes", workers=3, time_limit=90.0), "--executor processes --workers 3 --time-limit 90.0"),
    ],
)
def test_the_command_says_where_trials_ran(execution: Execution, words: str) -> None:
    from nas.views.reproduce import notes, search_command

    found = search_command(SETTINGS, execution=execution)
    expected = "mnas search --target-macs 400M --space efficientnet --evaluator imagenet --controller random"
    assert found == f"{expected} --objective hard --trials 60 --seed 0 {words}".strip()
    assert any("several workers" in note for note in notes(SETTINGS, execution, {}, "")) == bool(words)


def test_the_command_names_another_objective() -> None:
    from nas.views.reproduce import search_command

    words = shlex.split(search_command(SETTINGS, make_objective("soft", {"params": 5e6}, -0.1)))
    assert words[2:4] == ["--target", "params=5M"]
    assert words[words.index("--objective") :][:4] == ["--objective", "soft", "--exponent", "-0.1"]


@pytest.mark.parametrize(("name", "expected"), [("mine.py:Mine", True), ("numpy.pyx", False)])
def test_the_notes_name_python_files(name: str, expected: bool) -> None:
    from nas.views.reproduce import notes

    settings = replace(SETTINGS)
    object.__setattr__(settings, "controller", name)  # a plug-in that need not exist
    assert any("Python files" in note for note in notes(settings, Execution(), {}, "")) == expected


def test_a_search_without_target(tmp_path: Path) -> None:
    from nas.__main__ import main

    settings = replace(SETTINGS, objective=make_objective("hard", {}), trials=25)
    first = made(tmp_path / "first", settings)
    done = [trial for trial in first.trials if trial.metrics]
    assert first.best == max(done, key=lambda trial: trial.metrics.accuracy if trial.metrics else 0)
    for shown in (facts(check_page(page(first).html())), lines(first)):
        for words in ("the target", "meets", "exponents", "targets"):
            assert words not in shown
        assert "most accurate, whatever it costs" in shown
    assert "efficientnet, most accurate, whatever it costs:" in page(first).subtitle
    words = shlex.split(data(first)["reproduce"]["command"])
    assert main([*words[1:], "--out", str(tmp_path / "again")]) == 0
    with Journal.open(tmp_path / "again") as journal:
        assert journal.settings == settings
        assert journal.digest() == first.digest


def test_names_are_quoted_and_inert(found: Report, read: ReadPage) -> None:
    # From the folder; `check_page` has checked that it is not a tag, nor in the label of a figure.
    assert "Search <b>run & 'more'" in facts(read)
    assert found.spec.name == "b-run-more-"
    assert shlex.quote(str(found.run.folder)) in facts(read)


def test_a_run_that_is_not_complete_says_how_far_it_is(tmp_path: Path) -> None:
    found = made(tmp_path / "run", reason="interrupted", wanted=500)
    shown = facts(check_page(page(found).html()))
    assert "The run was interrupted after 60 of 500 trials; this is the best so far." in shown
    assert "was interrupted after 60 of 500" in lines(found)
    assert "--trials 500" in shown
    assert data(found)["state"] == "interrupted"


def test_a_run_without_a_successful_trial_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match=r"no successful trial; the last one failed \("):
        made(tmp_path / "run", change=lambda trials: [failed(trial) for trial in trials])


def test_a_run_of_one_trial(tmp_path: Path) -> None:
    found = made(tmp_path / "run", replace(SETTINGS, trials=1))
    read = check_page(page(found).html())
    assert found.effects is None
    assert "too few to tell" in facts(read)
    assert "too few to tell" in lines(found)
    assert len(read.plots) == 2


def test_several_targets_have_a_figure_each(tmp_path: Path) -> None:
    objective = make_objective("hard", {"params": 5e6, "a100-throughput": 9000})
    found = made(tmp_path / "run", replace(SETTINGS, objective=objective))
    read = check_page(page(found).html())
    fronts = data(found)["fronts"]
    assert [(front["cost"], front["target"]) for front in fronts] == [
        ("macs", None),
        ("params", 5e6),
        ("a100-throughput", 9000),
    ]
    assert fronts[1]["efficientnet_b0"] == 5_288_548
    # More throughput is better: along the front it falls while accuracy rises.
    throughput = [trial["costs"][0] for trial in fronts[2]["trials"]]
    assert throughput == sorted(throughput, reverse=True)
    # Best so far, three against a cost, and what choices are worth.
    assert len(read.plots) == 5
    assert "shapes" not in read.plots[1]["layout"]
    assert "--target params=5M --target a100-throughput=9000" in facts(read)


def without_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy training that may be asked for nothing but its name."""

    def evaluate(*arguments: object) -> None:
        raise AssertionError("a report trains nothing")

    monkeypatch.setattr(ProxyTraining, "check", lambda *arguments: None)
    monkeypatch.setattr(ProxyTraining, "evaluate", evaluate)


def noiseless(trials: list[Trial]) -> list[Trial]:
    return [replace(trial, metrics=Metrics(trial.metrics.accuracy)) for trial in trials if trial.metrics]


def test_an_evaluator_that_trains_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_images(monkeypatch)
    settings = replace(SETTINGS, evaluator="train:images?epochs=1")
    found = made(tmp_path / "run", settings, noiseless)
    shown = facts(check_page(page(found).html()))
    assert found.reference is None
    assert found.ties is None
    assert data(found)["comparison"]["differences"][0]["accuracy"] is None
    assert "the evaluator has not judged B0" in shown
    assert "The accuracy of EfficientNet-B0 is not known here" in page(found).html()
    assert "The evaluator gives no σ" in shown
    assert "--evaluator 'train:images?epochs=1'" in shown


def test_where_the_run_tried_b0_its_accuracy_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_images(monkeypatch)
    space, b0 = load_space("efficientnet"), load("efficientnet_b0").architecture

    def with_b0(trials: list[Trial]) -> list[Trial]:
        genotype, cost = space.encode(b0), architecture_cost(b0)
        own = replace(trials[5], genotype=genotype, network=b0, counts=cost, costs=(cost.macs,))
        return noiseless([*trials[:5], replace(own, metrics=Metrics(0.5), reward=0.5), *trials[6:]])

    found = made(tmp_path / "run", replace(SETTINGS, evaluator="train:images?epochs=1"), with_b0)
    assert found.reference == Metrics(0.5)
    change = data(found)["comparison"]["differences"][0]
    assert found.best.metrics is not None
    assert change["accuracy"] == pytest.approx(found.best.metrics.accuracy - 0.5)


def test_a_space_without_b0(tmp_path: Path) -> None:
    from nas.evaluators.table import TableEvaluator

    space = load_space("mnasnet")
    rows = space.sample(np.random.default_rng(0), 20)
    table = tmp_path / "t.json"
    table.write_text(json.dumps([{**row, "accuracy": 0.5 + place / 100} for place, row in enumerate(rows)]))
    TableEvaluator(table, space)
    settings = SearchSettings("mnasnet", f"table:{table}", "random", make_objective("hard", 400e6), 20, 0)
    with Journal.create(tmp_path / "run", settings) as journal:
        write(journal, run_search(settings))
    with Journal.open(tmp_path / "run") as journal:
        found = report(journal)
    shown = facts(check_page(page(found).html()))
    assert found.reference is None
    assert "efficientnet_b0: not judged" in shown
    assert "not known" in shown
    assert lines(found)


def test_many_trials_are_thinned_and_that_is_said(tmp_path: Path) -> None:
    found = made(tmp_path / "run", replace(SETTINGS, trials=10_000))
    html = page(found).html()
    assert len(html) < 8_000_000
    read = check_page(html)
    assert "2,000 of 10,000 trials, evenly chosen" in facts(read)
    assert len(read.plots[0]["data"][0]["x"]) == 2_000
    # The front and the network found are never left out.
    assert len(read.plots[1]["data"][1]["x"]) == len(found.fronts[0].trials)
    assert "of 9," in read.table("The network found").caption


def test_a_run_of_a_stranger_runs_no_code(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from nas.evaluators.base import Evaluator, Metrics\n"
        "class evaluator(Evaluator):\n"
        "    name, meaning = 'mine', '<script>alert(1)</script>'\n"
        "    def check(self, architecture): pass\n"
        "    def evaluate(self, architectures, seed=0):\n"
        "        return [Metrics(0.5 + network.num_blocks / 100) for network in architectures]\n"
    )
    settings = replace(SETTINGS, evaluator=str(plugin))
    with Journal.create(tmp_path / "run", settings) as journal:
        write(journal, run_search(settings))
    with Journal.open(tmp_path / "run") as journal, pytest.raises(MnasError, match="allow-code"):
        report(journal)
    with Journal.open(tmp_path / "run", allow_code=True) as journal:
        found = report(journal)
    read = check_page(page(found).html())
    assert "<script>alert(1)</script>" in read.text
    assert "It needs the Python files that it names" in facts(read)
