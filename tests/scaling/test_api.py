"""`scaling.scale` and `scaling.solve`, and `mnas scale`, which shows why a network has its coefficients."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import scaling
from baselines import load
from baselines.registry import PACKAGED
from baselines.spec import read_spec, write_spec
from nas.__main__ import main
from scaling import Budget, scale
from scaling.compound import PYCLS
from search_spaces import MnasError, architecture_cost
from search_spaces.adaptation import adapted


def macs(name: str, **arguments: Any) -> int:
    return architecture_cost(scaling.scale(name, **arguments).architecture).macs


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command shows, on one line."""
    assert main(["scale", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_rules_and_their_default() -> None:
    # pycls: fast at twice the MACs of B0 has 781,816,464.
    assert (
        macs("efficientnet_b0", rule="fast", factor=2) == macs("efficientnet_b0", rule="dWr", factor=2.0) == 781816464
    )
    assert scaling.scale("efficientnet_b0", phi=2) == scaling.scale("efficientnet_b0", rule="EfficientNet", phi=2)
    mine = scaling.scale("efficientnet_b0", phi=1, alpha=1.2, beta=1.1, gamma=1.15)
    assert mine.architecture == scaling.scale("efficientnet_b0", phi=1).architecture
    assert "a1.2 b1.1 g1.15" in mine.provenance.scaling.rule  # type: ignore[union-attr]


def test_a_target_in_every_form() -> None:
    forms: list[dict[str, Any]] = [{"target_macs": 10**9}, {"target": "macs=1G"}, {"target": Budget("macs", 1e9)}]
    solution = scaling.solve("efficientnet_b0", target="macs=1G")
    specs = [scaling.scale("efficientnet_b0", **form) for form in [*forms, {"target": solution}]]
    assert all(spec == specs[0] for spec in specs)
    assert specs[0].name == "efficientnet_b0_macs1G"
    assert abs(architecture_cost(specs[0].architecture).macs / 1e9 - 1) <= 0.01
    record = specs[0].provenance.scaling
    assert record is not None
    assert (record.width, record.depth) == (solution.coefficients.width, solution.coefficients.depth)
    assert record.rule.startswith("efficientnet, macs=1G, layers rounded up, channels to 8 by the 90 % rule")


@pytest.mark.parametrize(
    ("arguments", "name", "words"),
    [
        ({"phi": 2}, "efficientnet_b0_phi2", "efficientnet, phi 2, layers rounded up, channels to 8 by the 90 % rule"),
        ({"rule": "fast", "factor": 2}, "efficientnet_b0_fast_x2", "fast, factor 2, layers rounded, channels to 8"),
        ({"rule": "dwr", "target": "params=2x"}, "efficientnet_b0_dwr_params2x", "dwr, params=2x, layers rounded"),
        ({"preset": "B3"}, "efficientnet_b0_b3", "preset b3"),
        ({"width": 1.5, "keep": ["head"]}, "efficientnet_b0_w1.5d1r224keep-head", "w1.5 d1 r224 keep-head"),
        ({"target": "memory=2x", "batch": 8}, "efficientnet_b0_memory2x_batch8", "memory=2x with batch 8"),
        ({"phi": 1, "activation": "gelu"}, "efficientnet_b0_phi1_gelu", "activation gelu"),
        (
            {"factor": 0.5, "rule": "tinynet"},
            "efficientnet_b0_tinynet_x0.5",
            "tinynet, factor 0.5, layers rounded, channels to 8 by the 90 % rule, keep stem, keep large-head",
        ),
        (
            {"phi": 1, "alpha": 1.3, "beta": 1.2, "gamma": 1.1},
            "efficientnet_b0_a1.3b1.2g1.1_phi1",
            "alpha * beta^2 * gamma^2 = 2.265",
        ),
    ],
)
def test_the_record_says_how(arguments: dict[str, Any], name: str, words: str, tmp_path: Path) -> None:
    spec = scaling.scale("efficientnet_b0", **arguments)
    assert spec.name == name
    assert words in spec.provenance.scaling.rule  # type: ignore[union-attr]
    write_spec(spec, tmp_path / "spec.yaml")
    assert read_spec(tmp_path / "spec.yaml") == spec


def test_files_of_older_versions_load(tmp_path: Path) -> None:
    text = (PACKAGED / "efficientnet_b1.yaml").read_text()
    assert "rule: preset b1" in text
    for rule in ("phi 2", "phi 1 keep-head", "w1.2 d1.4 r300"):
        (tmp_path / "old.yaml").write_text(text.replace("rule: preset b1", f"rule: {rule}"))
        record = read_spec(tmp_path / "old.yaml").provenance.scaling
        assert record is not None
        assert record.rule == rule


def test_an_activation_is_part_of_what_is_solved() -> None:
    """ReLU keeps its outputs alone for the backward pass, so a training needs less memory."""
    swish, relu = (
        scaling.solve("efficientnet_b0", target="memory=8G", batch=64, activation=name) for name in ("swish", "relu")
    )
    assert (swish.architecture.activation, relu.architecture.activation) == ("swish", "relu")
    assert architecture_cost(relu.architecture).macs > 1.1 * architecture_cost(swish.architecture).macs
    assert scaling.scale("efficientnet_b0", target=relu, activation="relu").architecture == relu.architecture


def test_parts_to_keep_join_those_of_the_rule() -> None:
    b0 = load("efficientnet_b0").architecture
    solution = scaling.solve(b0, rule="tinynet", target="macs=0.4x", keep=["ends", "stem"])
    assert solution.rule.keep == ("stem", "large-head", "ends")
    assert [solution.architecture.stages[place].num_layers for place in (0, -1)] == [1, 1]
    assert solution.architecture.head == b0.head
    assert solution.rule.rounding != PYCLS


FAST = {"rule": "fast"}
OWN = {"alpha": 1.2, "beta": 1.1, "gamma": 1.15}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "scale: expected one of preset, phi, factor, a target, or width, depth and resolution"),
        ({"phi": 1, "target": "macs=2x"}, "scale: expected one of .*; got phi and target"),
        ({"factor": 2, "width": 2.0}, "scale: expected one of .*; got factor and width"),
        (FAST, "rule: expected phi, factor or a target with a rule; add one of them"),
        (OWN, "alpha: expected phi, factor or a target with a rule"),
        ({**FAST, "phi": 1}, "phi: the rule fast has none; use --factor with the growth of MACs instead"),
        ({**FAST, "preset": "b1"}, "rule: cannot be combined with a preset; use it with phi"),
        ({**FAST, "depth": 2.0}, "rule: cannot be combined with width, depth and resolution"),
        ({"preset": "b1", "keep": ["head"]}, "keep: cannot be combined with a preset"),
        ({"phi": 1, "alpha": 1.2}, "alpha, beta, gamma: must be given together; add beta and gamma"),
        ({"target": "macs=2x", "alpha": 1.2, "gamma": 1}, "must be given together; add beta"),
        ({**OWN, **FAST, "factor": 2}, "rule: 'fast' cannot be combined with alpha, beta and gamma"),
        ({"phi": 1, "batch": 8}, "batch: is for a memory target"),
        ({"target": "macs=1G", "batch": 8}, "batch: is for --target memory"),
        ({"target": "macs=1G", "target_macs": 10**9}, "target: cannot be combined with target_macs; remove one"),
        ({"phi": 1, "activation": "swich"}, "activation: unknown activation 'swich'; did you mean 'swish'"),
        ({"phi": 1, "keep": ["heads"]}, "keep: unknown keep 'heads'; did you mean 'head'"),
        ({"factor": math.inf}, "factor: inf is not a number from 0.001 to 10000"),
        ({"factor": 2, "rule": "lacs"}, "unknown rule 'lacs'; did you mean 'lacs-gpu'"),
        ({"resolution": 20}, "resolution: 20 is smaller than the network's total stride of 32"),
        ({"width": 0.01}, "width: 0.01 is not a number from 0.05 to 50"),
    ],
)
def test_what_cannot_be_meant(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(MnasError, match=problem) as caught:
        scaling.scale("efficientnet_b0", **arguments)
    assert "\n" not in str(caught.value)


def test_a_solution_is_for_its_network() -> None:
    solution = scaling.solve("efficientnet_b0", target="macs=2x")
    for arguments in ({"network": "mobilenet_v2"}, {"network": "efficientnet_b0", "activation": "gelu"}):
        with pytest.raises(MnasError, match="target: this Solution is for another network or activation; solve it"):
            scaling.scale(target=solution, **arguments)  # type: ignore[arg-type]
    with pytest.raises(MnasError, match="rule: cannot be combined with a Solution as target"):
        scaling.scale("efficientnet_b0", target=solution, rule="fast")
    with pytest.raises(MnasError, match="target: missing; add a target"):
        scaling.solve("efficientnet_b0")
    with pytest.raises(TypeError, match="target: expected str or Budget or None, got Solution"):
        scaling.solve("efficientnet_b0", target=solution)  # type: ignore[arg-type]


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("workplace")
def test_the_command_shows_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "efficientnet_b0", "--target", "macs=1G")
    solution = scaling.solve("efficientnet_b0", target="macs=1G")
    found = architecture_cost(solution.architecture)
    for part in (
        f"MACs 385,814,752 → {found.macs:,}",
        f"activations 6,748,036 → {found.activations:,}",
        "Rule: efficientnet: the paper's rule",
        f"Budget: macs=1G; found {found.macs / 1e6:.1f}M ({100 * solution.error:+.2f} %)",
        f"it departs by {solution.departure:.3f} in log MACs",
        "multiplies MACs by",
        "27.9 %",  # the paper's share of depth: log 1.2 / log 1.92
        f"resolution {solution.coefficients.resolution} px ×{solution.growth.resolution:.3f}",
    ):
        assert part in text
    assert "Written: specs/efficientnet_b0_macs1G.yaml" in text


