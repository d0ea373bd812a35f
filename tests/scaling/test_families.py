"""Families: coefficients and costs of the members, and writing all of them or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from baselines import load
from baselines.spec import BaselineSpec, Provenance
from nas.__main__ import main
from scaling import FamilyPlan, family, scale
from scaling.compound import Coefficients, compound_scale
from search_spaces import MnasError, architecture_cost
from search_spaces.adaptation import adapted
from tests.scaling.test_compound import RELEASED


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_released_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Params and MACs of B0 to B7 are those of torchvision; the specs are written, and can be used by name."""
    monkeypatch.chdir(tmp_path)
    assert main(["family", "efficientnet_b0", "--presets", "b0..b7", "--json"]) == 0
    found = result(capsys)["members"]
    assert {one["label"]: (one["params"], one["macs"]) for one in found} == RELEASED
    assert load("efficientnet_b0_b4").architecture == load("efficientnet_b4").architecture
    assert main(["family", "efficientnet_b0", "--presets", "b0..b7"]) == 0
    assert "efficientnet_b0_b7" in capsys.readouterr().out


def test_ranges_of_presets() -> None:
    labels = [member.label for member in family("efficientnet_b0", presets=("tinynet_c..tinynet_a", "b2..b1")).members]
    assert labels == ["tinynet_c", "tinynet_b", "tinynet_a", "b2", "b1"]
    for wrong in ("b0..lite3", "b0..", "b0..b99"):
        with pytest.raises(MnasError, match=r"presets: .*: expected a range within one series"):
            family("efficientnet_b0", presets=(wrong,))


def test_lists_may_be_texts_as_on_the_command_line() -> None:
    assert family("efficientnet_b0", presets="b0..b2") == family("efficientnet_b0", presets=["b0", "b1", "b2"])
    assert family("efficientnet_b0", macs="0.5x,800M") == family("efficientnet_b0", macs=["0.5x", 800e6])
    plan = FamilyPlan(macs=[1e9, "2x"], comparators="torchvision:resnet18, torchvision:resnet50")  # type: ignore[arg-type]
    assert plan.macs == ("1G", "2x")
    assert plan.comparators == ("torchvision:resnet18", "torchvision:resnet50")
    assert scale("efficientnet_b0", width=1.2, keep="stem,head") == scale(
        "efficientnet_b0", width=1.2, keep=("stem", "head")
    )


def test_in_a_notebook() -> None:
    found = family("efficientnet_b0", presets=("b1", "b2"))
    assert repr(found) == "Family(efficientnet_b0_b1, efficientnet_b0_b2)"
    assert "686.8M" in found._repr_html_()


def test_all_specs_are_written_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("specs").mkdir()
    Path("specs/mobilenet_v2_fast_macs2x.yaml").write_text("mine")
    found = family("mobilenet_v2", rule="fast", macs=("1.5x", "2x"))
    with pytest.raises(MnasError, match=r"mobilenet_v2_fast_macs2x\.yaml: already exists with other content"):
        found.write()
    assert [file.name for file in Path("specs").iterdir()] == ["mobilenet_v2_fast_macs2x.yaml"]
    assert [file.name for file in found.write(tmp_path / "others")] == [f"{spec.name}.yaml" for spec in found.specs]


def test_latency_is_measured_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["family", "mnasnet_small", "--rule", "w", "--macs", "0.5x,1.5x", "--latency", "--json"]) == 0
    found = result(capsys)
    assert [one["name"] for one in found["latency"]["timings"]] == [one["name"] for one in found["members"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "family: expected presets, or a rule and budgets"),
        (("--presets", "b0,b77"), "unknown preset 'b77'"),
        (("--rule", "fast", "--macs", "2q"), "2q"),
        (("--rule", "d", "--macs", "1x,0.01x"), "out of reach of the rule d"),
        (("--presets", "b0", "--seeds", "3"), "--seeds needs --train"),
        (("--presets", "b0", "--data", "x"), "--data needs --train"),
        (
            ("--presets", "b0", "--data", "x", "--train", "--specs", "y"),
            "specs: --specs cannot be combined with --train",
        ),
        (("--resume", "x", "--specs", "y"), "specs: --specs cannot be combined with --resume"),
    ],
)
def test_bad_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["family", "efficientnet_b0", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_members_are_in_proportion_to_their_baseline() -> None:
    """From 112 px, half of B0's side, B3 (width 1.2, depth 1.4, 300 px) has 150 px, on the lattice of 4 px: 152."""
    base = BaselineSpec("half", adapted(load("efficientnet_b0").architecture, 112, 10), Provenance("a test"))
    found = family(base, presets=("b0", "b3"))
    b0, b3 = found.specs
    assert b0.architecture == base.architecture
    assert b3.architecture == compound_scale(base.architecture, Coefficients(1.2, 1.4, 152, dropout=0.3))
    assert [member.macs for member in found.members] == [architecture_cost(spec.architecture).macs for spec in (b0, b3)]


def test_members_at_budgets() -> None:
    base = BaselineSpec("half", adapted(load("efficientnet_b0").architecture, 112, 10), Provenance("a test"))
    own = architecture_cost(base.architecture).macs
    found = family(base, rule="fast", macs=("0.5x", "2x", 3e8))
    wanted = (0.5 * own, 2 * own, 3e8)
    assert [architecture_cost(spec.architecture).macs for spec in found.specs] == pytest.approx(wanted, rel=0.01)
    assert [member.label for member in found.members] == ["fast_macs0.5x", "fast_macs2x", "fast_macs300M"]


def test_members_that_are_one_network_are_refused() -> None:
    """Budgets that differ by a thousandth are met by one network."""
    base = BaselineSpec("narrow", adapted(load("efficientnet_b0").architecture, 20, 10, 0.25), Provenance("a test"))
    with pytest.raises(MnasError, match=r"family: fast_macs2.001x is the same network as narrow_fast_macs2x"):
        family(base, rule="fast", macs=("2x", "2.001x"))


@pytest.mark.parametrize(
    ("of_family", "of_scale"),
    [
        (["--presets", "b3"], ["--preset", "b3"]),
        (["--presets", "b3", "--activation", "gelu"], ["--preset", "b3", "--activation", "gelu"]),
        (["--rule", "fast", "--macs", "600M"], ["--rule", "fast", "--target", "macs=600M"]),
        (["--rule", "efficientnet", "--macs", "2x"], ["--target", "macs=2x"]),
        (["--alpha", "1.1", "--beta", "1.2", "--gamma", "1.1", "--macs", "3x"],
         ["--alpha", "1.1", "--beta", "1.2", "--gamma", "1.1", "--target", "macs=3x"]),
    ],
)  # fmt: skip
def test_a_member_is_the_spec_that_scale_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_family: list[str], of_scale: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scale", "efficientnet_b0", *of_scale]) == 0
    (written,) = Path("specs").iterdir()
    content = written.read_bytes()
    assert main(["family", "efficientnet_b0", *of_family]) == 0
    assert list(Path("specs").iterdir()) == [written]
    assert written.read_bytes() == content
