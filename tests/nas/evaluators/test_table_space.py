"""Searches in the choices of a published table: layers, ops of any name, costs as columns, with or without a target."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.__main__ import main
from nas.controllers.registry import CONTROLLERS
from nas.evaluators.registry import _load_evaluator, load_evaluator, space_of
from nas.evaluators.table import TableEvaluator
from nas.executors.base import Execution
from nas.journal import Journal
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from nas.trial import Trial, best_trial
from nas.views.choices import place_in_table
from search_spaces import Architecture, ChoiceSpace, MnasError, Selection

Row = dict[str, Any]
# FBNet (arXiv 1812.03443) table 2: ops of a layer, with a made-up latency in ms and worth of each.
FBNET = {
    "k3_e1": (1.0, 0.4),
    "k3_e1_g2": (0.8, 0.3),
    "k3_e3": (1.6, 0.7),
    "k3_e6": (2.6, 0.9),
    "k5_e1": (1.3, 0.5),
    "k5_e1_g2": (1.1, 0.35),
    "k5_e3": (2.1, 0.8),
    "k5_e6": (3.4, 1.0),
    "skip": (0.1, 0.0),
}
# NAS-Bench-Macro (arXiv 2103.11922): eight layers of three ops.
MACRO = {"0": (0.2, 0.0), "1": (1.5, 0.7), "2": (2.6, 1.0)}


def measured(genotype: Sequence[str], ops: dict[str, tuple[float, float]]) -> Row:
    """A row: latency is a sum over the layers, accuracy saturates in a sum that weighs later layers more."""
    worth = sum(ops[op][1] * (1 + index / 4) for index, op in enumerate(genotype))
    layers = {f"layer{index + 1}": op for index, op in enumerate(genotype)}
    accuracy = 0.9 - 0.5 * np.exp(-worth / (0.5 * len(genotype)))
    latency = 1 + sum(ops[op][0] for op in genotype)
    return {**layers, "accuracy": round(float(accuracy), 6), "latency_ms": round(latency, 3)}


@pytest.fixture(scope="module")
def macro() -> list[Row]:
    return [measured(genotype, MACRO) for genotype in itertools.product(MACRO, repeat=8)]


@pytest.fixture(scope="module")
def fbnet() -> list[Row]:
    rng = np.random.default_rng(0)
    return [measured(rng.choice(list(FBNET), 22).tolist(), FBNET) for _ in range(1500)]


def write(file: Path, rows: Sequence[Row]) -> Path:
    if file.suffix == ".json":
        file.write_text(json.dumps(rows))
        return file
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def settings(file: Path, targets: dict[str, float], trials: int = 100, controller: str = "bayesian") -> SearchSettings:
    return SearchSettings("table", f"table:{file}", controller, make_objective("hard", targets), trials, 0)


def test_a_table_of_all_networks_gives_its_best_at_the_target(tmp_path: Path, macro: list[Row]) -> None:
    """NAS-Bench-Macro's shape: 6561 networks, of which 150 are tried; brute force says which one is best."""
    search = settings(write(tmp_path / "macro.csv", macro), {"latency_ms": 12}, 150)
    best = best_trial(run_search(search), search.objective)
    assert best is not None
    assert best.metrics is not None
    assert best.costs[0] <= 12
    assert best.metrics.accuracy == max(row["accuracy"] for row in macro if row["latency_ms"] <= 12)
    table = load_evaluator(search.evaluator, search.space)
    assert isinstance(table, TableEvaluator)
    place = place_in_table(table, search.objective, best)
    equal = [row for row in macro if row["latency_ms"] <= 12 and row["accuracy"] == best.metrics.accuracy]
    assert (place.rank, place.networks, place.lower) == (1, 6561, 6561 - len(equal))