@pytest.mark.usefixtures("workplace")
def test_the_command_says_where_a_rule_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    between = said(capsys, "efficientnet_b0", "--rule", "tinynet", "--target", "macs=250M")
    assert "Points: interpolated in log MACs between tinynet_b and tinynet_a" in between
    beyond = said(capsys, "efficientnet_b0", "--rule", "tinynet", "--factor", "3")
    assert "Points: beyond the published points: continued with the shares of tinynet_e" in beyond
    other = said(capsys, "efficientnet_b0", "--preset", "x_gpu_b2")
    assert "coefficients of another family (fused blocks, space-to-depth stem)" in other
    assert "efficientnet_x_builder.py" in other
    note = said(capsys, "efficientnet_b0", "--alpha", "1.3", "--beta", "1.2", "--gamma", "1.1", "--phi", "1")
    assert "Note: alpha * beta^2 * gamma^2 = 2.265, not about 2" in note


@pytest.mark.usefixtures("workplace")
def test_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["scale", "efficientnet_b0", "--rule", "lacs-gpu", "--target-macs", "800M", "--json"]
    assert main(command) == 0
    data = json.loads(capsys.readouterr().out)
    solution = scaling.solve("efficientnet_b0", rule="lacs-gpu", target_macs=800_000_000)
    budget = data["scaled"]["budget"]
    assert budget["found"] == data["macs"] == solution.found
    assert (budget["departure"], budget["published"]) == (solution.departure, True)
    assert data["scaled"]["rule"]["points"].startswith("interpolated in log MACs between x_gpu_b1 and x_gpu_b2")
    assert macs("efficientnet_b0", preset="x_gpu_b1") < 800e6 < macs("efficientnet_b0", preset="x_gpu_b2")
    assert sum(budget["rule_shares"].values()) == pytest.approx(1)
    assert data["scaled"]["growth"]["before"]["activations"] == 6_748_036
    assert data["file"] == "specs/efficientnet_b0_lacs-gpu_macs800M.yaml"
    assert main(["scale", "efficientnet_b0", "--preset", "b1", "--json"]) == 0
    source = "tensorflow/tpu efficientnet_builder.py"
    assert json.loads(capsys.readouterr().out)["scaled"]["preset"] == {"name": "b1", "source": source, "note": None}


