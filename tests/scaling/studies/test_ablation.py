"""Ablations: real trainings at each variant's own resolution, what they say, and resuming them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scaling
from baselines.training.folder import WEIGHTS, read_training
from nas.__main__ import main
from nas.runs import look_at
from nas.studies import trained_comparison as comparison
from nas.studies.contestants import Judged
from scaling.studies.ablation import MAPS, AblationPlan, create_ablation, read_result, run_ablation
from scaling.studies.baseline import StudyOptions
from scaling.views import ablation as view
from search_spaces import MnasError, architecture_cost
from tests.baselines.training.images import write_folders
from tests.pages import check_page
from tests.processes import killed_when

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

TRAINING = ("--recipe", "proxy", "--epochs", "1", "--batch", "16", "--width", "0.25", "--resolution", "20")
RULES = ("d", "w", "dwr")


def arguments(images: str, *more: str) -> list[str]:
    return ["ablate", "mnasnet_small", "--data", images, *TRAINING, "--rules", ",".join(RULES), *more]


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, float]], None]:
    """Returns a function that makes trainings take no time, with the accuracies of a dict by rule (0.5 by default)."""

    def use(skill: dict[str, float]) -> None:
        def judged(call: Any) -> dict[str, Any]:
            name, seed = call.payload["network"], call.payload["seed"]
            generator = np.random.default_rng((seed, *name.encode()))
            # Images differ in difficulty, alike for all networks, and seeds differ by about half a point.
            difficulty = np.random.default_rng(0).random(4000)
            level = skill.get(name.rpartition("_")[2], 0.5) + 0.005 * generator.standard_normal()
            return Judged(difficulty < level, difficulty[:1000] < level).as_dict()

        monkeypatch.setattr(comparison, "train_and_judge", judged)

    return use


def ablation(images: str, rules: tuple[str, ...] = RULES, **plan: Any) -> Any:
    options = StudyOptions(recipe="proxy", epochs=1, batch=16, width=0.25, resolution=20)
    create_ablation(Path("a"), "mnasnet_small", images, AblationPlan(rules=rules, **plan), options)
    return run_ablation(Path("a"))


def test_variants_are_trained_at_their_own_resolution(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Costs and accuracies of the result are those of the folders; the report shows the same, with maps."""
    assert main(arguments(images, "--seeds", "2", "--out", "a", "--json")) == 0
    found = result(capsys)
    assert [one["rule"] for one in found["variants"]] == list(RULES)
    assert len({one["resolution"] for one in found["variants"]}) > 1
    base = next(one for one in found["networks"] if one["name"] == "mnasnet_small")
    assert base["resolution"] == 20
    for one in found["variants"]:
        assert one["macs"] == pytest.approx(2 * base["macs"], rel=0.02)
        for seed in range(2):
            spec, settings = read_training(Path("a", f"{one['name']}-seed{seed}"))
            assert (settings.seed, settings.recipe.epochs) == (seed, 1)
            assert architecture_cost(spec.architecture).macs == one["macs"]  # type: ignore[union-attr]
            assert spec.architecture.resolution == one["resolution"]  # type: ignore[union-attr]
    last = found["networks"][0]
    assert main(["evaluate", f"a/{last['name']}-seed1", "--json"]) == 0
    assert result(capsys)["top1"] == last["top1"][1]
    assert Path("a", MAPS).read_bytes().startswith(b"\x89PNG")
    assert main(["report", "a", "--json"]) == 0
    assert result(capsys) == found
    assert (look_at(Path("a")).kind, look_at(Path("a")).state) == ("ablation", "complete")
    assert main(["report", "a", "--html", "a.html"]) == 0
    page = Path("a.html").read_text()
    assert all(text in page for text in ("Is compound scaling better here?", "data:image/png;base64", "dwr"))
    before = {file: file.stat().st_mtime_ns for file in Path("a").glob(f"*/{WEIGHTS}")}
    assert main(["ablate", "--resume", "a"]) == 0
    assert before == {file: file.stat().st_mtime_ns for file in Path("a").glob(f"*/{WEIGHTS}")}
    assert "Is compound scaling better here?" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("skill", "words"),
    [
        (
            {"d": 0.5, "w": 0.5, "dwr": 0.7},
            "Yes: dwr is the best, and every single dimension",
        ),
        (
            {"d": 0.5, "w": 0.7, "dwr": 0.5},
            "No: about width alone is the best, and every compound rule",
        ),
        ({"d": 0.7, "w": 0.7, "dwr": 0.5}, "No: "),
        ({"d": 0.3, "w": 0.7, "dwr": 0.7}, "This cannot tell:"),
    ],
)
def test_answers(images: str, instant: Callable[[dict[str, float]], None], skill: dict[str, float], words: str) -> None:
    """With differences of twenty points, far outside the noise, the answer follows from the accuracies."""
    instant(skill)
    found = ablation(images, seeds=5)
    assert found.answer.startswith(words)
    assert {found.variant(one.name).rule for one in found.standings if one.verdict == "worse"} == {
        rule for rule, level in skill.items() if level < max(skill.values())
    }
    assert 0 < found.detectable < 0.05


