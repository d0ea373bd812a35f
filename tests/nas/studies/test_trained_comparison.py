"""Networks trained side by side, each at its own resolution, and resuming them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from baselines import BaselineSpec, Provenance, load
from baselines.spec import write_spec
from baselines.training.data.sources import load_data
from baselines.training.folder import WEIGHTS, change_learning_rate, read_training
from baselines.training.launch import planned
from baselines.training.settings import TrainingOptions
from nas.__main__ import main
from nas.record import STUDY_FILE
from nas.runs import look_at
from nas.studies import trained_comparison as comparison
from nas.studies import trainings
from nas.studies.journal import StudyJournal
from nas.studies.trained_comparison import COMPARISON, ComparisonOptions, Plan, read_result, start_comparison
from search_spaces import MnasError, architecture_cost
from search_spaces.adaptation import adapted
from tests.baselines.training.images import write_folders
from tests.processes import environment

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

OPTIONS = ("--recipe", "proxy", "--epochs", "2", "--batch", "16", "--width", "0.25", "--resolution", "16", "--train")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(write_folders(tmp_path / "images", count=40))


def test_a_comparison_can_be_interrupted_and_resumed(
    images: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["compare", "efficientnet_b0", "mnasnet_b1", "--data", images, *OPTIONS, "--seeds", "2"]
    trained: list[str] = []
    whole = trainings.run_training

    def interrupted(folder: Path, *arguments: object) -> object:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(folder.name)
        return whole(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainings, "run_training", interrupted)
    assert main([*command, "--out", "c"]) == 130
    assert "resume with: mnas compare --resume c" in capsys.readouterr().err
    assert trained == ["efficientnet_b0-seed0", "mnasnet_b1-seed0", "efficientnet_b0-seed1"]
    kept = {name: Path("c", name, WEIGHTS).stat().st_mtime_ns for name in trained}
    run = look_at(Path("c"))
    assert (run.kind, run.state, run.done, run.wanted) == ("comparison", "interrupted", 3, 4)
    monkeypatch.setattr(trainings, "run_training", whole)
    assert main(["compare", "--train", "--resume", "c", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert kept == {name: Path("c", name, WEIGHTS).stat().st_mtime_ns for name in trained}
    first, reference = found["networks"]
    assert (first["name"], reference["name"]) == ("efficientnet_b0", "mnasnet_b1")
    (difference,) = found["differences"]
    assert difference["mean"] == pytest.approx(np.mean(np.array(first["top1"]) - reference["top1"]))
    # Each training is complete by itself: mnas evaluate gives the same accuracy.
    for network in (first, reference):
        for seed, top1 in enumerate(network["top1"]):
            assert main(["evaluate", f"c/{network['name']}-seed{seed}", "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["top1"] == top1
    # A folder of an earlier version has no journal, and its trainings are not repeated.
    Path("c", STUDY_FILE).unlink()
    assert look_at(Path("c")).state == "complete"
    assert main(["compare", "--resume", "c"]) == 0
    assert kept == {name: Path("c", name, WEIGHTS).stat().st_mtime_ns for name in trained}
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 epochs, 16 images in a step, seeds 0 to 1" in shown
    assert "12 test images, which no training saw" in shown
    assert "efficientnet_b0: " in shown
    assert main(["trials", "c"]) == 2
    assert "c holds a comparison, expected a search; use mnas compare --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_give_the_same_and_survive_a_kill(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A comparison killed while worker processes train gives the same as one in this process that was never killed."""
    options = ("--data", images, *OPTIONS, "--seeds", "2", "--json")
    command = ["compare", "mnasnet_small", "mnasnet_b1", *options]
    assert main([*command, "--executor", "processes", "--out", "whole"]) == 0
    whole = json.loads(capsys.readouterr().out)
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *command, "--workers", "2", "--cores", "1", "--out", "cut"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(Path().glob("cut/*/history.csv")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert main(["compare", "--train", "--resume", "cut", "--json"]) == 0
    assert {**json.loads(capsys.readouterr().out), "out": "whole"} == whole
    with StudyJournal.open(Path("cut")) as journal:
        assert journal.execution.workers == 2  # as at its start


def test_equal_macs_change_the_number_of_epochs(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each network gets as many epochs as match the reference's total MACs, and at least one."""
    options = ("--data", images, *OPTIONS, "--seeds", "1", "--equal", "macs", "--json")
    assert main(["compare", "mnasnet_small", "efficientnet_b0", *options, "--out", "c"]) == 0
    small, large = json.loads(capsys.readouterr().out)["networks"]
    assert large["epochs"] == 2
    assert small["epochs"] == round(2 * large["macs"] / small["macs"]) > 4
    assert read_training(Path("c/mnasnet_small-seed0"))[1].recipe.epochs == small["epochs"]
    assert main(["compare", "efficientnet_b0", "mnasnet_small", *options, "--out", "d"]) == 0
    large, small = json.loads(capsys.readouterr().out)["networks"]
    assert (large["epochs"], small["epochs"]) == (1, 2)


def test_batch_norm_sees_parts_of_one_size_in_all_networks(images: str) -> None:
    """This holds whatever memory each network needs."""
    data = load_data(images)
    trainings = []
    for name, at_once in (("efficientnet_b0", 4), ("mnasnet_b1", 16)):
        options = TrainingOptions(recipe="proxy", epochs=1, batch=16, width=0.2, micro_batch=at_once)
        trainings.append(planned(load(name), data, options)[:2])
    assert [settings.micro_batches for _, settings in trainings] == [4, 1]
    start_comparison(Path("c"), Plan(("efficientnet_b0", "mnasnet_b1"), 1, "epochs"), trainings)
    assert {read_training(folder)[1].micro_batches for folder in Path("c").iterdir() if folder.is_dir()} == {4}


@pytest.mark.parametrize(
    ("execution", "options", "expected"),
    [
        ({}, ComparisonOptions(recipe="proxy"), None),
        ({"workers": 3}, ComparisonOptions(recipe="proxy"), 300),  # 0.9 of 1000 bytes, divided by three
        ({"workers": 3}, ComparisonOptions(recipe="proxy", memory=500), 500),
    ],
)
def test_trainings_at_the_same_time_share_the_free_memory(
    images: str,
    monkeypatch: pytest.MonkeyPatch,
    execution: dict[str, int],
    options: ComparisonOptions,
    expected: int | None,
) -> None:
    limits: list[int | None] = []

    def noted(subject: BaselineSpec, data: object, options: TrainingOptions) -> tuple[object, ...]:
        limits.append(options.memory)
        return subject, None, None

    monkeypatch.setattr(trainings, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(trainings, "planned", noted)
    monkeypatch.setattr(comparison, "start_comparison", lambda *_: None)
    subjects = [load("efficientnet_b0"), load("mnasnet_b1")]
    plan = Plan(("efficientnet_b0", "mnasnet_b1"))
    assert (plan.seeds, plan.equal) == (3, "epochs")
    data = COMPARISON.images(Path("c"), images, options, execution)
    comparison.create_comparison(Path("c"), plan, subjects, data, options, execution)
    assert limits == [expected] * 2


def test_cores_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for given, cores in (({"workers": 3}, 2), ({"workers": 16}, 1), ({"workers": 3, "cores": 5}, 5), ({}, None)):
        assert trainings.divided(given).get("cores") == cores


def test_a_training_with_another_recipe_is_refused(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All trainings of a comparison share one recipe."""
    two = ("efficientnet_b0", "mnasnet_b1", "--data", images, *OPTIONS, "--seeds", "2", "--epochs", "1")
    assert main(["compare", *two, "--learning-rate", "0.1", "--out", "c", "--html", "c.html"]) == 0
    page = Path("c.html").read_text()
    assert all(heading in page for heading in ("1 network beside mnasnet_b1", "Accuracy and cost", "Learning curves"))
    text = capsys.readouterr().out
    assert main(["report", "c"]) == 0
    assert text == f"{capsys.readouterr().out}Written: c.html\n"
    odd = Path("c/efficientnet_b0-seed1")
    assert read_training(odd)[1].recipe.learning_rate == 0.1
    (odd / WEIGHTS).unlink()
    change_learning_rate(odd, 0.05)
    capsys.readouterr()
    assert main(["compare", "--train", "--resume", "c"]) == 2
    assert "efficientnet_b0-seed1 has another recipe than the others; start a comparison" in capsys.readouterr().err
    assert not (odd / WEIGHTS).exists()  # refused before any training started


def test_what_cannot_be_compared(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old.html").touch()
    (tmp_path / "old" / "comparison.json").touch()
    write_folders(tmp_path / "untested" / "train")
    two = ("efficientnet_b0", "mnasnet_b1")
    for arguments, message in (
        ((*two, "--data", images), "data: --data needs --train"),
        ((*two, "--seeds", "5"), "seeds: --seeds needs --train"),
        ((*two, "--workers", "2"), "workers: --workers needs --train"),
        (("--train", "--resume", "c", "--epochs", "7"), "epochs: --epochs cannot be combined with --resume"),
        ((*two, "--train"), "compare: expected two or more SPEC and --data"),
        (("efficientnet_b0", "--train", "--data", images), "expected two or more"),
        (("efficientnet_b0", "efficientnet_b0", "--train", "--data", images), "is given twice"),
        ((*two, "--train", "--data", images, "--executor", "in-process", "--workers", "2"), "workers: needs"),
        ((*two, "--train", "--data", "untested"), "untested has no test images"),
        ((*two, "--train", "--data", images, "--equal", "time"), "unknown equal 'time'"),
        ((*two, "--train", "--data", images, "--html", "old.html"), "html: old.html already exists"),
        ((*two, "--train", "--resume", "c"), "spec: SPEC cannot be combined with --resume"),
        (("--train", "--resume", "c"), "resume: c holds no comparison"),
        (("--resume", "c"), "resume: c holds no comparison"),
        (("--resume", "c", "--epochs", "7"), "epochs: --epochs cannot be combined with --resume"),
        (("--resume", "c", "--space", "efficientnet"), "space: --space cannot be combined with --resume"),
        ((*two, "--resume", "c"), "spec: SPEC cannot be combined with --resume"),
        (
            (*two, "--train", "--data", images, "--out", "old"),
            "already holds a comparison; choose another folder, or resume it with: mnas compare --resume old",
        ),
    ):
        assert main(["compare", *arguments]) == 2, arguments
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("runs").exists()


@pytest.fixture
def grown(images: str) -> list[BaselineSpec]:
    """A narrow B0 at the images' side and the same network at 24 px, as specs in the current folder."""
    base = adapted(load("efficientnet_b0").architecture, 16, 1000, 0.25)
    specs = [
        BaselineSpec(name, replace(base, resolution=side), Provenance("a test"))
        for name, side in (("larger", 24), ("base", 16))
    ]
    for spec in specs:
        write_spec(spec, Path(f"{spec.name}.yaml"))
    return specs


OWN = ("--recipe", "proxy", "--epochs", "2", "--batch", "16", "--train", "--seeds", "2")


def test_each_network_keeps_its_own_resolution(
    images: str, grown: list[BaselineSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    """Sides, costs, accuracies on both parts, curves, and what the result says about enlarged images."""
    assert main(["compare", "larger.yaml", "base.yaml", "--data", images, *OWN, "--out", "c", "--json"]) == 0
    output, said = capsys.readouterr()
    found = json.loads(output)
    note = "larger is trained at 24 px on images of 16 px: enlarged images carry no new information"
    assert f"mnas: {note}.\n" in said.partition("comparison 1/")[0]  # before the first training
    assert [network["resolution"] for network in found["networks"]] == [24, 16]
    curves = read_result(Path("c")).curves
    for network, spec in zip(found["networks"], grown, strict=True):
        assert network["macs"] == architecture_cost(replace(spec.architecture, num_classes=3)).macs
        for part in ("val", "test"):
            tops = network["top1" if part == "test" else "val_top1"]
            for seed, top1 in enumerate(tops):
                assert main(["evaluate", f"c/{spec.name}-seed{seed}", "--part", part, "--json"]) == 0
                assert json.loads(capsys.readouterr().out)["top1"] == top1
        assert network["val_mean"] == pytest.approx(np.mean(network["val_top1"]))
        assert [[epoch for epoch, _ in curve] for curve in curves[spec.name]] == [[1, 2], [1, 2]]
        # The recipe has no moving average, so the last epoch's network is the one that is judged.
        assert [curve[-1][1] for curve in curves[spec.name]] == pytest.approx(network["val_top1"])
    assert found["notes"] == [note]
    assert found["data"]["sides"] == [16, 16, 16]
    assert main(["compare", "--train", "--resume", "c"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Note: {note}." in shown
    assert "px MACs params epochs total MACs val top-1 test top-1" in shown


def test_a_journal_of_an_earlier_version_opens(
    images: str, grown: list[BaselineSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no results on the validation part, and its trainings do not say how large the images are."""
    assert main(["compare", "larger.yaml", "base.yaml", "--data", images, *OWN, "--seeds", "1", "--out", "c"]) == 0
    with sqlite3.connect(Path("c", STUDY_FILE)) as connection:
        for number, text in connection.execute("SELECT number, result FROM results").fetchall():
            old = {name: value for name, value in json.loads(text).items() if not name.startswith("val_")}
            assert set(old) == {"images", "hits", "top1"}
            connection.execute("UPDATE results SET result = ? WHERE number = ?", (json.dumps(old), number))
    connection.close()
    for file in Path("c").glob("*/training.json"):
        settings = json.loads(file.read_text())
        del settings["sides"]
        file.write_text(json.dumps(settings))
    capsys.readouterr()
    found = comparison.run_comparison(Path("c"))
    assert [one.val_hits for one in found.contestants] == [None, None]
    assert found.notes == ()
    assert main(["compare", "--train", "--resume", "c"]) == 0
    assert "–" in capsys.readouterr().out


def test_networks_that_become_the_same_are_refused(
    images: str, grown: list[BaselineSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("compare", "larger.yaml", "base.yaml", "--data", images, *OWN)
    for options, why in (
        (("--resolution", "16"), "--resolution 16 trains both at 16 px; use --resolution own, or remove one"),
        (("--resolution", "none"), "both are trained at 16 px; use --resolution own, or remove one"),
    ):
        assert main([*both, *options, "--out", "c"]) == 2
        (line,) = (line for line in capsys.readouterr().err.splitlines() if "packing" not in line)
        assert line == f"mnas: compare: larger and base become the same network: {why}"
    assert not Path("c").exists()


@pytest.mark.usefixtures("torchvision")
def test_another_activation(images: str, grown: list[BaselineSpec], capsys: pytest.CaptureFixture[str]) -> None:
    both = ("compare", "larger.yaml", "base.yaml", "--data", images, *OWN, "--seeds", "1", "--epochs", "1")
    assert main([*both, "--activation", "gelu", "--out", "c"]) == 0
    for folder in Path("c").glob("*-seed0"):
        assert read_training(folder)[0].architecture.activation == "gelu"  # type: ignore[union-attr]
    capsys.readouterr()
    for specs, activation, message in (
        (("base.yaml",), "gelo", "unknown activation 'gelo'; did you mean 'gelu'?"),
        (("torchvision:resnet18",), "gelu", "torchvision:resnet18 has only one activation; remove --activation"),
    ):
        assert main(["compare", "larger.yaml", *specs, *both[3:], "--activation", activation, "--out", "d"]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("d").exists()


@dataclass(frozen=True)
class Stored:
    """The content of the file of another study."""

    answer: int


def test_other_studies_have_their_own_command_and_files(images: str, grown: list[BaselineSpec]) -> None:
    plan = Plan(tuple(spec.name for spec in grown), seeds=1)
    options = ComparisonOptions(recipe="proxy", epochs=1, batch=16)
    kind = trainings.StudyKind("ablation", "ablation.json", ("ablate",))
    data = kind.images(Path("c"), images, options, None)
    comparison.create_comparison(Path("c"), plan, grown, data, options, kind=kind, stored=Stored(7))
    assert json.loads(Path("c/ablation.json").read_text()) == {"answer": 7}
    with pytest.raises(MnasError, match=r"already holds an ablation; .* resume it with: mnas ablate --resume c"):
        kind.images(Path("c"), images, options, None)
    found = comparison.run_comparison(Path("c"), kind=kind)
    assert kind.read(Stored, Path("c")) == Stored(7)
    assert [one.name for one in found.contestants] == ["larger", "base"]
    with StudyJournal.open(Path("c")) as journal:
        assert journal.kind == "comparison"


def test_trainings_keep_their_best_epoch_and_end_early(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "efficientnet_b0", "mnasnet_b1", "--data", images, *OPTIONS, "--seeds", "1", "--json"]
    course = ("--keep", "best", "--patience", "1", "--epochs", "4")
    assert main([*command, *course, "--equal", "macs", "--out", "c"]) == 2
    assert "patience: cannot be combined with --equal macs" in capsys.readouterr().err
    assert not Path("c").exists()
    assert main([*command, *course, "--out", "c"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recipe"]["keep"], found["recipe"]["patience"]) == ("best", 1)
    notes = " ".join(found["notes"])
    assert "ends early after 1 epoch" in notes
    assert "best epoch on the validation part" in notes
    for network in found["networks"]:
        ((_, *curve),) = ([0.0, *(accuracy for _, accuracy in each)] for each in found["curves"][network["name"]])
        assert network["val_top1"] == [max(curve)]
