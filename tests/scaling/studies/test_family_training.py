"""Trained families: members at their own sides, comparators at that of the images, and resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.training.folder import WEIGHTS, read_training
from nas.__main__ import main
from nas.studies import trained_comparison as comparison
from nas.studies.contestants import Judged
from scaling.studies.baseline import StudyOptions
from scaling.studies.family_training import FamilyPlan, create_family, read_result, run_family, train_family
from scaling.views import trained_family as view
from search_spaces import MnasError, architecture_cost
from tests.processes import killed_when

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

TRAINING = ("--recipe", "proxy", "--epochs", "1", "--batch", "16", "--width", "0.25", "--resolution", "20")
OPTIONS = StudyOptions(recipe="proxy", epochs=1, batch=16, width=0.25, resolution=20)


def arguments(images: str, *more: str) -> list[str]:
    return ["family", "mnasnet_small", "--train", "--data", images, *TRAINING, *more]


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, float]], None]:
    """Returns a function that makes trainings take no time, with the accuracies of a dict by the end of the name."""

    def use(skill: dict[str, float]) -> None:
        def judged(call: Any) -> dict[str, Any]:
            name, seed = call.payload["network"], call.payload["seed"]
            level = next((value for end, value in skill.items() if name.endswith(end)), 0.5)
            hits = np.random.default_rng((seed, *name.encode())).random(2000) < level
            return Judged(hits, hits[:500]).as_dict()

        monkeypatch.setattr(comparison, "train_and_judge", judged)

    return use


def test_a_family_is_trained(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Costs and accuracies of the result are those of the folders, and the report shows the same."""
    assert main(arguments(images, "--presets", "b0,b3", "--seeds", "1", "--out", "f", "--json")) == 0
    found = result(capsys)
    assert [one["label"] for one in found["members"]] == ["b0", "b3"]
    networks = {one["name"]: one for one in found["networks"]}
    for one in found["members"]:
        spec, _ = read_training(Path("f", f"{one['name']}-seed0"))
        assert architecture_cost(spec.architecture).macs == one["macs"] == networks[one["name"]]["macs"]  # type: ignore[union-attr]
        assert spec.architecture.resolution == one["resolution"]  # type: ignore[union-attr]
        assert main(["evaluate", f"f/{one['name']}-seed0", "--json"]) == 0
        assert result(capsys)["top1"] == networks[one["name"]]["top1"][0]
    assert main(["report", "f", "--json"]) == 0
    assert result(capsys) == found
    assert main(["report", "f", "--html", "f.html"]) == 0
    assert "mnasnet_small_b3" in Path("f.html").read_text()


@pytest.mark.usefixtures("torchvision")
def test_comparators_are_trained_beside(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    """A comparator has the side of the images, 16 px, and whole epochs that come near to the budget of MACs."""
    instant({"b0": 0.9})
    plan = FamilyPlan(presets=("b0", "b1"), comparators=("torchvision:resnet18",), seeds=3, equal="macs")
    options = StudyOptions(recipe="proxy", epochs=40, batch=16, width=0.25, resolution=20)
    found = train_family("mnasnet_small", data=images, plan=plan, options=options)
    by_name = {one.name: one for one in found.comparison.contestants}
    resnet, first = by_name["torchvision:resnet18"], by_name["mnasnet_small_b0"]
    assert resnet.resolution == 16
    assert (first.epochs, resnet.epochs) == (40, max(1, round(40 * first.macs / resnet.macs)))
    assert {one.name: one.verdict for one in found.comparison.differences} == {
        "torchvision:resnet18": "worse",
        "mnasnet_small_b1": "worse",
    }
    shown = view.data(found)
    assert shown["plan"]["comparators"] == ("torchvision:resnet18",)
    assert view.page(found).html()
    assert repr(found) == "TrainedFamily('runs/family', 2 members of mnasnet_small)"
    assert "torchvision:resnet18" in found._repr_html_()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "family: expected presets, or a rule and budgets"),
        (("--presets", "b0", "--rule", "w", "--macs", "2x"), "family: expected presets, or a rule and budgets"),
        (("--rule", "w"), "macs: missing"),
        (("--presets", "b0,b99"), "unknown preset 'b99'"),
        (("--presets", "b0"), "presets: expected two or more networks"),
        (("--rule", "fast", "--macs", "1x"), "macs: expected two or more networks"),
    ],
)
def test_bad_input(images: str, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str) -> None:
    """Nothing is written."""
    assert main(arguments(images, *more, "--out", "f")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("f").exists()


def test_interrupted_and_resumed(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    instant({})
    plan = FamilyPlan(presets=("b0", "b3"), seeds=2)
    create_family(Path("f"), "mnasnet_small", images, plan, OPTIONS)
    with pytest.raises(MnasError, match=r"0 of 4 trainings are done; finish it with: mnas family --resume f"):
        read_result(Path("f"))
    first = run_family(Path("f"))
    assert view.data(run_family(Path("f"))) == view.data(first) == view.data(read_result(Path("f")))


def test_a_folder_is_resumed_without_train(
    images: str, instant: Callable[[dict[str, float]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder says what it is."""
    instant({})
    create_family(Path("f"), "mnasnet_small", images, FamilyPlan(presets=("b0", "b3"), seeds=2), OPTIONS)
    assert main(["family", "--resume", "f", "--json"]) == 0
    assert result(capsys)["members"] == view.data(read_result(Path("f")))["members"]
    assert main(["family", "--resume", "f", "--latency"]) == 2
    assert "latency: --latency cannot be combined with --resume; measure the trained" in capsys.readouterr().err
    assert main(["family", "mnasnet_small", "--resume", "f"]) == 2
    assert "spec: SPEC cannot be combined with --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_resumed(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A family that is killed at several points gives the same as one that never was."""
    members = ("--presets", "b0,b1,b3", "--seeds", "2")
    assert main(arguments(images, *members, "--executor", "processes", "--out", "whole", "--json")) == 0
    whole = result(capsys)
    command = arguments(images, *members, "--workers", "2", "--cores", "1", "--out", "cut")
    for done in (1, 3, 5):
        killed_when(command, f"cut/*/{WEIGHTS}", done)
        command = ["family", "--train", "--resume", "cut"]
    assert main(["family", "--train", "--resume", "cut", "--json"]) == 0
    assert {**result(capsys), "out": "whole"} == whole
