"""A search for coefficients with real trainings: its result, resuming it, workers, and its report."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines import load
from baselines.training.folder import WEIGHTS, read_training
from nas.__main__ import main
from nas.runs import look_at
from nas.studies import trained_comparison as comparison
from nas.studies.contestants import Judged
from nas.studies.journal import StudyJournal
from scaling import CoefficientSpace
from scaling.compound import TINYNET, Coefficients
from scaling.studies import coefficient_search
from scaling.studies.candidates import MARKED, Candidate, candidate, candidates_of
from scaling.studies.coefficient_search import search_coefficients
from scaling.studies.racing import race
from scaling.studies.search_result import SEARCH, SearchPlan, read_result
from scaling.studies.standings import standings
from scaling.views import coefficient_search as view
from scaling.views.coefficient_search import _about_mark
from search_spaces import MnasError, architecture_cost
from search_spaces.serialization import from_dict
from tests.baselines.training.images import write_folders
from tests.pages import check_page
from tests.processes import killed_when

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

TRAINING = ("--recipe", "proxy", "--epochs", "1", "--batch", "16", "--width", "0.25", "--resolution", "16")
GRID = ("--depths", "1,1.5", "--widths", "1,1.3", "--sides", "16,20,24", "--target", "macs=2x", "--tolerance", "0.2")
RACING = ("--first", "2", "--seeds", "3", "--budget", "15")


def arguments(images: str, *more: str) -> list[str]:
    return ["scaling-search", "mnasnet_small", "--data", images, *TRAINING, *GRID, *RACING, *more]


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Trainings that take no time: accuracies are those of this dict by candidate, 0.5 by default, with a little noise.

    Returns the dict; its key ``stop`` is the number of trainings after which the next is interrupted.
    """
    skill: dict[str, float] = {}
    trained: list[str] = []

    def judged(call: Any) -> dict[str, Any]:
        read_training(call.folder)
        if len(trained) == skill.get("stop"):
            raise KeyboardInterrupt
        trained.append(call.folder.name)
        name, seed = call.payload["network"], call.payload["seed"]
        generator = np.random.default_rng((seed, *name.encode()))
        val, test = (generator.random(400) < skill.get(name, 0.5) for _ in range(2))
        return Judged(test, val).as_dict()

    monkeypatch.setattr(coefficient_search, "train_and_judge", judged)
    return skill