def test_one_network_of_two_rules_answers_for_both(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    instant({"d": 0.5, "w": 0.7, "dwr": 0.5})
    found = ablation(images, seeds=5)
    both = [replace(variant, same=("fast",) if variant.rule == "w" else ()) for variant in found.variants]
    found = replace(found, variants=tuple(both))
    assert found.answer == "This cannot tell: w and fast make one network, which is the best."
    assert found.ties == ("w", "fast")
    alone = replace(found, variants=tuple(one for one in both if one.rule != "dwr"))
    assert "Not asked" not in alone.answer


def test_a_table_names_rules_and_what_they_grow(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    instant({})
    found = ablation(images, ("d", "w", "dw", "dwr"), seeds=2)
    table = check_page(view.page(found).html()).tables[0]
    assert [row[0] for row in table.rows] == [
        "d (depth alone)",
        "w (about width alone)",
        "dw (depth and width)",
        "dwr (all three)",
        "baseline",
    ]


def test_what_was_not_asked_is_not_answered(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    instant({"w": 0.9})
    assert ablation(images, ("d", "w"), seeds=3).answer.startswith("Not asked")


def test_a_winner_below_the_baseline(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    """All variants are worse than the baseline, whose name ends in "small"."""
    instant({"small": 0.9, "dwr": 0.6})
    found = ablation(images, seeds=5)
    assert found.answer.startswith("Yes: dwr")
    assert found.answer.endswith("It is not better than the baseline, though.")


def test_other_studies_are_not_resumed(
    images: str, instant: Callable[[dict[str, float]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    instant({})
    ablation(images, seeds=2)
    assert main(["compare", "--train", "--resume", "a"]) == 2
    assert "a holds a study of the kind ablation; use mnas ablate --resume" in capsys.readouterr().err
    assert main(["ablate", "--resume", images]) == 2
    assert "holds no ablation" in capsys.readouterr().err


def test_one_seed_tells_nothing(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    instant({"dwr": 0.9})
    found = ablation(images, seeds=1)
    assert found.detectable is None
    assert found.answer.startswith("One seed cannot tell")
    assert {one.verdict for one in found.standings} == {"unknown"}
    assert view.page(found).html()


def test_in_python(images: str, instant: Callable[[dict[str, float]], None]) -> None:
    instant({})
    options = StudyOptions(recipe="proxy", epochs=1, batch=16, width=0.25, resolution=20)
    found = scaling.ablate("mnasnet_small", data=images, plan=AblationPlan(rules=("d", "w")), options=options)
    assert found.folder == Path("runs/ablate")
    assert len(found.variants) == 2
    assert view.data(found)["answer"] == found.answer
    assert repr(found) == f"Ablation('runs/ablate', macs=2x: {found.answer})"
    assert "Is compound scaling better here?" in found._repr_html_()


@pytest.mark.parametrize(
    ("side", "start", "why"), [(32, 24, "something to add"), (16, 16, "the least that its strides")]
)
def test_a_large_baseline_starts_below_the_images(
    tmp_path: Path, images: str, instant: Callable[[dict[str, float]], None], side: int, start: int, why: str
) -> None:
    """It has 224 px, and the images 32 or 16; its strides after the stem's allow no less than 16 px."""
    instant({})
    source = str(write_folders(tmp_path / "sized", count=40, side=side))
    options = StudyOptions(recipe="proxy", epochs=1, batch=16, width=0.25)
    found = scaling.ablate("mnasnet_small", data=source, plan=AblationPlan(rules=("d", "w")), options=options)
    assert found.baseline.resolution == start
    assert f"starts at {start} px" in found.notes[0]
    assert why in found.notes[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--rules", "w"), "rules: expected two or more"),
        (("--rules", "w,wd"), "unknown rule 'wd'"),
        (("--target", "macs=2y"), "expected COST=VALUE"),
        (("--target", "macs=1000000x"), "is out of reach of the rule"),
        (("--equal", "params"), "equal: unknown"),
        (("--regularise", "published"), "the recipe proxy sets the same dropout"),
        (("--resume", "a"), "cannot be combined with --resume"),
    ],
)
def test_bad_input(images: str, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str) -> None:
    """Nothing is written."""
    assert main(arguments(images, *more, "--out", "a")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("a").exists()


def test_an_unfinished_ablation_is_not_reported(images: str) -> None:
    options = StudyOptions(recipe="proxy", epochs=1, batch=16, width=0.25, resolution=20)
    create_ablation(Path("a"), "mnasnet_small", images, AblationPlan(rules=("d", "w"), seeds=2), options)
    with pytest.raises(MnasError, match=r"a: 0 of 6 trainings are done; finish it with: mnas ablate --resume a"):
        read_result(Path("a"))


@pytest.mark.slow
def test_killed_and_resumed(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An ablation that is killed at several points gives the same as one that never was."""
    assert main(arguments(images, "--seeds", "2", "--executor", "processes", "--out", "whole", "--json")) == 0
    whole = result(capsys)
    command = arguments(images, "--seeds", "2", "--workers", "2", "--cores", "1", "--out", "cut")
    for done in (1, 3, 6):
        killed_when(command, f"cut/*/{WEIGHTS}", done)
        command = ["ablate", "--resume", "cut"]
    assert main(["ablate", "--resume", "cut", "--json"]) == 0
    assert {**result(capsys), "out": "whole"} == whole