def test_a_table_of_a_part_of_a_per_layer_space(tmp_path: Path, fbnet: list[Row]) -> None:
    """FBNet's shape: 1500 of 9^22 networks; only measured ones are tried, and a tenth of them finds the best."""
    search = settings(write(tmp_path / "fbnet.csv", fbnet), {"latency_ms": 32}, 150)
    space = space_of("table", search.evaluator)
    assert space.size == 9**22
    trials = run_search(search)
    rows = {tuple(list(row.values())[:22]): row for row in fbnet}
    for trial in trials:
        row = rows[tuple(trial.genotype.values())]
        assert trial.costs == (row["latency_ms"],)
        assert trial.metrics is not None
        assert trial.metrics.accuracy == row["accuracy"]
    assert len({trial.digest for trial in trials}) == 150
    best = best_trial(trials, search.objective)
    assert best is not None
    inside = sorted((row["accuracy"] for row in fbnet if row["latency_ms"] <= 32), reverse=True)
    assert best.reward == inside[0]


@pytest.mark.parametrize("controller", ["random", "ppo", "reinforce", "nni:regularized-evolution", "optuna:tpe"])
@pytest.mark.parametrize("targets", [{"latency_ms": 12}, {}], ids=str)
def test_every_kind_of_controller(tmp_path: Path, macro: list[Row], controller: str, targets: dict[str, float]) -> None:
    assert controller in CONTROLLERS
    search = settings(write(tmp_path / "macro.csv", macro[::7]), targets, 40, controller)
    trials = run_search(search)
    assert len(trials) == 40
    assert trials == run_search(search, execution=Execution("in-process")) or trials[0].seconds
    assert [trial.genotype for trial in trials] == [trial.genotype for trial in run_search(search)]


def test_without_a_target_the_reward_is_the_accuracy(tmp_path: Path, macro: list[Row]) -> None:
    search = settings(write(tmp_path / "macro.csv", macro), {}, 60)
    trials = run_search(search)
    assert all(trial.metrics and trial.reward == trial.metrics.accuracy and trial.costs == () for trial in trials)
    best = best_trial(trials, search.objective)
    assert best is not None
    assert best.genotype == {f"layer{i}": 2 for i in range(1, 9)}  # the largest value of everything
    assert best.reward == max(row["accuracy"] for row in macro)


def test_the_most_accurate_network_of_a_space_of_stages() -> None:
    search = SearchSettings("efficientnet", "imagenet", "random", make_objective("hard", None), 30, 0)
    trials = run_search(search)
    assert all(trial.metrics and trial.reward == trial.metrics.accuracy and trial.costs == () for trial in trials)


# --- what the columns are ------------------------------------------------------------------------------------------


def table_of(tmp_path: Path, rows: Sequence[Row], name: str = "t.csv") -> TableEvaluator:
    return TableEvaluator(write(tmp_path / name, rows), None)


