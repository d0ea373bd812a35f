"""A scaled network beside the one that it was scaled from, and why it has its coefficients: as data and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.spec import BaselineSpec
from scaling.budget import Solution, memory_bytes
from scaling.published import source_of
from scaling.rules import Rule, constraint, position
from scaling.views import solution as solution_view
from scaling.views.solution import latency_protocol, rule_lines
from search_spaces import Architecture, architecture_cost
from search_spaces.architecture import DEPTH_DIVISOR

if TYPE_CHECKING:
    from rich.console import RenderableType

# Why a network has its coefficients: the solution for a budget, a rule and its growth of MACs, or a preset's name.
Why = Solution | tuple[Rule, float] | str | None


def growth_text(parent: BaselineSpec, scaled: BaselineSpec) -> str:
    """How MACs, parameters and activations grew."""
    before, after = _costs(parent.architecture), _costs(scaled.architecture)
    names = {"macs": "MACs", "params": "params", "activations": "activations"}
    texts = (
        f"{text} {before[name]:,} → {after[name]:,} (×{after[name] / before[name]:.2f})" for name, text in names.items()
    )
    return f"Growth: {', '.join(texts)}"


def least_lines(parent: BaselineSpec, scaled: BaselineSpec) -> list[str]:
    """Which stages have one layer or 8 channels because a factor would leave less."""
    record, stages = scaled.provenance.scaling, parent.architecture.stages
    if record is None:
        return []
    short = sum(stage.num_layers * record.depth < 1 for stage in stages)
    narrow = sum(stage.out_channels * record.width < DEPTH_DIVISOR for stage in stages)
    parts = [f"less than one layer in {short}"] if short else []
    parts += [f"fewer than {DEPTH_DIVISOR} channels in {narrow}"] if narrow else []
    least = f"of {len(stages)} stages; these have one layer, or {DEPTH_DIVISOR} channels"
    return [f"Note:   the factors would leave {' and '.join(parts)} {least}"] if parts else []


def preset_lines(name: str) -> list[str]:
    """The source of a preset, and whether its accuracies carry over."""
    note = _preset_note(name)
    return [f"Preset: {name.lower()} [{source_of(name.lower())}]", *([f"Note:   {note}"] if note else [])]


def _preset_note(name: str) -> str | None:
    if not name.lower().startswith("x_"):
        return None
    family = "fused blocks, space-to-depth stem"
    return f"these are coefficients of another family ({family}), whose accuracies do not carry over"


def why_text(parent: BaselineSpec, why: Why) -> list[RenderableType]:
    """Why a network has its coefficients."""
    if isinstance(why, str):
        return [*preset_lines(why)]
    if isinstance(why, Solution):
        return solution_view.text(why)
    return [] if why is None else [*rule_lines(why[0], parent.architecture, why[1])]


def data(parent: BaselineSpec, scaled: BaselineSpec, why: Why) -> dict[str, Any]:
    """All of it as plain data."""
    found: dict[str, Any] = {"growth": {"before": _costs(parent.architecture), "after": _costs(scaled.architecture)}}
    if isinstance(why, str):
        found["preset"] = {"name": why.lower(), "source": source_of(why.lower()), "note": _preset_note(why)}
    elif isinstance(why, Solution):
        found["rule"] = _rule_data(why.rule, why.base, why.scale)
        found["budget"] = _solution_data(why)
    elif why is not None:
        found["rule"] = _rule_data(why[0], parent.architecture, why[1])
    return {"scaled": found}


def _costs(architecture: Architecture) -> dict[str, int]:
    """Exact costs, with the memory of inference in bytes."""
    return {**asdict(architecture_cost(architecture)), "memory": memory_bytes(architecture)}


def _rule_data(rule: Rule, base: Architecture, scale: float) -> dict[str, Any]:
    return {
        "name": rule.name,
        "meaning": rule.meaning,
        "source": rule.source,
        "rounding": rule.rounding.words(),
        "keep": list(rule.keep),
        "points": position(rule, base, scale),
        "constraint": constraint(rule),
    }


def _solution_data(solution: Solution) -> dict[str, Any]:
    budget, shares, ideal = solution.budget, solution.growth.shares(), solution.ideal.shares()
    chosen = solution.coefficients
    return {
        "target": budget.text(),
        "cost": budget.cost,
        "batch": budget.batch,
        "wanted": solution.wanted,
        "found": solution.found,
        "error": solution.error,
        "protocol": latency_protocol() if budget.cost == "latency" else None,
        "on_rule": solution.on_rule,
        "departure": solution.departure,
        "coefficients": {"depth": chosen.depth, "width": chosen.width, "resolution": chosen.resolution},
        "multiplies_macs": solution.growth._asdict(),
        "shares": None if shares is None else shares._asdict(),
        "rule_multiplies_macs": solution.ideal._asdict(),
        "rule_shares": None if ideal is None else ideal._asdict(),
        "published": solution.published,
    }
