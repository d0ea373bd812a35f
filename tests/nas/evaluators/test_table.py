from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.evaluators.table import TableEvaluator
from nas.objective import make_objective
from nas.proposer import Proposer
from nas.studies.finalists import Measurements, best_networks, judge_finalists, measure_again
from search_spaces import FieldError, Genotype, MnasError, StageSpace, load_space
from tests.trials import tried

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(space: StageSpace) -> list[Row]:
    genotypes = space.sample(np.random.default_rng(0), 30)
    return [{**genotype, "accuracy": 0.5 + index / 100} for index, genotype in enumerate(genotypes)]


def write(file: Path, rows: list[Row]) -> Path:
    if file.suffix == ".json":
        file.write_text(json.dumps(rows))
    else:
        columns = list(rows[0])
        lines = [",".join(columns), *(",".join(str(row.get(column, "")) for column in columns) for row in rows)]
        file.write_text("\n".join(lines) + "\n")
    return file


def genotype_of(space: StageSpace, row: Row) -> Genotype:
    return {label: row[label] for label in space.labels}


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_what_the_table_says(tmp_path: Path, space: StageSpace, rows: list[Row], name: str) -> None:
    table = TableEvaluator(write(tmp_path / name, [{**row, "note": "x"} for row in rows]), space)
    architectures = [space.decode(genotype_of(space, row)) for row in rows]
    assert [metrics.accuracy for metrics in table.evaluate(architectures)] == [row["accuracy"] for row in rows]
    assert not table.noisy
    known = table.known_members(space)
    assert known is not None
    assert sorted(map(tuple, known.tolist())) == sorted(
        map(tuple, space.indices([genotype_of(space, r) for r in rows]).tolist())
    )
    with pytest.raises(FieldError, match=r"not in the table t\."):
        table.evaluate([space.template])


def test_repeats_are_told_apart_by_seed(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    repeats = [{**rows[0], "seed": seed, "accuracy": accuracy} for seed, accuracy in ((3, 0.6), (1, 0.5), (2, 0.7))]
    table = TableEvaluator(write(tmp_path / "t.csv", [*repeats, repeats[0]]), space)
    network = [space.decode(genotype_of(space, rows[0]))]
    assert table.noisy
    assert [table.evaluate(network, seed)[0].accuracy for seed in range(3)] == [0.5, 0.7, 0.6]
    with pytest.raises(FieldError, match="seed: 3: the table has 3 measurements of this network"):
        table.evaluate(network, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": "nan"}, "row 3: accuracy: 'nan' is not a number from 0 to 1; fix the table"),
        ({"accuracy": 65.3}, "row 3: accuracy: '65.3' is not a number from 0 to 1"),
        ({"accuracy": ""}, "row 3: accuracy: '' is not a number"),
        ({"accuracy": "high"}, "row 3: accuracy: 'high' is not a number"),
        ({"stage2_kernel_size": 7}, "row 3: stage2_kernel_size: '7' is not one of 3, 5"),
        ({"stage2_kernel_size": ""}, "row 3: stage2_kernel_size: '' is not one of 3, 5"),
        ({"seed": "first"}, "row 3: seed: 'first' is not an integer"),
        ({"accuracy_std": "inf"}, "row 3: accuracy_std: 'inf' is not a number from 0 to 1"),
    ],
)
def test_faults_name_row_column_value_and_rule(
    tmp_path: Path, space: StageSpace, rows: list[Row], change: Row, message: str
) -> None:
    plain = [{**row, "seed": 0, "accuracy_std": 0.002} for row in rows[:3]]
    with pytest.raises(MnasError, match=message):
        TableEvaluator(write(tmp_path / "t.csv", [plain[0], {**plain[1], **change}, plain[2]]), space)


