"""Networks trained side by side: the statistics, the trainings, and going on with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from baselines import load
from baselines.training import comparison
from baselines.training.comparison import Contestant, Plan, begin_comparison, paired_difference
from baselines.training.data import load_data
from baselines.training.recipe import load_recipe
from baselines.training.run import WEIGHTS, TrainingSettings, opened, planned, relearn
from nas.__main__ import main
from tests.baselines.training.images import write_folders

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

OPTIONS = ("--recipe", "proxy", "--epochs", "2", "--batch", "16", "--width", "0.25", "--train")


def contestant(name: str, hits: object) -> Contestant:
    return Contestant(name, 1, 1, 1, np.array(hits, dtype=bool))


def test_the_interval_is_students_where_images_do_not_matter() -> None:
    """Networks that recognise other images by chance, but always as many of each: scipy's paired test."""
    images = 2000
    shares = {"a": (0.62, 0.66, 0.64), "b": (0.60, 0.61, 0.63)}
    hits = {}
    for name, values in shares.items():
        rng = np.random.default_rng(len(name))
        hits[name] = [rng.permutation(np.arange(images) < value * images) for value in values]
    found = paired_difference(contestant("a", hits["a"]), contestant("b", hits["b"]))
    theirs = ttest_rel(*shares.values()).confidence_interval(0.95)
    assert found.mean == pytest.approx(0.08 / 3)
    assert found.interval is not None
    low, high = found.interval
    assert low < theirs.low < found.mean < theirs.high < high
    assert (high - low) / (theirs.high - theirs.low) == pytest.approx(1, abs=0.15)
    assert found.verdict == ("better" if low > 0 else "tie")


def test_two_pairs_that_differ_by_the_same_are_not_certain() -> None:
    """The luck of the images is left: 10 of 100 differ, all one way, by the formula of a share."""
    both = [[image < 60 for image in range(100)]] * 2
    fewer = [[image < 50 for image in range(100)]] * 2
    found = paired_difference(contestant("a", both), contestant("b", fewer))
    half = 1.96 * (0.1 * 0.9 / 99) ** 0.5
    assert found.interval == pytest.approx((0.1 - half, 0.1 + half))
    assert found.verdict == "better"
    assert paired_difference(contestant("b", fewer), contestant("a", both)).verdict == "worse"
    assert paired_difference(contestant("a", both), contestant("a", both)).verdict == "tie"
    assert paired_difference(contestant("a", both[:1]), contestant("b", fewer[:1])).verdict == "unknown"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(write_folders(tmp_path / "images", count=40))


