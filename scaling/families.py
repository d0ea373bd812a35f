"""Families: several networks scaled from one baseline, by published coefficients or by a rule at several budgets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from baselines.arguments import freeze_lists, made, typed
from baselines.registry import own_file
from baselines.spec import BaselineSpec, write_spec
from baselines.subjects import Network, spec_of
from baselines.text import Names, names, short_number
from scaling.budget import read_budget, solve
from scaling.published import PRESETS
from scaling.rules import Rule, rule_of
from scaling.sizes import sized
from scaling.specs import Choice, by_preset, by_solution, chosen_spec
from search_spaces import Architecture, MnasError
from search_spaces.errors import shorten


@dataclass(frozen=True)
class FamilyMembers:
    """Which members a family has.

    Attributes:
        presets: published coefficients of the members, such as b0..b7 or b0,b2; resolutions in proportion to the
            baseline's.
        rule: rule of the members at budgets; efficientnet by default.
        macs: budgets of the rule, such as 0.2G,0.4G,1G, or 0.5x,1x,2x of the baseline's MACs.
        alpha: factor on layers for phi = 1, for a rule of your own together with beta and gamma.
        beta: factor on channels for phi = 1.
        gamma: factor on the resolution for phi = 1.

    Raises:
        MnasError: both or neither are given, or a range of presets is unknown.
    """

    presets: Names = ()
    rule: str | None = None
    macs: Names = ()
    alpha: float | None = None
    beta: float | None = None
    gamma: float | None = None

    def __post_init__(self) -> None:
        freeze_lists(self)
        budgets: Sequence[str | float] = self.macs
        texts = tuple(value if isinstance(value, str) else short_number(value) for value in budgets)
        object.__setattr__(self, "macs", texts)
        own = any(value is not None for value in (self.rule, self.alpha, self.beta, self.gamma))
        if bool(self.presets) == bool(own or self.macs):
            raise MnasError(
                "family: expected presets, or a rule and budgets: --presets b0..b7, or --rule fast --macs 1x,2x"
            )
        if not self.presets and not self.macs:
            raise MnasError("macs: missing; add budgets for the rule, such as --macs 0.5x,1x,2x")
        self.chosen_rule()
        object.__setattr__(self, "presets", tuple(name for text in self.presets for name in _expanded(text)))

    def chosen_rule(self) -> Rule:
        """The rule of the members at budgets. Raises `MnasError` as `scaling.rules.rule_of`."""
        return rule_of(self.rule, self.alpha, self.beta, self.gamma)


def _expanded(text: str) -> list[str]:
    """Names of a range of presets: ``b0..b3`` is b0, b1, b2, b3."""
    ends = text.lower().split("..")
    if len(ends) == 1:
        return ends
    names = list(PRESETS)
    if len(ends) != 2 or any(end not in names for end in ends) or _series(ends[0]) != _series(ends[1]):
        raise MnasError(
            f"presets: {shorten(text)}: expected a range within one series, such as b0..b7 or tinynet_a..tinynet_e"
        )
    first, last = (names.index(end) for end in ends)
    return names[first : last + 1] if first <= last else names[last : first + 1][::-1]


def _series(name: str) -> str:
    """The series of a preset: ``b``, ``lite``, ``x_gpu_b`` or ``tinynet``."""
    return "tinynet" if name.startswith("tinynet") else re.sub(r"\d+$", "", name)


@dataclass(frozen=True)
class Member:
    """A member of a family.

    Attributes:
        name: name of its spec.
        label: preset, or rule and budget.
        depth, width, resolution: coefficients; the resolution in pixels.
        macs, params, activations: counts.
        memory: bytes for the inference of one image in float32.
    """

    name: str
    label: str
    depth: float
    width: float
    resolution: int
    macs: int
    params: int
    activations: int
    memory: int


@dataclass(frozen=True)
class Family:
    """A family of a baseline.

    Attributes:
        baseline: the baseline.
        specs: specs of the members, in order.
        members: the same members with coefficients and costs.
    """

    baseline: BaselineSpec
    specs: tuple[BaselineSpec, ...]
    members: tuple[Member, ...]

    def write(self, folder: Path | None = None) -> list[Path]:
        """Write all specs, or none.

        Args:
            folder: folder of the files; ``specs/`` by default, where their names become names of networks.

        Returns:
            The files, in the order of the members.

        Raises:
            MnasError: a file exists with other content, or cannot be written.
        """
        files = [own_file(spec.name) if folder is None else folder / f"{spec.name}.yaml" for spec in self.specs]
        written: list[Path] = []
        try:
            for spec, file in zip(self.specs, files, strict=True):
                if write_spec(spec, file):
                    written.append(file)
        except MnasError:
            for file in written:
                file.unlink(missing_ok=True)
            raise
        return files

    def __repr__(self) -> str:
        return f"Family({', '.join(member.name for member in self.members)})"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from scaling.views.family import text

        return as_html(*text(self))


@typed
def family(
    network: Network,
    *,
    presets: Annotated[Sequence[str], names] = (),
    rule: str | None = None,
    macs: Annotated[Sequence[str | float], names] = (),
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    activation: str | None = None,
) -> Family:
    """Scale a baseline into a family; nothing is written.

    Args:
        network: name of a baseline, spec file, folder of a training or a search; or a spec or an architecture.
        presets: published coefficients, such as "b0..b7" or ["b0", "b2"]; resolutions are in proportion to the
            baseline's.
        rule: rule of the members at budgets; efficientnet by default.
        macs: budgets of the rule, such as "400M,2x" or [400e6, "2x"].
        alpha, beta, gamma: factors of a rule of your own for phi = 1, instead of rule.
        activation: activation function of all members; the network's own by default.

    Raises:
        MnasError: a name is unknown, no network near the rule meets a budget, or two members are the same network.
        TypeError: the network is neither a name nor a spec nor an architecture.
    """
    powers = {"alpha": alpha, "beta": beta, "gamma": gamma}
    members = made(FamilyMembers, {"presets": presets, "rule": rule, "macs": macs, **powers})
    return family_of(spec_of(network), members, activation=activation)


def family_of(
    parent: BaselineSpec, wanted: FamilyMembers, *, activation: str | None = None, dropout: float | None = None
) -> Family:
    """The family of a baseline.

    Args:
        parent: baseline.
        wanted: members.
        activation: activation function of all members; the baseline's by default.
        dropout: dropout of all members; that of their presets, or of the baseline, by default.

    Raises:
        MnasError: as `family`.
    """
    base = parent.architecture
    if activation is not None:
        base = replace(base, activation=activation)
    chosen = (
        [by_preset(base, name) for name in wanted.presets]
        if wanted.presets
        else [_at_budget(base, wanted.chosen_rule(), text) for text in wanted.macs]
    )
    specs: list[BaselineSpec] = []
    members: list[Member] = []
    for choice in chosen:
        label, published = choice.label, choice.coefficients
        coefficients = published if dropout is None else replace(published, dropout=dropout)
        found = sized(base, coefficients)
        same = next((other.name for other in specs if other.architecture == found.architecture), None)
        if same is not None:
            side = coefficients.resolution
            raise MnasError(
                f"family: {label} is the same network as {same} ({side} px); remove one, or use a larger baseline"
            )
        spec = chosen_spec(parent, base, choice._replace(coefficients=found.coefficients))
        cost = found.cost
        factors = (coefficients.depth, coefficients.width, coefficients.resolution)
        members.append(Member(spec.name, label, *factors, cost.macs, cost.params, cost.activations, found.memory))
        specs.append(spec)
    return Family(replace(parent, architecture=base), tuple(specs), tuple(members))


def _at_budget(base: Architecture, rule: Rule, text: str) -> Choice:
    try:
        budget = read_budget(f"macs={text}")
    except MnasError:
        raise MnasError(
            f"macs: {shorten(text)}: expected MACs such as 400M, or a multiple of the baseline's such as 2x"
        ) from None
    try:
        return by_solution(solve(base, rule, budget))
    except MnasError as error:
        raise MnasError(f"macs: {str(error).removeprefix('target: ')}") from None