def test_contradictions_are_refused_and_repetitions_are_one(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    TableEvaluator(write(tmp_path / "same.csv", [rows[0], rows[0]]), space)
    with pytest.raises(MnasError, match=r"row 3: accuracy: 0.9 contradicts 0.5 of the same network in an earlier row"):
        TableEvaluator(write(tmp_path / "t.csv", [rows[0], {**rows[0], "accuracy": 0.9}]), space)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "has no column 'accuracy'"),
        ("t.csv", "accuracy\n0.5\n", "has no column 'stage1_kernel_size'"),
        ("t.csv", 'accuracy,"\n', "is not CSV|has no column"),
        ("t.json", "[1]", "is not a list of objects"),
        ("t.json", "{", "is not JSON"),
        ("t.json", "[]", "has no column 'accuracy'"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, space: StageSpace, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(MnasError, match=message):
        TableEvaluator(tmp_path / name, space)


def test_the_nearest_measured_network_stands_in(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    table = TableEvaluator(write(tmp_path / "t.csv", rows), space)
    proposer = Proposer(space, table, make_objective("hard", 400e6))
    wanted = genotype_of(space, rows[4])
    near = {**wanted, "stage1_kernel_size": 8 - int(wanted["stage1_kernel_size"])}
    first, again = tried(proposer, table, [near, wanted])
    assert first.genotype == wanted  # one choice different
    assert again.genotype != wanted  # that one was already tried
    assert first.metrics is not None
    assert first.metrics.accuracy == rows[4]["accuracy"]
    rest = tried(proposer, table, [near] * 40, 2)
    assert len({str(trial.genotype) for trial in (first, again, *rest)}) == len(rows) == 2 + len(rest)
    assert proposer.propose([near], 99) == ([], [])


def test_finalists_are_measured_again(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    """The lucky first measurement does not count, and what lies within the noise is a tie."""
    noise = (0.0, 0.002, -0.002, 0.001)
    table_rows = []
    for row, (first, true) in zip(rows[:4], ((0.70, 0.60), (0.66, 0.65), (0.65, 0.6495), (0.5, 0.5)), strict=True):
        for seed, shift in enumerate(noise):
            table_rows.append({**row, "seed": seed, "accuracy": first if seed == 0 else true + shift})
    table = TableEvaluator(write(tmp_path / "t.csv", table_rows), space)
    objective = make_objective("hard", 880e6)
    trials = tried(Proposer(space, table, objective), table, [genotype_of(space, row) for row in rows[:4]])
    best = best_networks(trials, objective, top=3)
    measured = measure_again(tmp_path / "finalists", best, table.name, "efficientnet", repeats=3)
    finalists = judge_finalists(best, objective, table, measured)
    assert [finalist.trial.genotype for finalist in finalists] == [genotype_of(space, rows[i]) for i in (1, 2, 0)]
    assert [finalist.tie for finalist in finalists] == [False, True, False]
    spread = np.std([0.002, -0.002, 0.001], ddof=1)
    assert finalists[0].std == pytest.approx(spread / 3**0.5)
    assert finalists[0].accuracy == pytest.approx(0.65 + np.mean(noise[1:]))


def test_without_noise_sigma_decides(space: StageSpace) -> None:
    from nas.evaluators.registry import load_evaluator

    evaluator, objective = load_evaluator("imagenet"), make_objective("hard", 880e6)
    genotypes = space.sample(np.random.default_rng(0), 40)
    trials = tried(Proposer(space, evaluator, objective), evaluator, genotypes)
    doubled = [*trials, replace(trials[0], number=40)]
    finalists = judge_finalists(best_networks(doubled, objective, 41), objective, evaluator, Measurements({}))
    assert len(finalists) == 40
    for finalist in finalists:
        assert finalist.trial.metrics is not None
        accuracy, std = finalist.trial.metrics
        assert std is not None
        assert finalist.merit == pytest.approx(accuracy - std)
        first = finalists[0]
        assert first.std is not None
        near = abs(accuracy - first.accuracy) <= np.hypot(std, first.std)
        assert finalist.tie == (near and finalist is not first)


def test_a_table_from_a_spreadsheet(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    file = write(tmp_path / "t.csv", rows[:3])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    known = TableEvaluator(file, space).known_members(space)
    assert known is not None
    assert len(known) == 3


def test_ambiguous_tables_are_refused(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    header, *lines = write(tmp_path / "t.csv", rows[:2]).read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([f"{header},accuracy", *(f"{line},0.1" for line in lines)]))
    with pytest.raises(MnasError, match="the column 'accuracy' is given twice"):
        TableEvaluator(tmp_path / "twice.csv", space)
    (tmp_path / "long.csv").write_text("\n".join([header, f"{lines[0]},7"]))
    with pytest.raises(MnasError, match="has no column"):
        TableEvaluator(tmp_path / "long.csv", space)
    (tmp_path / "huge.json").write_text(json.dumps([{**rows[0], "accuracy": 10**400}]))
    with pytest.raises(MnasError, match=r"accuracy: .* is not a number from 0 to 1"):
        TableEvaluator(tmp_path / "huge.json", space)


def test_the_members_of_a_table_in_another_space(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    table = TableEvaluator(write(tmp_path / "t.csv", rows), space)
    known = table.known_members(load_space("mnasnet:b0"))
    assert known is not None
    networks = load_space("mnasnet:b0").decode_indices(known)
    inside = [space.encode(network) for network in networks]
    assert all(genotype in [genotype_of(space, row) for row in rows] for genotype in inside)


def test_luck_that_was_not_measured_again_comes_last(tmp_path: Path, space: StageSpace, rows: list[Row]) -> None:
    lucky = {**rows[0], "accuracy": 0.9, "seed": 0}
    steady = [{**rows[1], "accuracy": 0.6 + seed / 1000, "seed": seed} for seed in range(3)]
    table = TableEvaluator(write(tmp_path / "t.csv", [lucky, *steady]), space)
    objective = make_objective("hard", 880e6)
    trials = tried(Proposer(space, table, objective), table, [genotype_of(space, row) for row in rows[:2]])
    best = best_networks(trials, objective, top=10)
    measured = measure_again(tmp_path / "finalists", best, table.name, "efficientnet", repeats=5)
    first, last = judge_finalists(best, objective, table, measured)
    assert not measured.failures  # the lucky one has only its first measurement, the steady one two more
    assert {number: len(found) for number, found in measured.by_trial.items()} == {1: 2}
    assert first.trial.genotype == genotype_of(space, rows[1])
    assert (last.accuracies, last.tie) == ((), False)