@pytest.mark.usefixtures("workplace")
def test_a_measured_latency_is_shown_as_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaling.budget.measured_latency", lambda network: 1e-10 * architecture_cost(network).macs)
    text = said(capsys, "efficientnet_b0", "--target", "latency=80ms")
    assert "Time: median of 20 runs of one image after 5 to warm up, measured on" in text
    assert "another run will differ" in text


@pytest.mark.usefixtures("workplace")
def test_the_command_refuses_before_it_measures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(network: object) -> float:
        raise AssertionError("measured")

    monkeypatch.setattr("scaling.budget.measured_latency", measured)
    assert main(["scale", "efficientnet_b0", "--preset", "b1", "--target", "latency=20ms"]) == 2
    assert "got preset and target" in capsys.readouterr().err
    assert main(["scale", "efficientnet_b0", "--width", "0", "--keep", "head"]) == 2
    assert "width: 0.0 is not a number from 0.05 to 50" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_a_target_in_macs_may_be_a_float() -> None:
    assert scaling.scale("efficientnet_b0", target_macs=1e9) == scaling.scale("efficientnet_b0", target="macs=1G")


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"depth": 0.2}, r"depth: 0.2 leaves less than one layer in every stage; use 0.25 or more"),
        ({"rule": "w", "factor": 0.001}, r"factor: 0.001 by the rule w leads to width: .* use one nearer to 1"),
        ({"rule": "r", "factor": 0.001}, r"factor: 0.001 by the rule r leads to resolution: 8 is smaller than"),
    ],
)
def test_what_leaves_no_network(factors: dict[str, Any], message: str) -> None:
    with pytest.raises(MnasError, match=message):
        scale("efficientnet_b0", **factors)


def test_fewer_channels_than_eight_are_refused() -> None:
    narrow = adapted(load("efficientnet_b0").architecture, 32, 10, 0.1)  # 32 channels in its widest stage
    with pytest.raises(MnasError, match=r"width: 0.1 leaves fewer than 8 channels in every stage; use 0.25 or more"):
        scale(narrow, width=0.1)


def test_what_a_small_factor_cannot_do_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scale", "efficientnet_b0", "--width", "0.2", "--depth", "0.5"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "would leave less than one layer in 2 and fewer than 8 channels in 2 of 7 stages" in shown
    assert main(["scale", "efficientnet_b0", "--width", "1.1"]) == 0
    assert "would leave" not in capsys.readouterr().out