def plain(rows: int = 12) -> list[Row]:
    """Rows of two choices, a cost and repeats of every value."""
    return [
        {
            "op": ("conv", "skip", "pool")[i % 3],
            "width": (8, 16)[i // 3 % 2],
            "accuracy": 0.5 + i % 6 / 100,
            "energy_mj": 2,
        }
        for i in range(rows)
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_values_of_choices_are_in_natural_order(tmp_path: Path, name: str) -> None:
    values = {"op": ["k11_e1", "k3_e6", "skip", "k3_e1"], "width": [1.5, 0.5, 10, 1], "mixed": [3, "skip", 5, 11]}
    combinations = list(itertools.product(*values.values()))
    rows = [{**dict(zip(values, row, strict=True)), "accuracy": i / 100} for i, row in enumerate(combinations)]
    table = table_of(tmp_path, rows, name)
    assert {choice.label: choice.values for choice in table.space.decisions} == {
        "op": ("k3_e1", "k3_e6", "k11_e1", "skip"),
        "width": (0.5, 1, 1.5, 10),
        "mixed": ("3", "5", "11", "skip"),
    }
    (metrics,) = table.evaluate([table.space.decode({"op": "k3_e6", "width": 10, "mixed": "5"})])
    assert metrics.accuracy == combinations.index(("k3_e6", 10, 5)) / 100


def test_what_columns_are_taken_for_is_said(tmp_path: Path) -> None:
    rows = [{**row, "dataset": "cifar10", "tpu_throughput": 5 + i, "": i} for i, row in enumerate(plain(6))]
    table = table_of(tmp_path, rows)
    assert table.columns is not None
    assert table.columns.choices == ("op", "width")
    assert table.columns.costs == table.space.cost_names == ("energy_mj", "tpu_throughput")
    assert table.columns.text() == (
        "2 choices (op, width); costs: energy_mj, tpu_throughput (more is better); left aside: dataset (the same in "
        "all rows), a column without a name"
    )


def test_the_header_may_say_what_a_column_is(tmp_path: Path) -> None:
    rows = [
        {"choice:macs": 1 + i % 2, "cost:fpga": 7.5 + i, "note:op": "conv", "choice:x": "a", "note:latency_ms": "slow"}
        | {"accuracy": 0.5 + i / 100, "seed": i}
        for i in range(4)
    ]
    table = table_of(tmp_path, rows)
    assert table.columns is not None
    assert table.columns.choices == table.space.labels == ("macs",)
    assert table.columns.costs == table.columns.averaged == ("fpga",)
    assert table.columns.aside == ("op", "x (the same in all rows)", "latency_ms")
    assert table.space.cost("fpga", table.rows).tolist() == [8.5, 9.5]  # means of two repeats each
    assert table.noisy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: {"hash": f"x{i}"}, "the column 'hash' could be a choice, a cost or a note .*choice:hash, cost:hash"),
        (lambda i: {"fpga": 1.5 + i}, "the column 'fpga' could be a choice, a cost or a note"),
        (lambda i: {"a": i, "b": f"y{i}"}, "the columns 'a', 'b' could be a choice, a cost or a note"),
        (
            lambda i: {"energy_mj": "low" if i == 4 else 2},
            "row 6: energy_mj: 'low' is not a number above 0; if energy_mj",
        ),
        (lambda i: {"energy_mj": "low"}, "row 2: energy_mj: 'low' is not a number above 0; .*note:energy_mj"),
        (lambda i: {"energy_mj": 0}, "row 2: energy_mj: '0' is not a number above 0"),
        (lambda i: {"energy_mj": 2 if i else ""}, "row 2: energy_mj: '' is not a number above 0"),
        (lambda i: {"energy_mj": "inf"}, "row 2: energy_mj: 'inf' is not a number above 0"),
        (lambda i: {"cost:fpga": "a"}, "row 2: fpga: 'a' is not a number above 0"),
        (
            lambda i: {"op": "" if i == 2 else "conv"},
            "row 4: op: '' is missing; if op is not a choice, .* note:op",
        ),
        (lambda i: {"choice:op": "conv" if i else "skip"}, "the column 'op' is given twice; rename one"),
        (lambda i: {"cost:accuracy": 1 + i}, "the column 'accuracy' is given twice"),
        (lambda i: {"accuracy": 71.2}, "row 2: accuracy: '71.2' is not a number from 0 to 1"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, change: Callable[[int], Row], message: str) -> None:
    rows = [{**row, **change(i)} for i, row in enumerate(plain(6))]
    with pytest.raises(MnasError, match=message) as caught:
        table_of(tmp_path, rows)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"accuracy": 0.5 + i / 10, "latency_ms": 2 + i, "dataset": "cifar10"} for i in range(3)],
            r"has no column of choices \(costs: latency_ms; left aside: dataset \(the same in all rows\)\); add a ",
        ),
        ([{"layer1": "conv", "accuracy": 0.5}], "has no column of choices"),
        (
            [{"layer1": "conv"}, {"layer1": "skip"}],
            "has no column 'accuracy'; a table needs accuracy and a column for each",
        ),
        ([{"op": "conv", "accuracy": 0.5, "state": "failed"}], "has no row"),
    ],
)
def test_tables_without_choices(tmp_path: Path, rows: list[Row], message: str) -> None:
    with pytest.raises(MnasError, match=message):
        table_of(tmp_path, rows)


def test_names_and_values_are_shown_on_one_line(tmp_path: Path) -> None:
    rows = [{"la\x1b[31myer": f"con\x1b[31mv{i % 2}\n", "accuracy": 0.5 + i % 2 / 10} for i in range(4)]
    table = table_of(tmp_path, rows, "t.json")
    assert [(choice.label, choice.values) for choice in table.space.decisions] == [
        ("la [31myer", ("con [31mv0", "con [31mv1"))
    ]
    assert table.evaluate([table.space.decode({"la [31myer": "con [31mv1"})])[0].accuracy == 0.6


