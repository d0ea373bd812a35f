"""`mnas runs` and `mnas trials`, on a run with failures, an unfinished one, one from a stranger and one with code."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from baselines import load
from baselines.owner import is_owned
from baselines.spec import write_spec
from baselines.training.folder import locked
from baselines.training.recipe import load_recipe
from nas.__main__ import main
from nas.executors.base import Failure
from nas.journal import Journal
from nas.objective import make_objective
from nas.runs import look_at
from nas.search_loop import SearchSettings, run_search
from nas.studies.engine import run_study
from nas.trial import best_trial
from tests.nas.studies import jobs
from tests.processes import in_new_process
from tests.trials import write

SETTINGS = SearchSettings("efficientnet", "imagenet", "random", make_objective("hard", 400e6), 60, 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    trials = run_search(SETTINGS)
    trials[7] = replace(trials[7], metrics=None, reward=None, failure=Failure("memory", "MemoryError: [red] too much"))
    for name, count, reason in (("whole", 60, "complete"), ("half", 30, None), ("broken", 10, "disk full")):
        with Journal.create(folder / name, SETTINGS) as journal:
            write(journal, trials[:count])
            if reason:
                journal.end(reason)
    (folder / "strange").mkdir()
    (folder / "strange" / "journal.sqlite").write_bytes(b"no journal")
    return folder


def test_runs_say_how_far_they_are(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(runs), "--json"]) == 0
    found = {Path(run["folder"]).name: run for run in json.loads(capsys.readouterr().out)["runs"]}
    states = {name: (run["state"], run["done"], run["failed"], run["wanted"]) for name, run in found.items()}
    assert states == {
        "whole": ("complete", 60, 1, 60),
        "half": ("interrupted", 30, 1, 60),
        "broken": ("failed", 10, 1, 60),
        "strange": ("unreadable", 0, 0, 0),
    }
    assert found["broken"]["problem"] == "disk full"
    with Journal.open(runs / "whole") as journal:
        best = best_trial(journal.trials(), SETTINGS.objective)
    assert best is not None
    assert (found["whole"]["best"]["number"], found["whole"]["best"]["macs"]) == (best.number, best.cost.macs)
    assert main(["runs", str(runs), "--csv"]) == 0
    lines = {Path(line["folder"]).name: line for line in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert {name: line["state"] for name, line in lines.items()} == {name: state[0] for name, state in states.items()}
    assert int(lines["whole"]["best_number"]) == best.number
    assert main(["runs", str(runs)]) == 0
    assert {line["kind"] for line in lines.values()} == {"search"}
    text = " ".join(capsys.readouterr().out.split())
    assert "shortened schedule" in text
    assert "search complete 60/60" in text
    assert "not a usable journal" in text


def test_a_run_under_way_names_its_owner(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_owned(runs / "half")
    with Journal.resume(runs / "half"):
        assert is_owned(runs / "half")
        assert main(["runs", str(runs / "half")]) == 0
    assert "running as process" in capsys.readouterr().out


def test_trials_as_json_csv_and_tables(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trials", str(runs / "whole"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["trials"]
    assert [trial["number"] for trial in data] == list(range(60))
    assert (data[7]["state"], data[7]["failure"], data[7]["accuracy"]) == ("failed", "memory", None)
    assert main(["trials", str(runs / "whole"), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for row, trial in zip(rows, data, strict=True):
        assert int(row["macs"]) == trial["macs"] == float(row["target_macs"])
        assert {label: float(row[label]) for label in trial["genotype"]} == trial["genotype"]
        assert row["accuracy"] == ("" if trial["accuracy"] is None else str(trial["accuracy"]))
    assert main(["trials", str(runs / "whole"), "--failed"]) == 0
    assert "MemoryError: [red] too much" in capsys.readouterr().out
    assert main(["trials", str(runs / "whole"), "--top", "3"]) == 0
    assert "3 shown of 59 that succeeded; 1 failed." in " ".join(capsys.readouterr().out.split())


def test_a_csv_of_trials_is_a_table_for_a_search(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trials", str(runs / "whole"), "--csv"]) == 0
    table = tmp_path / "trials.csv"
    table.write_text(capsys.readouterr().out)  # with a trial that failed
    trials = run_search(replace(SETTINGS, evaluator=f"table:{table}", trials=20))
    with Journal.open(runs / "whole") as journal:
        known = {str(trial.genotype): trial.metrics for trial in journal.trials()}
    assert [trial.metrics for trial in trials] == [known[str(trial.genotype)] for trial in trials]


def test_looking_at_a_run_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from nas.evaluators.imagenet import ImageNetPredictor as evaluator\nprint('it ran')"
    )
    arguments = ["search", "--evaluator", f"{tmp_path}/mine.py", "--trials", "10", "--out", str(tmp_path / "run")]
    # In a new process: a file runs once per process, and this one must not have run it.
    assert "it ran" in in_new_process(f"from nas.__main__ import main; main({arguments!r})")
    for command in (["runs", str(tmp_path)], ["trials", str(tmp_path / "run")]):
        assert main(command) == 0
        assert "it ran" not in capsys.readouterr().out


def test_what_is_no_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    assert "No runs in" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "nowhere")]) == 2
    assert main(["trials", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_report_names_all_that_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = "folder of a search, a trained comparison, an ablation, a trained family or a search for coefficients"
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main(["report", str(folder)]) == 2
        assert capsys.readouterr().err == f"mnas: run: {folder} holds no run; expected the {expected}\n"
    (tmp_path / "training.json").write_text("{")
    assert main(["report", str(tmp_path)]) == 2
    assert "holds a training, which has no report; use mnas evaluate or mnas runs with it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    assert expected in " ".join(capsys.readouterr().out.split())


def test_a_resumed_run_keeps_its_settings(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for controller in ("ppo", "bayesian"):  # the second is the default
        assert main(["search", "--resume", str(runs / "half"), "--controller", controller]) == 2
        assert "the run uses random, and is resumed with it; remove controller" in capsys.readouterr().err
    assert main(["search", "--resume", str(runs / "half"), "--trials", "20"]) == 2
    assert "trials: 20 is less than the 30 that the run has" in capsys.readouterr().err


def test_trainings_and_studies_stand_beside_searches(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are made by hand, as docs/training.md describes them; nested jobs are not listed."""
    (tmp_path / "search").symlink_to(runs / "whole")
    recipe = asdict(load_recipe("proxy").with_values(epochs=4))
    for name, files in (("whole", ("weights.safetensors",)), ("half", ("checkpoint.pt",)), ("study/job0", ())):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "training.json").write_text(json.dumps({"data": "images", "recipe": recipe, "classes": ["a", "b"]}))
        write_spec(load("efficientnet_b0"), folder / "spec.yaml")
        lines = ["0.9,0.1,0.25", "0.8,0.1,0.75", "0.7,0.1,0.5", "0.7,0.1,0.5"][: 4 if name == "whole" else 3]
        rows = [f"{epoch},{10 * epoch},{line}" for epoch, line in enumerate(lines, 1)]
        (folder / "history.csv").write_text("epoch,step,loss,learning_rate,val_accuracy\n" + "\n".join(rows) + "\n")
        for file in files:
            (folder / file).touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "training.json").write_text("{")
    study = jobs.study({"what": "good"}, {"what": "refused"}, {"what": "good"}, needs_all=False)
    run_study(tmp_path / "study", study, beside=("job0",))
    assert main(["runs", str(tmp_path), "--json"]) == 0
    found = {Path(run["folder"]).name: run for run in json.loads(capsys.readouterr().out)["runs"]}
    columns = ("kind", "state", "done", "failed", "wanted", "accuracy")
    assert {name: tuple(run[column] for column in columns) for name, run in found.items()} == {
        "search": ("search", "complete", 60, 1, 60, found["search"]["best"]["accuracy"]),
        "whole": ("training", "complete", 4, 0, 4, 0.75),
        "half": ("training", "interrupted", 3, 0, 4, 0.75),
        "broken": ("training", "unreadable", 0, 0, 0, None),
        "study": ("test", "complete", 2, 1, 3, None),
    }
    assert main(["runs", str(tmp_path), "--csv"]) == 0
    lines_of = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["kind"] for line in lines_of] == ["training", "training", "search", "test", "training"]
    assert lines_of[1]["best_accuracy"] == "0.75"
    assert main(["runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("training interrupted 3/4", "test complete 2/3", "1 job failed", "75.00 %", "on its validation part"):
        assert part in text
    with locked(tmp_path / "half"):
        assert look_at(tmp_path / "half").state == "running"
    for name, what in (("study", "holds a study, expected a search"), ("half", "holds a training, expected a search")):
        for command in (["trials"], ["front"], ["freeze", "--name", "x"], ["finalists"]):
            assert main([command[0], str(tmp_path / name), *command[1:]]) == 2
            assert what in capsys.readouterr().err


@pytest.mark.parametrize("row", ["1,10,0.9,0.1,nan", "1,10,0.9,0.1,x", "one,10,0.9,0.1,0.5", "1,10"])
def test_a_history_changed_by_hand(tmp_path: Path, row: str) -> None:
    recipe = asdict(load_recipe("proxy"))
    (tmp_path / "training.json").write_text(json.dumps({"data": "images", "recipe": recipe}))
    write_spec(load("efficientnet_b0"), tmp_path / "spec.yaml")
    (tmp_path / "history.csv").write_text(f"epoch,step,loss,learning_rate,val_accuracy\n{row}\n")
    run = look_at(tmp_path)
    assert run.state == "unreadable"
    assert str(tmp_path / "history.csv") in str(run.problem)