def test_trained_side_by_side_and_gone_on_with(
    images: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["compare", "efficientnet_b0", "mnasnet_b1", "--data", images, *OPTIONS, "--seeds", "2"]
    trained: list[str] = []
    whole = comparison.run_training

    def interrupted(folder: Path, *arguments: object) -> object:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(folder.name)
        return whole(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "run_training", interrupted)
    assert main([*command, "--out", "c"]) == 130
    assert "go on with: mnas compare --train --resume c" in capsys.readouterr().err
    assert trained == ["efficientnet_b0-seed0", "mnasnet_b1-seed0", "efficientnet_b0-seed1"]
    kept = {name: Path("c", name, WEIGHTS).stat().st_mtime_ns for name in trained}
    monkeypatch.setattr(comparison, "run_training", whole)
    assert main(["compare", "--train", "--resume", "c", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert kept == {name: Path("c", name, WEIGHTS).stat().st_mtime_ns for name in trained}
    first, reference = found["networks"]
    assert (first["name"], reference["name"]) == ("efficientnet_b0", "mnasnet_b1")
    (difference,) = found["differences"]
    assert difference["mean"] == pytest.approx(np.mean(np.array(first["top1"]) - reference["top1"]))
    # Each training is one of its own: mnas evaluate says the same of it.
    for network in (first, reference):
        for seed, top1 in enumerate(network["top1"]):
            assert main(["evaluate", f"c/{network['name']}-seed{seed}", "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["top1"] == top1
    assert main(["compare", "--train", "--resume", "c"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 epochs, 16 images a step, seeds 0 to 1" in shown
    assert "12 test images, which no training saw" in shown
    assert "efficientnet_b0: " in shown


def test_equal_macs_are_bought_with_epochs(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As many epochs as have the reference's MACs in all, and one at the least."""
    options = ("--data", images, *OPTIONS, "--seeds", "1", "--equal", "macs", "--json")
    assert main(["compare", "mnasnet_small", "efficientnet_b0", *options, "--out", "c"]) == 0
    small, large = json.loads(capsys.readouterr().out)["networks"]
    assert large["epochs"] == 2
    assert small["epochs"] == round(2 * large["macs"] / small["macs"]) > 4
    assert opened(Path("c/mnasnet_small-seed0"))[1].recipe.epochs == small["epochs"]
    assert main(["compare", "efficientnet_b0", "mnasnet_small", *options, "--out", "d"]) == 0
    large, small = json.loads(capsys.readouterr().out)["networks"]
    assert (large["epochs"], small["epochs"]) == (1, 2)


def test_batch_norm_sees_parts_of_one_size_in_all_networks(images: str) -> None:
    """However much memory each of them needs."""
    data = load_data(images)
    recipe = load_recipe("proxy").shortened(1).with_values(batch=16)
    trainings = []
    for name, at_once in (("efficientnet_b0", 4), ("mnasnet_b1", 16)):
        settings = TrainingSettings(data=images, recipe=recipe)
        trainings.append(planned(load(name), data, settings, width=0.2, micro_batch=at_once)[:2])
    assert [settings.micro_batches for _, settings in trainings] == [4, 1]
    begin_comparison(Path("c"), Plan(("efficientnet_b0", "mnasnet_b1"), 1, "epochs"), trainings)
    assert {opened(folder)[1].micro_batches for folder in Path("c").iterdir() if folder.is_dir()} == {4}


def test_a_rate_too_high_and_recipes_of_their_own(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All networks have one recipe; a training that was given another is not compared."""
    two = ("efficientnet_b0", "mnasnet_b1", "--data", images, *OPTIONS, "--seeds", "2", "--epochs", "1")
    assert main(["compare", *two, "--learning-rate", "0.1", "--out", "c"]) == 0
    odd = Path("c/efficientnet_b0-seed1")
    assert opened(odd)[1].recipe.learning_rate == 0.1
    (odd / WEIGHTS).unlink()
    relearn(odd, 0.05)
    capsys.readouterr()
    assert main(["compare", "--train", "--resume", "c"]) == 2
    assert "efficientnet_b0-seed1 has a recipe of its own by now" in capsys.readouterr().err
    assert not (odd / WEIGHTS).exists()  # said before there was any work


def test_what_cannot_be_compared(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train").mkdir()
    write_folders(tmp_path / "untested" / "train")
    two = ("efficientnet_b0", "mnasnet_b1")
    for arguments, message in (
        ((*two, "--data", images), "data: goes with --train"),
        ((*two, "--seeds", "5"), "seeds: goes with --train"),
        (("--train", "--resume", "c", "--epochs", "7"), "epochs: a comparison that was begun has its own"),
        ((*two, "--train"), "compare: --train takes two SPEC or more and --data"),
        (("efficientnet_b0", "--train", "--data", images), "one SPEC is no comparison"),
        (("efficientnet_b0", "efficientnet_b0", "--train", "--data", images), "stands twice"),
        ((*two, "--train", "--data", "untested"), "untested has no test images"),
        ((*two, "--train", "--data", images, "--equal", "time"), "unknown equal 'time'"),
        ((*two, "--train", "--data", images, "--html", "f.html"), "html: goes without --train; leave"),
        ((*two, "--train", "--resume", "c"), "resume: a comparison has its own networks"),
        (("--train", "--resume", "c"), "resume: c holds no comparison"),
    ):
        assert main(["compare", *arguments]) == 2, arguments
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("runs").exists()
