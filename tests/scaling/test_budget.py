"""Budgets: every one is met within its tolerance, by the network that departs least from the rule."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from baselines import load
from scaling import budget as budgets
from scaling.budget import Budget, Solution, memory_bytes, read_budget, solve
from scaling.compound import Coefficients, compound_scale
from scaling.lattice import Growth
from scaling.rules import RULES, Rule
from search_spaces import Architecture, ConvLayer, MBConv, MnasError, Stage, StageSpace, architecture_cost
from search_spaces.memory import network_memory

SMALL = Architecture(
    resolution=96,
    num_classes=10,
    stem=ConvLayer(16, 3, 2),
    stages=(Stage(MBConv(3, 1, 0), 12, 1, 1), Stage(MBConv(5, 4, 0.25), 28, 3, 2), Stage(MBConv(3, 6, 0), 40, 2, 2)),
    head=ConvLayer(100, 1, 1),
)


def check(base: Architecture, solution: Solution, cost: str, wanted: float, tolerance: float = 0.01) -> None:
    """A solution says of its network what is true of it."""
    assert compound_scale(base, solution.coefficients) == solution.architecture
    found = getattr(architecture_cost(solution.architecture), cost)
    assert solution.found == found
    assert abs(found / wanted - 1) <= tolerance
    assert solution.error == pytest.approx(found / wanted - 1)
    shares = solution.ideal.shares()
    if shares is not None:
        assert shares == pytest.approx(solution.rule.factors(solution.scale, base).shares)


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "searched"])
def test_a_hundred_budgets_from_a_tenth_to_a_hundred_times_a_baseline(name: str, space: StageSpace) -> None:
    rng = np.random.default_rng(0)
    (searched,) = space.decode_indices(space.sample_indices(rng, 1))
    base = searched if name == "searched" else load(name).architecture
    for wanted in np.exp(rng.uniform(math.log(0.05e9), math.log(40e9), 100)):
        solution = solve(base, RULES["efficientnet"], Budget("macs", float(wanted)))
        check(base, solution, "macs", wanted)
        assert solution.on_rule or solution.departure < 0.35


# The rules of single dimensions cannot shrink all costs: B0 has 173M MACs with one layer in every stage.
@pytest.mark.parametrize("cost", ["macs", "params", "activations"])
@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("times", [0.7, 3.0])
def test_every_rule_meets_a_budget_below_and_one_above(b0: Architecture, name: str, times: float, cost: str) -> None:
    wanted = times * getattr(architecture_cost(b0), cost)
    if (name, cost) == ("r", "params"):
        with pytest.raises(
            MnasError, match=r"the rule r does not (lower|raise) params, which stay at 5\.3M; choose another"
        ):
            solve(b0, RULES[name], Budget(cost, wanted))
        return
    solution = solve(b0, RULES[name], Budget(cost, times, relative=True))
    assert solution.wanted == wanted
    check(b0, solution, cost, wanted)


# --- brute force ----------------------------------------------------------------------------------------------------


def network_lattice(rule: Rule) -> list[tuple[Growth, int]]:
    """Growth and MACs of all networks of `SMALL` with up to 3 times the layers, twice the channels and 48 to 168 px."""
    own = architecture_cost(SMALL).macs
    scaled = {"keep": rule.keep, "rounding": rule.rounding}

    def alone(depth: float = 1.0, width: float = 1.0, side: int = SMALL.resolution) -> Architecture:
        return compound_scale(SMALL, Coefficients(width, depth, side, **scaled))

    # Halves may be rounded to even numbers, which neither side of them gives.
    half_layers = [(whole + 0.5) / stage.num_layers for stage in SMALL.stages for whole in range(9)]
    channels = [SMALL.stem.out_channels, SMALL.head.out_channels, *(stage.out_channels for stage in SMALL.stages)]
    half_eights = [(8 * whole + 4) / count for count in channels for whole in range(25)]
    depths = {alone(depth=value).stages: value for value in [*np.arange(0.05, 3, 0.003), *half_layers] if value < 3}
    widths = {
        alone(width=value): value for value in [*np.arange(0.05, 2, 0.0013), *half_eights, 1.0] if 0.05 <= value < 2
    }
    sides = range(48, 169, 4)
    macs = [
        {value: architecture_cost(alone(**{name: value})).macs / own for value in values}  # type: ignore[arg-type]
        for name, values in (("depth", depths.values()), ("width", widths.values()), ("side", sides))
    ]
    return [
        (Growth(deep, wide, large), architecture_cost(alone(depth, width, side)).macs)
        for depth, deep in macs[0].items()
        for width, wide in macs[1].items()
        for side, large in macs[2].items()
    ]


@pytest.mark.parametrize("name", ["efficientnet", "dwr"])
def test_no_network_within_the_tolerance_departs_less(name: str) -> None:
    everything = network_lattice(RULES[name])
    logs = np.log([growth for growth, _ in everything])
    macs = np.array([cost for _, cost in everything])
    own = architecture_cost(SMALL).macs
    searched = 0
    for times in np.exp(np.random.default_rng(0).uniform(math.log(0.4), math.log(2.5), 40)):
        solution = solve(SMALL, RULES[name], Budget("macs", float(times * own)))
        check(SMALL, solution, "macs", times * own)
        if solution.on_rule:
            continue
        searched += 1
        near = np.abs(macs / (times * own) - 1) <= 0.01
        departures = np.linalg.norm(logs[near] - np.log(solution.ideal), axis=1)
        assert solution.departure == pytest.approx(departures.min())
    assert searched >= 10


# --- memory and latency ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["efficientnet", "fast", "d", "w", "r", "tinynet"])
@pytest.mark.parametrize(("batch", "times"), [(None, 0.85), (None, 5), (64, 0.6), (64, 5)])
def test_memory(b0: Architecture, name: str, batch: int | None, times: float) -> None:
    if name == "d" and batch is None and times > 1:
        times = 2  # depth alone adds weights, but no larger maps
    wanted = times * memory_bytes(b0, batch)
    solution = solve(b0, RULES[name], Budget("memory", wanted, batch=batch))
    assert abs(memory_bytes(solution.architecture, batch) / wanted - 1) <= 0.01


def test_memory_is_that_of_weights_and_maps(b0: Architecture) -> None:
    """B0 has 5,288,548 params; a training keeps them with their gradients, two moments and the moving average."""
    memory = network_memory(b0)
    assert memory_bytes(b0) == 4 * (5_288_548 + memory.inference)
    assert memory_bytes(b0, 8) == 4 * (5 * 5_288_548 + 8 * memory.training)


def test_latency_is_measured_and_met(b0: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which memory traffic counts twice as much as arithmetic."""
    measured: list[Architecture] = []

    def seconds(network: Architecture) -> float:
        measured.append(network)
        cost = architecture_cost(network)
        return 1e-11 * cost.macs + 2e-9 * cost.activations

    monkeypatch.setattr(budgets, "measured_latency", seconds)
    for times in (0.5, 2, 6):
        measured.clear()
        solution = solve(b0, RULES["fast"], Budget("latency", times, relative=True))
        assert abs(seconds(solution.architecture) / (times * seconds(b0)) - 1) <= 0.05
        # Each network is measured once, and few are.
        assert len(set(measured)) >= len(measured) - 2
        assert len(measured) < 25


