"""Searches that start from what is known: what is learned, what is not evaluated again, and what is refused."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.__main__ import main
from nas.controllers.registry import CONTROLLERS
from nas.evaluators.imagenet import ImageNetPredictor
from search_spaces import MnasError, architecture_cost, load_stage_space

MACS = 300e6
SLOW = ("optuna:gp",)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def source() -> nas.Found:
    """A search whose networks are all around 400M."""
    return nas.search(400e6, controller="random", trials=30, out="source")


def write_table(file: str, count: int, sign: float = 1.0) -> Path:
    """A table of random networks, of the predictor's accuracies or of what is as far below 0.6 as they are above."""
    space = load_stage_space("efficientnet")
    rows = space.sample_indices(np.random.default_rng(3), count)
    accuracies = [m.accuracy for m in ImageNetPredictor().evaluate(space.decode_indices(rows))]
    with open(file, "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*space.labels, "accuracy"])
        for genotype, accuracy in zip(space.genotypes(rows), accuracies, strict=True):
            writer.writerow([*(genotype[label] for label in space.labels), 0.6 + sign * (accuracy - 0.6)])
    return Path(file)


@pytest.mark.parametrize(
    "controller", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CONTROLLERS]
)
def test_what_is_known_is_not_evaluated_again(controller: str) -> None:
    """All networks of a small space are known: none is evaluated, and each has the accuracy that was known."""
    rows = [f"{a},{b},{0.5 + 0.01 * a + 0.02 * b},{a + b + 1}" for a in range(3) for b in range(4)]
    Path("all.csv").write_text("\n".join(["a,b,accuracy,latency_ms", *rows]))
    options = {"targets": {"latency_ms": 4.0}, "space": "table", "evaluator": "table:all.csv"}
    before = nas.search(**options, controller="random", trials=12, out="before")  # type: ignore[arg-type]
    assert before.done == 12
    after = nas.search(**options, controller=controller, trials=6, out="after", known="before")  # type: ignore[arg-type]
    assert {trial.attempts for trial in after.trials} == {0}
    known = {trial.digest: trial.metrics for trial in before.trials}
    assert all(trial.metrics == known[trial.digest] for trial in after.trials)


def test_the_best_that_is_known_is_the_first_trial(source: nas.Found) -> None:
    found = nas.search(MACS, trials=10, out="found", known=["source"])
    within = [trial for trial in source.trials if trial.cost.macs <= MACS]
    best = max(within, key=lambda trial: trial.metrics.accuracy if trial.metrics else 0)
    assert found.trials[0].digest == best.digest
    assert found.trials[0].attempts == 0
    assert all(trial.attempts == 1 for trial in found.trials[1:])
    assert not {trial.digest for trial in found.trials[1:]} & {trial.digest for trial in source.trials}


def test_a_run_does_not_need_its_source_and_resumes_as_if_never_stopped(source: nas.Found) -> None:
    write_table("hint.csv", 40)
    whole = nas.search(MACS, trials=16, out="whole", known=["source", "hint.csv"])
    nas.search(MACS, trials=7, out="part", known=["source", "hint.csv"])
    shutil.rmtree("source")
    Path("hint.csv").unlink()
    resumed = nas.resume("part", trials=16)
    assert [trial.genotype for trial in resumed.trials] == [trial.genotype for trial in whole.trials]
    assert [trial.reward for trial in resumed.trials] == [trial.reward for trial in whole.trials]


def test_others_measurements_are_evaluated_again() -> None:
    table = write_table("hint.csv", 40)
    found = nas.search(MACS, trials=8, out="found", known=[table])
    assert all(trial.attempts == 1 for trial in found.trials)
    # Its best networks within the target come first.
    accuracies = {}
    space = load_stage_space("efficientnet")
    with table.open() as opened:
        for row in csv.DictReader(opened):
            genotype = {c.label: next(v for v in c.values if str(v) == row[c.label]) for c in space.decisions}
            network = space.decode(genotype)
            if architecture_cost(network).macs <= MACS:
                accuracies[str(network)] = float(row["accuracy"])
    first = [str(trial.architecture) for trial in found.trials[:3]]
    assert first == sorted(accuracies, key=lambda network: -accuracies[network])[:3]


def test_a_changed_evaluator_gives_hints() -> None:
    Path("judge.csv").write_text(write_table("a.csv", 40).read_text())
    nas.search(targets={}, evaluator="table:judge.csv", controller="random", trials=10, out="then")
    same = nas.search(targets={}, evaluator="table:judge.csv", trials=5, out="same", known=["then"])
    assert same.trials[0].attempts == 0
    write_table("judge.csv", 40, sign=-1)
    other = nas.search(targets={}, evaluator="table:judge.csv", trials=5, out="other", known=["then"])
    assert all(trial.attempts == 1 for trial in other.trials)


