from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from search_spaces import ChoiceSpace, FieldError, Selection, load_space
from tests.processes import in_new_process

# An op's latency in ms in any layer, and the same for a layer with one channel more.
LATENCY = {"conv3": 2.0, "conv5": 3.5, "skip": 0.1}


def latency(genotype: dict[str, Any]) -> float:
    """A sum over the layers, as in FBNet's table of latencies (arXiv 1812.03443, section 3.3), and a constant."""
    return 5 + sum((1 + index) * LATENCY[op] for index, op in enumerate(genotype.values()))


@pytest.fixture(scope="module")
def everything() -> list[dict[str, Any]]:
    return [dict(zip(("a", "b", "c", "d"), ops, strict=True)) for ops in product(LATENCY, repeat=4)]


@pytest.fixture(scope="module")
def half(everything: list[dict[str, Any]]) -> ChoiceSpace:
    members = [everything[i] for i in np.random.default_rng(0).permutation(len(everything))[:40]]
    return ChoiceSpace("half", dict.fromkeys("abcd", tuple(LATENCY)), members, {"ms": list(map(latency, members))})


def test_costs_of_members_are_what_was_measured(half: ChoiceSpace) -> None:
    assert half.members is not None
    measured = [latency(genotype) for genotype in half.genotypes(half.members)]
    assert half.cost("ms", half.members).tolist() == measured
    assert half.cost_range("ms") == (min(measured), max(measured))


def test_costs_of_others_are_estimated_and_stay_within_what_was_measured(
    half: ChoiceSpace, everything: list[dict[str, Any]]
) -> None:
    low, high = half.cost_range("ms")
    true = np.clip([latency(genotype) for genotype in everything], low, high)
    assert half.cost("ms", half.indices(everything)) == pytest.approx(true, rel=1e-3)


def test_members_decode_to_their_choices(half: ChoiceSpace) -> None:
    genotype = {"a": "skip", "b": "conv3", "c": "conv5", "d": "skip"}
    network = half.decode(genotype)
    assert network == Selection((("a", "skip"), ("b", "conv3"), ("c", "conv5"), ("d", "skip")))
    assert network.genotype == half.encode(network) == genotype
    with pytest.raises(FieldError, match="network: a Architecture is not in the space 'half'"):
        half.encode(load_space("efficientnet").template)
    with pytest.raises(FieldError, match="d: missing"):
        half.encode(Selection(network.values[:3]))


def test_a_digest_is_that_of_the_choices(half: ChoiceSpace, everything: list[dict[str, Any]]) -> None:
    digests = {half.decode(genotype).digest for genotype in everything}
    assert len(digests) == len(everything) == 81
    code = "from search_spaces import Selection; print(Selection((('a', 'skip'), ('b', 3))).digest)"
    assert in_new_process(code) == Selection((("a", "skip"), ("b", 3))).digest


def test_a_space_may_know_no_cost() -> None:
    space = ChoiceSpace("bare", {"a": (1, 2), "b": ("x", "y", "z")})
    assert (space.size, space.num_networks, space.cost_names, space.members) == (6, 6, (), None)
    assert space.costs(space.sample_indices(np.random.default_rng(0), 3)) == []
    assert space.choices.contains({"a": 2, "b": "z"})


def test_more_networks_than_a_float_can_count() -> None:
    space = ChoiceSpace("long", {f"layer{i}": tuple(range(10)) for i in range(400)})
    assert space.size == 10**400
    assert repr(space) == "ChoiceSpace('long', 400 choices, 10^400 genotypes)"


@pytest.mark.parametrize(
    ("choices", "members", "costs", "message"),
    [
        ({}, [], {}, "choices: {}: expected one or more choices"),
        ({"a": ()}, [], {}, r"a: \(\): expected one or more different values"),
        ({"a": (1, 1)}, [], {}, r"a: \(1, 1\): expected one or more different values"),
        ({"a": (1, 2)}, [{"a": 3}], {}, "a: 3 is not one of"),
        ({"a": (1, 2)}, [{"a": 1}, {"a": 1}], {}, "members: a network is given twice"),
        ({"a": (1, 2)}, [{"a": 1}], {"ms": [1, 2]}, "ms: 2 values for 1 members; give one for each member"),
        ({"a": (1, 2)}, [], {"ms": []}, "ms: 0 values for 0 members"),
        ({"a": (1, 2)}, [{"a": 1}], {"ms": [0]}, "ms: 0.0 is not a finite number above 0"),
        ({"a": (1, 2)}, [{"a": 1}], {"ms": [float("inf")]}, "ms: inf is not a finite number above 0"),
    ],
)
def test_what_is_no_space(choices: Any, members: Any, costs: Any, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        ChoiceSpace("wrong", choices, members, costs)