def test_thousands_of_digits_are_a_name(tmp_path: Path) -> None:
    values = ["x" + digit * 150 for digit in "213"]
    rows = [{"op": value, "accuracy": 0.5, "seed": seed} for value in values for seed in (0, 1)]
    assert table_of(tmp_path, rows).space.decisions[0].values == tuple(sorted(values))


def test_json_cells_that_are_no_values(tmp_path: Path) -> None:
    rows = [{**row, "op": [3, 5]} if i == 1 else row for i, row in enumerate(plain(6))]
    with pytest.raises(MnasError, match=r"row 2: op: \[3, 5\] is neither a text nor a number"):
        table_of(tmp_path, rows, "t.json")


def test_repeats_average_their_costs(tmp_path: Path) -> None:
    rows = [
        {"op": op, "latency_ms": base + seed, "accuracy": 0.5 + seed / 100, "seed": seed}
        for op, base in (("conv", 2), ("skip", 1))
        for seed in (0, 1, 2)
    ]
    table = table_of(tmp_path, rows)
    assert table.columns is not None
    assert "the mean of a network's rows counts as its latency_ms" in table.columns.text()
    assert dict(
        zip([g["op"] for g in table.space.genotypes(table.rows)], table.space.costs(table.rows)[0], strict=True)
    ) == {
        "conv": 3,
        "skip": 2,
    }


@pytest.mark.parametrize(
    ("space", "evaluator", "targets", "message"),
    [
        ("table", "imagenet", {}, "evaluator: imagenet cannot be combined with the space table"),
        ("table", "TABLE", {"macs": 4e8}, "unknown target 'macs'; known: energy_mj"),
        ("table", "TABLE", {"energy": 4}, "unknown target 'energy'; did you mean 'energy_mj'"),
        ("table", "TABLE", {"op": 4}, "target: op is a choice of the space 'table'; .*cost:op"),
        ("table", "TABLE", {"energy_mj": 9}, "target energy_mj: 9 is above the largest of the space 'table'"),
        ("table", "table:nowhere.csv", {}, "nowhere.csv"),
        ("efficientnet", "TABLE", {}, "has no column 'stage1_kernel_size'"),
    ],
)
def test_settings_that_do_not_fit(
    tmp_path: Path, space: str, evaluator: str, targets: dict[str, float], message: str
) -> None:
    file = write(tmp_path / "t.csv", plain())
    with pytest.raises(MnasError, match=message):
        SearchSettings(
            space, evaluator.replace("TABLE", f"table:{file}"), "random", make_objective("hard", targets), 5, 0
        )


def test_evaluators_of_architectures_refuse_choices() -> None:
    network = ChoiceSpace("own", {"a": (1, 2)}).decode({"a": 1})
    with pytest.raises(MnasError, match="evaluator: imagenet judges architectures, and the space has none"):
        load_evaluator("imagenet").check(network)


# --- the command ---------------------------------------------------------------------------------------------------