# --- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("macs=1G", Budget("macs", 1e9)),
        ("macs = 400M", Budget("macs", 4e8)),
        ("macs=2x", Budget("macs", 2, relative=True)),
        ("params=5.5M", Budget("params", 5.5e6)),
        ("activations=1e7", Budget("activations", 1e7)),
        ("memory=500M", Budget("memory", 5e8)),
        ("memory=500MB", Budget("memory", 5e8)),
        ("latency=20ms", Budget("latency", 0.02)),
        ("latency=1.5 s", Budget("latency", 1.5)),
        ("latency=.5x", Budget("latency", 0.5, relative=True)),
    ],
)
def test_reading(text: str, budget: Budget) -> None:
    found = read_budget(text)
    assert replace(found, value=budget.value) == budget
    assert found.value == pytest.approx(budget.value)
    assert read_budget(found.text()) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("flops=1G", "unknown target 'flops'; known: activations, latency, macs, memory, params"),
        ("mac=1G", "unknown target 'mac'; did you mean 'macs'?"),
        ("macs", "target: 'macs': expected COST=VALUE, such as macs=1G"),
        ("macs=nan", "target: 'macs=nan': expected COST=VALUE"),
        ("macs=inf", "target: 'macs=inf': expected COST=VALUE"),
        ("macs=-1G", "target: 'macs=-1G': expected COST=VALUE"),
        ("macs=0x", "target: 'macs=0x' is too small; use a value such as macs=1G, macs=2x or latency=20ms"),
        ("macs=0", "target: 'macs=0' is too small; use a value"),
        ("latency=0 ms", "target: 'latency=0 ms' is too small; use a value"),
        ("memory=1e30", "target: 'memory=1e30' is too large; use a value"),
        ("macs=nanx", "target: 'macs=nanx': expected COST=VALUE"),
        ("latency=20", "target: latency='20': expected a time with its unit, such as latency=20ms"),
        ("", "target: '': expected COST=VALUE"),
    ],
)
def test_what_is_not_a_budget(text: str, problem: str) -> None:
    with pytest.raises(MnasError) as caught:
        read_budget(text)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "budget", "words"),
    [
        # B0 with one layer in every stage, counted without the others: 173.2M.
        ("d", "macs=50M", ["its smallest network has 173.2M MACs", "every stage has one layer"]),
        ("d", "macs=40G", ["its largest network has 19.811G MACs", "the depth is at its limit of 50"]),
        ("w", "activations=1M", ["its smallest network has 1.9M", "where channels are at 8"]),
        ("r", "macs=4M", ["its smallest network has", "32 px", "the resolution is at the total stride"]),
        ("r", "params=5M", ["does not lower params, which stay at 5.3M"]),
        ("efficientnet", "macs=1M", ["out of reach", "every stage has one layer", "the factor is at its limit"]),
    ],
)
def test_budgets_out_of_reach(b0: Architecture, rule: str, budget: str, words: list[str]) -> None:
    with pytest.raises(MnasError) as caught:
        solve(b0, RULES[rule], read_budget(budget))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_budget_between_networks_names_those_on_both_sides() -> None:
    """A network of one stage at the smallest side: params jump from one multiple of 8 channels to the next."""
    base = Architecture(
        resolution=8,
        num_classes=2,
        stem=ConvLayer(8, 3, 2),
        stages=(Stage(MBConv(3, 1, 0), 8, 1, 2),),
        head=ConvLayer(8, 1, 1),
    )
    own = architecture_cost(base).params
    wider = architecture_cost(compound_scale(base, Coefficients(2.0, 1.0, 8))).params
    with pytest.raises(MnasError) as caught:
        solve(base, RULES["w"], Budget("params", math.sqrt(own * wider)))
    said = str(caught.value)
    assert "no network near the rule w is within 1 % of params=" in said
    assert (
        said.index("the nearest have") < said.index(" and ") < said.index("; use one of these values, or another rule")
    )


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Budget("flops", 1), "unknown target 'flops'"),
        (lambda: Budget("macs", math.nan), "target macs: nan is not a number"),
        (lambda: Budget("macs", 1e9, batch=8), "batch: is for --target memory=…; remove it"),
        (lambda: Budget("memory", 1e9, batch=0), "batch: 0 is not an integer from 1"),
    ],
)
def test_wrong_budgets(make: object, problem: str) -> None:
    with pytest.raises(MnasError, match=problem):
        make()  # type: ignore[operator]


def test_where_the_rule_was_published(b0: Architecture) -> None:
    assert solve(b0, RULES["tinynet"], read_budget("macs=150M")).published is True
    assert solve(b0, RULES["tinynet"], read_budget("macs=2x")).published is False
    assert solve(b0, RULES["fast"], read_budget("macs=2x")).published is None


def test_the_budget_of_the_baseline_gives_the_baseline(b0: Architecture) -> None:
    """Also where a rule has no smaller network: B0 at its total stride cannot lower its resolution."""
    smallest = replace(b0, resolution=b0.total_stride)
    for network, rule, text in ((smallest, "r", "macs=1x"), (smallest, "r", "params=1x"), (b0, "r", "params=1x")):
        assert solve(network, RULES[rule], read_budget(text)).architecture == network
    with pytest.raises(MnasError, match="does not lower macs"):
        solve(smallest, RULES["r"], read_budget("macs=0.5x"))
