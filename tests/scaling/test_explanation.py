"""The explanation of a scaled network: published phi and growth, rounding, odd maps, and what rules recommend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import scaling
from baselines import load
from baselines.spec import BaselineSpec, Provenance
from nas.__main__ import main
from scaling.sizes import CHEAP
from scaling.views import explanation as view
from search_spaces import architecture_cost
from search_spaces.adaptation import adapted

# Fitted phi of depth, width and resolution of the released networks, by hand from their coefficients: log d / log 1.2,
# log w / log 1.1, log (px / 224) / log 1.15.
PHI = {
    "b1": (0.52, 0.00, 0.49),
    "b2": (1.00, 1.00, 1.07),
    "b3": (1.85, 1.91, 2.09),
    "b4": (3.22, 3.53, 3.78),
    "b5": (4.32, 4.93, 5.09),
    "b6": (5.24, 6.17, 6.14),
    "b7": (6.21, 7.27, 7.05),
}
# Nominal d·w²·r², and MACs of torchvision's networks (B2 at 260 px) over those of B0.
GROWTH = {
    "b1": (1.26, 1.78),
    "b2": (1.96, 2.58),
    "b3": (3.62, 4.74),
    "b4": (10.15, 11.39),
    "b5": (23.3, 26.6),
    "b6": (46.8, 49.4),
    "b7": (89.0, 97.8),
}


@pytest.fixture(scope="module")
def b0() -> scaling.Explanation:
    return scaling.explain("efficientnet_b0", target="macs=1G")


def test_released_networks_are_not_powers(b0: scaling.Explanation) -> None:
    found = {row.name: row for row in b0.released}
    for name, phi in PHI.items():
        assert tuple(found[name].phi) == pytest.approx(phi, abs=0.005)
        assert (found[name].nominal, found[name].real) == pytest.approx(GROWTH[name], rel=0.003)


def test_the_budget_is_solved_once(b0: scaling.Explanation) -> None:
    """The network is that of `solve`, and so is what each rule recommends."""
    solution = scaling.solve("efficientnet_b0", target="macs=1G")
    assert b0.chosen.architecture == solution.architecture
    assert b0.growth == pytest.approx(solution.growth)
    advice = {one.rule.name: one for one in b0.advice}
    assert advice.keys() == scaling.RULES.keys()
    for name in ("fast", "dwr", "lacs-gpu", "tinynet"):
        rival = scaling.solve("efficientnet_b0", rule=name, target="macs=1G")
        assert advice[name].sized is not None
        assert advice[name].sized.architecture == rival.architecture
    least = min((one.sized.cost.activations, name) for name, one in advice.items() if one.sized)
    assert least[1] == "fast"


def test_a_layer_becomes_two(b0: scaling.Explanation) -> None:
    """Depth 1.25 makes two of one layer; the blocks of the network are counted again."""
    first = next(row for row in b0.rounded if row.part == "stages.0")
    assert (first.layers, first.exact_layers, first.new_layers) == (1, 1.25, 2)
    assert (
        sum(row.new_layers for row in b0.rounded if row.part.startswith("stages")) == b0.chosen.architecture.num_blocks
    )


def test_odd_feature_maps() -> None:
    """B0 with width 1.1 and depth 1.2 has 0.860G MACs at 256 px and 0.993G at 257 px."""
    found = scaling.explain("efficientnet_b0", width=1.1, depth=1.2, resolution=256)
    sides = {side.side: side for side in found.sides}
    assert (sides[256].macs / 1e9, sides[257].macs / 1e9) == pytest.approx((0.860, 0.993), abs=0.0005)
    assert sides[256].extra == pytest.approx(0, abs=1e-3)
    assert sides[257].maps == (129, 65, 33, 17, 9)
    cheap = {side.side for side in found.cheap}
    assert {224, 256, 288} <= cheap
    assert 257 not in cheap
    assert all(side.extra <= CHEAP for side in found.cheap)


def test_shares_add_up(b0: scaling.Explanation) -> None:
    for cost in ("macs", "params"):
        assert sum(getattr(share.after, cost) for share in b0.shares) == getattr(b0.chosen.cost, cost)
        assert sum(getattr(share.before, cost) for share in b0.shares) == getattr(b0.own.cost, cost)


def narrow() -> BaselineSpec:
    network = adapted(load("efficientnet_b0").architecture, 20, 10, 0.375)
    return BaselineSpec("narrow", network, Provenance("a test"))


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("mobilenet_v2", {}),
        ("efficientnet_lite0", {"preset": "lite3"}),
        ("mnasnet_small", {"rule": "fast", "factor": 3.0}),
        ("efficientnet_b0", {"phi": 2.0}),
        ("efficientnet_b0", {"rule": "tinynet", "target": "macs=100M"}),
        ("efficientnet_b0", {"target": "params=8M", "keep": ("head",)}),
        ("efficientnet_b0", {"alpha": 1.3, "beta": 1.1, "gamma": 1.1, "target": "activations=2x"}),
        ("efficientnet_b0", {"target": "memory=40M", "activation": "gelu"}),
        (narrow(), {"rule": "lacs-tpu", "target": "macs=4x"}),
    ],
)
def test_any_baseline(network: Any, options: dict[str, Any]) -> None:
    """Text, data and page are made, and the figures of the data are counted again."""
    found = scaling.explain(network, **options)
    document = json.loads(json.dumps(view.data(found), allow_nan=False))
    cost = architecture_cost(found.chosen.architecture)
    assert (document["network"]["macs"], document["network"]["activations"]) == (cost.macs, cost.activations)
    headings = [section.heading for section in view.page(found).sections]
    assert len(headings) == 5
    shown = found._repr_html_()
    assert "Who recommends what" in shown
    assert repr(found).startswith(f"Explanation({found.spec.name}, {cost.macs:,} MACs")


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the page is written."""
    monkeypatch.chdir(tmp_path)
    command = ["scale", "efficientnet_b0", "--explain", "--target", "macs=1G"]
    assert main([*command, "--html", "why.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(
        json.dumps(view.data(scaling.explain("efficientnet_b0", target="macs=1G")))
    )
    assert [file.name for file in tmp_path.iterdir()] == ["why.html"]
    for width in ("60", "80", "120"):
        monkeypatch.setenv("COLUMNS", width)
        assert main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= int(width)
        assert any("992,865,568" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--html", "x.html", "--preset", "b1"), "html: --html needs --explain"),
        (("--explain", "--out", "x.yaml"), "out: --out cannot be combined with --explain"),
        (("--explain", "--name", "x"), "name: --name cannot be combined with --explain"),
        (("--explain", "--rule", "fast", "--phi", "1"), "phi: the rule fast has none"),
        (("--explain", "--preset", "b1", "--phi", "1"), "scale: expected one of"),
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
    assert main(["scale", "efficientnet_b0", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_sides_end_at_the_largest() -> None:
    found = scaling.explain("efficientnet_b0", resolution=8190)
    assert max(side.side for side in found.sides) == 8192