def searched(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_command(workplace: Path, macro: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    write(workplace / "macro.csv", macro)
    run = ["search", "--space", "table", "--evaluator", "table:macro.csv", "--trials", "80"]
    found = json.loads(searched([*run, "--target", "latency_ms=9", "--json"], capsys))
    best = found["best"]
    assert best["accuracy"] == max(row["accuracy"] for row in macro if row["latency_ms"] <= 9)
    assert best["place"]["rank"] == 1
    assert (found["assumed"]["costs"], len(found["assumed"]["choices"])) == (["latency_ms"], 8)
    folder = Path(found["out"])
    assert folder.name == "table-latency_ms9-bayesian-seed0"
    assert not (folder / "best.yaml").exists()

    text = searched(["search", "--resume", str(folder), "--trials", "90"], capsys)
    assert "B0" not in text
    assert "Rank: 1 of 6,561 measured networks under this objective" in text
    assert "Assumed: 8 choices (layer1, " in text

    front = json.loads(searched(["front", str(folder), "--target", "none", "--json"], capsys))
    assert front["cost"]["name"] == "latency_ms"
    tried = json.loads(searched(["trials", str(folder), "--json"], capsys))["trials"]
    assert len(tried) == 90
    assert {trial["macs"] for trial in tried} == {None}
    most = max(trial["accuracy"] for trial in tried)
    assert front["front"][-1]["accuracy"] == front["retargeted"]["accuracy"] == most
    for trial in front["front"]:
        assert not any(
            other["accuracy"] > trial["accuracy"] and other["costs"][0] <= trial["costs"][0] for other in tried
        )
    assert "latency_ms" in searched(["trials", str(folder)], capsys)
    assert "latency_ms" in searched(["finalists", str(folder), "--top", "3"], capsys)
    assert "macro.csv" in searched(["runs", str(folder)], capsys)
    assert "layer8" in searched(["trials", str(folder), "--csv"], capsys).splitlines()[0]
    (workplace / "again.csv").write_text(searched(["trials", str(folder), "--csv"], capsys))
    table = load_evaluator("table:again.csv", "table")
    assert isinstance(table, TableEvaluator)
    assert len(table.rows) == len({str(trial["genotype"]) for trial in tried})
    assert (len(table.space.labels), table.space.cost_names) == (8, ("target_latency_ms",))
    assert main(["freeze", str(folder), "--name", "mine"]) == 2
    error = capsys.readouterr().err
    assert "has choices and no architecture, so there is nothing to freeze" in error
    assert "its choices: mnas trials " in error


def test_the_name_of_a_network_is_no_choice(tmp_path: Path) -> None:
    """With repeats a name occurs twice, and is still refused; the header may say what it is."""
    rows = [{"id": f"n{number}", **row, "seed": seed} for number, row in enumerate(plain(6)) for seed in range(2)]
    with pytest.raises(MnasError, match="the column 'id' could be a choice, a cost or a note"):
        TableEvaluator(write(tmp_path / "t.csv", rows), None)
    noted = [{"note:id" if name == "id" else name: value for name, value in row.items()} for row in rows]
    table = TableEvaluator(write(tmp_path / "noted.csv", noted), None)
    assert table.space.labels == ("op", "width")
    assert table.measurements(table.space.decode({"op": "conv", "width": 8})) == 2


def test_finalists_that_miss_the_target_come_last(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the network over the target has a second measurement, which must not make it the first."""
    rows = [
        {"op": op, "seed": seed, "accuracy": accuracy, "energy_mj": energy}
        for op, seed, accuracy, energy in (("a", 0, 0.7, 5), ("a", 1, 0.74, 5), ("b", 0, 0.71, 2), ("c", 0, 0.6, 1))
    ]
    write(workplace / "t.csv", rows)
    run = ["search", "--space", "table", "--evaluator", "table:t.csv", "--target", "energy_mj=3", "--trials", "3"]
    searched([*run, "--controller", "random", "--out", "r"], capsys)
    found = json.loads(searched(["finalists", "r", "--json"], capsys))["finalists"]
    assert [finalist["genotype"]["op"] for finalist in found] == ["b", "c", "a"]
    text = " ".join(searched(["finalists", "r"], capsys).split())
    assert "misses the target" in text
    assert "failed" not in text
    assert "None of them meets" not in text


def test_finalists_of_a_table_with_repeats(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other seeds of the table are the measurements; their mean and spread are recomputed from its rows."""
    rng = np.random.default_rng(0)
    rows = [{**row, "seed": seed, "accuracy": round(rng.uniform(0.5, 0.6), 4)} for row in plain(6) for seed in range(4)]
    write(workplace / "t.csv", rows)
    searched(["search", "--space", "table", "--evaluator", "table:t.csv", "--trials", "6", "--out", "r"], capsys)
    data = json.loads(searched(["finalists", "r", "--top", "3", "--repeats", "3", "--json"], capsys))
    assert data["noisy"]
    for finalist in data["finalists"]:
        own = [row for row in rows if finalist["genotype"] == {"op": row["op"], "width": row["width"]}]
        assert finalist["accuracies"] == [row["accuracy"] for row in own if row["seed"] > 0]
        assert finalist["accuracy"] == pytest.approx(np.mean(finalist["accuracies"]))


def test_the_example_of_the_documentation(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = (Path(__file__).parents[3] / "docs" / "search.md").read_text().split("## Any published table")[1]
    (workplace / "FILE.csv").write_text(section.split("```csv\n")[1].split("```")[0])
    run = ["search", "--space", "table", "--evaluator", "table:FILE.csv", "--target", "latency_ms=15", "--trials", "4"]
    assert json.loads(searched([*run, "--json"], capsys))["best"]["accuracy"] == 0.7312


def test_no_target_is_said(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(workplace / "t.csv", plain())
    run = ["search", "--space", "table", "--evaluator", "table:t.csv", "--trials", "5"]
    text = searched(run, capsys)
    assert "(most accurate, whatever it costs)" in text
    assert "Target: none; use --target COST=VALUE for energy_mj." in text
    assert (workplace / "runs" / "table-no-target-bayesian-seed0").is_dir()
    assert "Target: none" in searched([*run, "--target", "none"], capsys)
    assert "Target: none" not in searched([*run, "--target", "energy_mj=2"], capsys)
    for wrong, message in (
        (["--target", "none", "--target", "energy_mj=2"], "target: none cannot be combined with another target"),
        (["--target", "none", "--objective", "soft"], "objective: soft cannot be combined with no target"),
        (["--target", "none", "--exponent", "-2"], "exponent: cannot be combined with no target"),
        (["--target", "none", "--objective", "calibrated"], "the calibrated form takes one target"),
    ):
        assert main([*run, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_no_target_in_a_space_of_stages(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = searched(["search", "--target", "none", "--trials", "20", "--controller", "random", "--out", "r"], capsys)
    assert "(most accurate, whatever it costs)" in text
    assert "targets: []" in (workplace / "r" / "best.yaml").read_text()
    assert "the most accurate, whatever it costs" in searched(["show", "r/best.yaml"], capsys)
    assert main(["freeze", "r", "--name", "best-of-all"]) == 0
    capsys.readouterr()
    assert "MACs" in searched(["front", "r"], capsys)


@pytest.mark.parametrize("targets", [{"latency_ms": 12.0}, {}], ids=str)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, macro: list[Row], targets: dict[str, float]
) -> None:
    search = settings(write(tmp_path / "macro.csv", macro[::3]), targets, 60)
    whole = run_search(search)

    def run(folder: Path, limit: int) -> list[Trial]:
        opened = Journal.resume(folder) if folder.exists() else Journal.create(folder, search)
        with opened as journal:
            stop = lambda: journal.count() >= limit  # noqa: E731
            run_search(journal.settings, journal, journal.execution, journal.history(), stop)
        with Journal.open(folder) as journal:
            return list(journal.trials())

    for limit in (7, 23, 60):
        found = run(tmp_path / "run", limit)
    assert [(t.number, t.genotype, t.costs, t.metrics, t.reward) for t in found] == [
        (t.number, t.genotype, t.costs, t.metrics, t.reward) for t in whole
    ]
    assert all(isinstance(trial.network, Selection) and trial.counts is None for trial in found)
    with pytest.raises(MnasError, match="trial: 0 has choices and no architecture; mnas trials RUN --json"):
        assert isinstance(found[0].architecture, Architecture)
    with pytest.raises(MnasError, match="trial: 0 has no architecture, so its MACs"):
        assert found[0].cost


def test_a_table_that_was_changed_is_noticed(tmp_path: Path, macro: list[Row]) -> None:
    file = write(tmp_path / "macro.csv", macro)
    search = settings(file, {"latency_ms": 12}, 20, "random")
    with Journal.create(tmp_path / "run", search) as journal:
        run_search(search, journal)
    _load_evaluator.cache_clear()
    write(file, [{**row, "latency_ms": row["latency_ms"] + 1} for row in macro])
    with (
        Journal.open(tmp_path / "run") as journal,
        pytest.raises(MnasError, match=r"macro\.csv has changed since the run was started; restore it"),
    ):
        list(journal.trials())


def test_workers_read_the_table_too(tmp_path: Path, macro: list[Row]) -> None:
    search = settings(write(tmp_path / "macro.csv", macro), {"latency_ms": 12}, 8, "random")
    trials = run_search(search, execution=Execution("processes", workers=2))
    expected = {tuple(list(row.values())[:8]): row["accuracy"] for row in macro}
    assert [trial.metrics and trial.metrics.accuracy for trial in trials] == [
        expected[tuple(map(str, trial.genotype.values()))] for trial in trials
    ]