def test_a_source_that_misleads_costs_little() -> None:
    """One that takes the worst networks for the best: the search still ends near one that knew nothing."""
    write_table("wrong.csv", 60, sign=-1)
    wrong = nas.search(MACS, trials=60, out="wrong", known=["wrong.csv"]).best
    nothing = nas.search(MACS, trials=60, out="nothing").best
    assert wrong.metrics is not None
    assert nothing.metrics is not None
    assert wrong.metrics.accuracy > nothing.metrics.accuracy - 0.01


def test_a_spec_is_tried(source: nas.Found) -> None:
    spec = source.freeze("own")
    found = nas.search(450e6, trials=4, out="found", known=["own"])
    assert found.trials[0].digest == spec.digest
    assert found.trials[0].attempts == 0


def test_it_says_what_it_starts_from(source: nas.Found, capsys: pytest.CaptureFixture[str]) -> None:
    known = ["source", str(write_table("hint.csv", 10))]
    found = nas.search(MACS, trials=4, out="found", known=known)
    own = f"It starts from 30 networks of {Path('source').absolute()}, by the same evaluator, not evaluated again"
    hint = f"It starts from 10 networks of {Path('hint.csv').absolute()}, by another evaluator, a hint"
    said = capsys.readouterr().err
    assert f"mnas: {own}\n" in said
    assert f"mnas: {hint}\n" in said
    assert [str(known) for known in found.known] == [own, hint]
    assert "from 40 measured networks" in found.freeze("spec").provenance.source
    capsys.readouterr()
    assert main(["report", "found"]) == 0
    report = " ".join(capsys.readouterr().out.split())
    assert f"--from {Path('source').absolute()} {Path('hint.csv').absolute()}" in report
    assert own in report
    nas.search(MACS, controller="random", trials=4, out="random", known=["source"])
    assert "not evaluated again; random does not learn from it" in capsys.readouterr().err


def test_front_names_the_search_that_starts_from_its_run(source: nas.Found, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["front", "source", "--target-macs", "150M"]) == 0
    assert "--from source" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "damage", ["[3]", '[{"source": "s", "same": 1, "genotypes": [], "metrics": []}]', '[{"genotypes": "ab"}]']
)
def test_a_damaged_journal_is_refused(source: nas.Found, damage: str) -> None:
    nas.search(MACS, trials=3, out="found", known=["source"])
    with sqlite3.connect("found/journal.sqlite") as connection:
        connection.execute("UPDATE run SET value = ? WHERE key = 'known'", (damage,))
    with pytest.raises(MnasError, match="not a usable journal"):
        nas.resume("found", trials=5)


def test_what_makes_no_sense_is_refused(source: nas.Found) -> None:
    def refused(known: list[str], match: str, **others: object) -> None:
        with pytest.raises(MnasError, match=match):
            nas.search(MACS, trials=4, out="found", known=known, **others)  # type: ignore[arg-type]
        assert not Path("found").exists()

    Path("ab.csv").write_text("a,b,accuracy\n1,2,0.5\n2,1,0.6\n2,2,0.4\n")
    nas.search(targets={}, space="table", evaluator="table:ab.csv", trials=3, out="ab")
    refused(["ab"], "searched the space table, and this search efficientnet")
    refused(["source", "source"], "from: a source is given twice")
    refused(["nowhere"], "from: nowhere is not the folder of a search, a table or a spec")
    refused(["source"], "from: the calibrated form measures its own exponents", objective="calibrated")
    (Path("empty")).mkdir()
    refused(["empty"], "from: empty holds no search")
    table = write_table("own.csv", 12)
    refused([str(table)], "is the table of the evaluator", evaluator="table:own.csv")
    Path("other.csv").write_text("a,accuracy\n1,0.5\n")
    refused(["other.csv"], "has no column")


def test_contradictions_are_refused(source: nas.Found) -> None:
    shutil.copytree("source", "copy")
    with sqlite3.connect("copy/journal.sqlite") as connection:
        connection.execute("UPDATE completions SET accuracy = accuracy - 0.01 WHERE number = 3")
    with pytest.raises(MnasError, match=r"one network has an accuracy of .* by the same evaluator; leave one"):
        nas.search(MACS, trials=4, out="found", known=["source", "copy"])