def test_a_search_trains_each_candidate_at_its_own_resolution(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its accuracies are those of its folders, its standings those of the race, and the report shows the same."""
    assert main(arguments(images, "--out", "s", "--json")) == 0
    found = result(capsys)
    plan, names = SEARCH.read(SearchPlan, Path("s")), [one["name"] for one in found["candidates"]]
    assert found["complete"]
    assert {mark for one in found["candidates"] for mark in one["marks"]} == set(MARKED)
    assert len({one["resolution"] for one in found["candidates"]}) > 1
    table = np.full((len(names), 3), np.nan)
    for place, one in enumerate(found["candidates"]):
        assert len(one["val_top1"]) in (2, 3)
        for seed, top1 in enumerate(one["val_top1"]):
            spec, settings = read_training(Path("s", f"{one['name']}-seed{seed}"))
            assert (settings.seed, settings.recipe.epochs) == (seed, 1)
            assert spec.architecture.resolution == one["resolution"]  # type: ignore[union-attr]
            assert architecture_cost(spec.architecture).macs == one["macs"]  # type: ignore[union-attr]
            table[place, seed] = top1
    one = found["candidates"][0]
    for part, tops in (("val", one["val_top1"]), ("test", one["test_top1"])):
        assert main(["evaluate", f"s/{one['name']}-seed1", "--part", part, "--json"]) == 0
        assert result(capsys)["top1"] == tops[1]
    assert race(table, plan.rule).ended == found["ended"]
    assert found["trainings"] == {"spent": int((~np.isnan(table)).sum()), "full": 3 * len(names)}
    assert look_at(Path("s")).kind == "scaling-search"
    assert look_at(Path("s")).state == "complete"
    assert main(["report", "s", "--json"]) == 0
    assert result(capsys) == found
    assert main(["report", "s", "--html", "s.html"]) == 0
    page = Path("s.html").read_text()
    assert all(name in page for name in names)
    # Nothing is left to train.
    before = {file: file.stat().st_mtime_ns for file in Path("s").glob(f"*/{WEIGHTS}")}
    assert main(["scaling-search", "--resume", "s"]) == 0
    assert before == {file: file.stat().st_mtime_ns for file in Path("s").glob(f"*/{WEIGHTS}")}
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{found['best']} is shown as best" in shown
    assert "each network at its own resolution" in shown


@pytest.mark.parametrize(
    ("depths", "widths", "target"),
    [("1", "0.6,0.7,0.8", "macs=0.7x"), pytest.param("1,5", "1", "macs=4.5x", marks=pytest.mark.slow)],
)
def test_no_family_grows_by_less_than_the_baseline_or_by_too_much(
    images: str, instant: dict[str, float], depths: str, widths: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    instant |= dict.fromkeys(MARKED, 0.05)
    grid = ("--depths", depths, "--widths", widths, "--sides", "16", "--target", target, "--tolerance", "0.4")
    assert main(["scaling-search", "mnasnet_small", "--data", images, *TRAINING, *grid, *RACING, "--out", "s"]) == 0
    best = read_result(Path("s")).best.candidate
    assert best.on_grid
    assert best.depth == 5 or best.width < 1
    assert read_result(Path("s")).grow is None
    assert "Next:" not in capsys.readouterr().out


def test_the_last_line_trains_a_family_of_the_same_baseline(
    images: str, instant: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    instant |= {"fast": 0.9}
    assert main(arguments(images, "--out", "s")) == 0
    found = read_result(Path("s"))
    following = found.grow
    assert following is not None
    shown = capsys.readouterr().out
    assert shown.count(following) == 1
    assert f"Next: {following}" in shown
    page = check_page(view.page(found).html()).text
    assert page.count(following) == 1
    own = found.best.candidate.macs
    assert "".join(page.split()).count(f"shownasbestfast{own:,}MACs") == 1
    assert f"{own:,}" not in found.plan.constraint
    words = shlex.split(following)[1:]
    growth = read_result(Path("s")).best.candidate.macs / read_result(Path("s")).plan.baseline.macs
    assert f"--macs 1x,{growth:.4g}x,{growth**2:.4g}x" in following
    assert main([*words, "--macs", "3x,4x", "--seeds", "1", "--out", "f"]) == 0
    name = read_result(Path("s")).plan.candidates[0].name
    baseline, settings = read_training(Path("s", f"{name}-seed0"))
    trained = [read_training(folder) for folder in Path("f").glob("*-seed0")]
    assert len(trained) == 2
    for found, as_before in trained:
        assert as_before.recipe == settings.recipe
        assert found.architecture.stem.stride == baseline.architecture.stem.stride  # type: ignore[union-attr]
        assert found.architecture.resolution == 16  # type: ignore[union-attr]


@pytest.mark.slow
def test_killed_and_resumed_with_workers(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A search with two workers that is killed in every round gives the same as one here that never was."""
    assert main(arguments(images, "--executor", "processes", "--out", "whole", "--json")) == 0
    whole = result(capsys)
    assert main(arguments(images, "--out", "here", "--json")) == 0
    assert {**result(capsys), "out": "whole"} == whole
    command = arguments(images, "--workers", "2", "--cores", "1", "--out", "cut")
    for done in (1, 4, 9, 11):
        killed_when(command, f"cut/*/{WEIGHTS}", done)
        command = ["scaling-search", "--resume", "cut"]
    assert main(["scaling-search", "--resume", "cut", "--json"]) == 0
    assert {**result(capsys), "out": "whole"} == whole
    with StudyJournal.open(Path("cut")) as journal:
        assert journal.execution.workers == 2  # as at its start


@pytest.mark.parametrize("stop", [*(pytest.param(stop, marks=pytest.mark.slow) for stop in (1, 11, 13)), 7])
def test_interrupted_and_resumed(
    images: str, instant: dict[str, float], stop: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result is that of a search that was never interrupted, whatever the round."""
    instant |= {"w": 0.2, "d": 0.45}
    assert main(arguments(images, "--out", "whole", "--json")) == 0
    whole = result(capsys)
    instant["stop"] = whole["trainings"]["spent"] + stop
    assert main(arguments(images, "--out", "cut")) == 130
    assert "resume with: mnas scaling-search --resume cut" in capsys.readouterr().err
    so_far = look_at(Path("cut"))
    assert (so_far.state, so_far.done) == ("interrupted", stop)
    assert read_result(Path("cut")).spent == stop
    assert main(["report", "cut"]) == 0
    assert "Resume: mnas scaling-search --resume cut" in capsys.readouterr().out
    del instant["stop"]
    assert main(["scaling-search", "--resume", "cut", "--json"]) == 0
    assert {**result(capsys), "out": "whole"} == whole


def test_stopped_candidates_get_no_more_seeds(
    images: str, instant: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad candidate stops after the first round, and the standings are those of the race on the validation part."""
    instant |= {"w": 0.05, "fast": 0.9}
    found = search_coefficients(
        "mnasnet_small",
        data=images,
        grid={"depths": (1, 1.5), "widths": (1, 1.3), "sides": (16, 20, 24), "tolerance": 0.2},
        rule={"first": 2, "seeds": 4, "budget": 30},
        options={"recipe": "proxy", "epochs": 1, "batch": 16, "width": 0.25, "resolution": 16},
        out="s",
    )
    assert found.best.candidate.name == "fast"
    worst = found.where("w")
    assert worst is not None
    assert (len(worst.val), worst.racing, worst.standing.verdict) == (2, False, "worse")
    assert not Path("s/w-seed2").exists()
    names = [one.name for one in found.plan.candidates]
    by_name = {entry.candidate.name: entry for entry in found.entries}
    table = np.full((len(names), 4), np.nan)
    for place, name in enumerate(names):
        table[place, : len(by_name[name].val)] = by_name[name].val
    assert found.race == race(table, found.plan.rule)
    same = {one.name: one.verdict for one in standings(names, table, found.plan.rule)}
    assert all(entry.may_be_best for entry in found.entries if same[entry.candidate.name] != "worse")
    assert found.spent == sum(found.race.seeds) < found.full == 4 * len(names)
    assert "of them can still be" not in capsys.readouterr().out
    shown = view.data(found)
    assert shown["best"] == "fast"
    assert shown["trainings"] == {"spent": found.spent, "full": found.full}


def test_ties_that_only_more_images_would_settle_are_named(
    images: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two candidates that differ alike with all seeds, but by few images."""

    def judged(call: Any) -> dict[str, Any]:
        generator = np.random.default_rng(call.payload["seed"])
        hits = np.arange(200) < 100
        hits[:4] = call.payload["network"] == "fast"  # four images, with every seed
        noise = generator.permutation(100)[:1] + 100
        hits[noise] = True
        return Judged(hits, hits).as_dict()

    monkeypatch.setattr(coefficient_search, "train_and_judge", judged)
    assert main(arguments(images, "--out", "s")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Result: fast is shown as best, and 4 cannot be told from it" in shown
    assert "were stopped, since they are worse on these validation images" in shown
    assert "only more images" in shown


def test_a_dimension_alone_is_told_by_the_network() -> None:
    """Of stages with one to four layers, a depth of 1.05 changes none if layers are rounded to the nearest."""
    parent = load("mnasnet_small")
    base = parent.architecture
    space = CoefficientSpace(
        base, (1.05, 1.5), (1, 1.5), (base.resolution,), target="macs=2x", tolerance=0.3, rounding=TINYNET
    )
    found = {one.name: one for one in candidates_of(parent, space).candidates}
    baseline = candidate(parent.name, Coefficients(1.0, 1.0, base.resolution), base)
    wide = found[f"d1.05-w1.5-r{base.resolution}"]
    assert wide.changed == ("w",)
    assert wide.is_alone("w", baseline)
    assert not wide.is_alone("d", baseline)
    assert not replace(wide, changed=None).is_alone("w", baseline)  # searches of earlier versions have factors alone
    assert replace(wide, depth=1, changed=None).is_alone("w", baseline)
    assert _about_mark("w", wide, baseline) == "width alone: "
    assert _about_mark("w", replace(wide, changed=("d", "w")), baseline) == "about width alone: "


def test_a_search_of_an_earlier_version_is_read() -> None:
    """Its candidates do not say what changed."""
    fields = {"name": "w", "depth": 1.0, "width": 1.5, "resolution": 24, "macs": 1, "params": 1, "activations": 1}
    assert from_dict(Candidate, fields, "candidate").changed is None
    assert from_dict(Candidate, {**fields, "changed": ["w"]}, "candidate").changed == ("w",)


def test_what_cannot_be_searched(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folders(tmp_path / "untested" / "train")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "scaling-search.json").touch()
    base = ("mnasnet_small", "--data", images, *TRAINING)
    for given, message in (
        (("mnasnet_small",), "scaling-search: expected SPEC and --data, or --resume FOLDER"),
        (("mnasnet_smal", "--data", images), "did you mean"),
        ((*base, "--depths", "1", "--widths", "1", "--sides", "16"), "grid: none of its 1 rows has"),
        ((*base, "--sides", "8,16"), "sides: 8 px is less than the network's total stride of 16 px"),
        ((*base, "--sides", "16,wide"), "'wide': expected a finite number"),
        ((*base, "--sides", "16:20"), "expected FROM:TO:STEP"),
        ((*base, "--sides", "16.5"), "expected integers"),
        ((*base, "--target", "macs=lots"), "'macs=lots': expected COST=VALUE"),
        ((*base, "--target", "latency=20ms"), "unknown target 'latency'"),
        ((*base, "--target", "macs=2x", "--product", "2"), "product: cannot be combined with a target"),
        ((*base, *GRID, "--budget", "9"), "budget: 9 trainings are too few for 3 seeds of 5 candidates; use 15"),
        ((*base, *GRID, "--level", "2"), "level: 2"),
        (("mnasnet_small", "--data", "untested", *TRAINING), "untested has no test images"),
        (
            (*base, *GRID, "--out", "old"),
            "old already holds a search for coefficients; choose another folder, or resume it with",
        ),
        (("--resume", "old", "--seeds", "5"), "seeds: --seeds cannot be combined with --resume"),
        (("--resume", "old", "--sides", "16"), "sides: --sides cannot be combined with --resume"),
        (("--resume", "images"), "resume: images holds no search for coefficients"),
    ):
        assert main(["scaling-search", *given]) == 2, given
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("runs").exists()
    with pytest.raises(TypeError, match="data: expected"):
        search_coefficients("mnasnet_small", data=3)  # type: ignore[arg-type]
    with pytest.raises(MnasError, match="no architecture"):
        search_coefficients("torchvision:resnet18", data=images)
    assert comparison.COMPARISON_FILE not in {file.name for file in tmp_path.iterdir()}
