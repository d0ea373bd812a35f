"""Scaled networks as specs, with their parents and coefficients in their provenance.

One way of scaling gives one spec, with the same name and content from every command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from baselines.spec import BaselineSpec, Figure, Provenance, ScalingRecord, is_name
from scaling.budget import Solution
from scaling.compound import Coefficients, compound_scale
from scaling.published import in_proportion, preset
from scaling.rules import DEFAULT_RULE, Rule, constraint
from search_spaces import Architecture, MnasError
from search_spaces.errors import shorten


class Choice(NamedTuple):
    """Chosen coefficients.

    Attributes:
        label: end of the new spec's name.
        words: the way of scaling in words.
        coefficients: the coefficients.
    """

    label: str
    words: str
    coefficients: Coefficients


def by_preset(base: Architecture, name: str) -> Choice:
    """The choice of a preset, in proportion to the network's side. Raises `MnasError` for an unknown one."""
    return Choice(name.lower(), f"preset {name.lower()}", in_proportion(base, preset(name)))


def by_rule(rule: Rule, amount: str, label: str, chosen: Coefficients) -> Choice:
    """The choice of a rule's coefficients.

    Args:
        rule: the rule.
        amount: how far it goes, in words, such as ``phi 1``.
        label: the same for a name.
        chosen: the coefficients.
    """
    words = [rule.name, amount, rule.rounding.words()]
    if note := constraint(rule):
        words.append(note.partition(",")[0])
    own = label if rule.name == DEFAULT_RULE else f"{rule.name}_{label}"
    return Choice(_without_signs(own), ", ".join([*words, *(f"keep {part}" for part in rule.keep)]), chosen)


def by_solution(solution: Solution) -> Choice:
    """The choice of a network that meets a budget."""
    text, batch = solution.budget.text(), solution.budget.batch
    amount, label = (text, text) if batch is None else (f"{text} with batch {batch}", f"{text}_batch{batch}")
    choice = by_rule(solution.rule, amount, label, solution.coefficients)
    departure = "" if solution.on_rule else f", departing by {solution.departure:.3f} in log MACs"
    return choice._replace(words=choice.words + departure)


def chosen_spec(parent: BaselineSpec, base: Architecture, choice: Choice, name: str | None = None) -> BaselineSpec:
    """The spec of a choice.

    Args:
        parent: network that is scaled.
        base: its architecture, maybe with another activation.
        choice: the choice.
        name: name of the new spec; the parent's name and the choice's label by default.

    Raises:
        MnasError: the name is not valid, or the result breaks a rule of architectures.
    """
    label, words, chosen = choice
    if base.activation != parent.architecture.activation:
        label, words = f"{label}_{base.activation}", f"{words}, activation {base.activation}"
    name = f"{parent.name}_{_without_signs(label)}" if name is None else name
    if not is_name(name):
        raise MnasError(f"name: {shorten(name)} is not a valid name for a spec; choose another name")
    source = f"mnas scale {parent.name}"
    return scaled_spec(parent, chosen, name=name, way=words, source=source, activation=base.activation)


def _without_signs(label: str) -> str:
    """A label as a part of a name: without spaces, = and other signs."""
    return re.sub(r"[^A-Za-z0-9_.-]", "", label)


def scaled_spec(
    parent: BaselineSpec,
    chosen: Coefficients,
    *,
    name: str,
    way: str,
    source: str,
    activation: str | None = None,
    figures: Sequence[Figure] = (),
) -> BaselineSpec:
    """Return a network scaled by coefficients as a spec.

    Args:
        parent: network to scale.
        chosen: coefficients.
        name: name of the new spec.
        way: the way of scaling in words.
        source: where the new network comes from.
        activation: activation function of the new network; the parent's own by default.
        figures: figures that were published for the new network; the parent's are not copied.

    Raises:
        FieldError: the result breaks a rule of architectures.
    """
    base = parent.architecture
    base = replace(base, activation=base.activation if activation is None else activation)
    record = ScalingRecord(parent.name, parent.digest, way, chosen.width, chosen.depth, chosen.resolution)
    return BaselineSpec(name, compound_scale(base, chosen), Provenance(source, scaling=record), tuple(figures))
