"""What all spaces share; what each must do is in tests/conformance/test_spaces.py."""

from __future__ import annotations

import doctest

import pytest

from search_spaces import FieldError, MnasError, choice_space, load_space, load_stage_space, space, stage_space
from search_spaces.space import power


@pytest.mark.parametrize("module", [space, stage_space, choice_space], ids=lambda module: module.__name__)
def test_examples_in_docstrings_run(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert (failed, tried > 0) == (0, True)


def test_counts_that_no_float_holds() -> None:
    assert power(104_500_000_000) == "1.045e+11"
    assert power(10**512) == "10^512"


def test_a_space_of_choices_is_no_space_of_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    own = choice_space.ChoiceSpace("own", {"layer1": ("conv", "skip")})
    monkeypatch.setattr("search_spaces.registry.load_plugin", lambda *_: own)
    assert load_space("own.py:test") is own
    with pytest.raises(MnasError, match=r"space: 'own.py:test' has choices and no architectures"):
        load_stage_space("own.py:test")


def test_the_space_of_a_table_needs_its_table() -> None:
    with pytest.raises(MnasError, match="use mnas search --space table --evaluator table:FILE"):
        load_space("table")


def test_a_plugin_that_gives_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.registry.load_plugin", lambda *_: 3)
    with pytest.raises(MnasError, match="gives a int; it must be a Space, or return one"):
        load_space("three.py:space")


def test_genotypes_of_another_space() -> None:
    own = choice_space.ChoiceSpace("own", {"layer1": ("conv", "skip")})
    for genotype, message in (
        ({}, "layer1: missing"),
        ({"layer1": "pool"}, "layer1: 'pool' is not one of"),
        ({"layer1": "conv", "layer2": "conv"}, "layer2: is not a choice of the space 'own'"),
    ):
        assert genotype not in own
        with pytest.raises(FieldError, match=message):
            own.indices([genotype])
