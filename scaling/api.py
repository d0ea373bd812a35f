"""The Python front door of `scaling`: what `mnas scale` does, in a function that takes names or objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from baselines.arguments import typed
from baselines.spec import BaselineSpec, Provenance, ScalingRecord, is_name
from baselines.subjects import Network, subject_of
from baselines.text import Count
from scaling.compound import Coefficients, compound_scale
from scaling.published import preset as released
from scaling.rules import coefficients
from search_spaces import MnasError
from search_spaces.errors import shorten


@typed
def scale(
    network: Network,
    *,
    preset: str | None = None,
    phi: float | None = None,
    width: float | None = None,
    depth: float | None = None,
    resolution: Count | None = None,
    keep: Sequence[str] = (),
    name: str | None = None,
) -> BaselineSpec:
    """Grow a network by released coefficients, by the paper's rule, or by factors.

    Args:
        network: name of a baseline, spec file, folder of a training or a search; or a spec or an architecture.
        preset: name of released coefficients, such as "b3".
        phi: exponent of the paper's rule: depth 1.2^phi, width 1.1^phi, resolution 1.15^phi.
        width: factor on channels; 1 by default.
        depth: factor on layers; 1 by default.
        resolution: side of the input image in pixels; the network's own by default.
        keep: parts that are not scaled, from `scaling.compound.KEEPABLE`.
        name: name of the new spec; the network's name and the rule by default.

    Returns:
        The scaled network, with its parent in its provenance. The parent's figures are not copied.

    Raises:
        MnasError: a name is unknown, a value breaks its rule, or more than one way to scale is given.
        TypeError: the network is neither a name nor a spec nor an architecture.
    """
    parent = subject_of(network)
    if not isinstance(parent, BaselineSpec):
        raise MnasError(f"network: {parent.name} has no architecture in this project; scale a spec instead")
    rule, chosen = _choose_coefficients(parent, preset, phi, (width, depth, resolution), tuple(keep))
    if name is None:
        name = f"{parent.name}_{rule.replace('preset ', '').replace(' ', '')}"
    if not is_name(name):
        raise MnasError(f"name: {shorten(name)} is not a valid name for a spec; choose another name")
    record = ScalingRecord(parent.name, parent.digest, rule, chosen.width, chosen.depth, chosen.resolution)
    provenance = Provenance(source=f"mnas scale {parent.name}", scaling=record)
    return BaselineSpec(name, compound_scale(parent.architecture, chosen), provenance)


def _choose_coefficients(
    parent: BaselineSpec,
    preset: str | None,
    phi: float | None,
    factors: tuple[float | None, float | None, int | None],
    keep: tuple[str, ...],
) -> tuple[str, Coefficients]:
    """Return the rule in words, and its coefficients."""
    if sum([preset is not None, phi is not None, factors != (None, None, None)]) != 1:
        raise MnasError("scale: expected one of preset, phi, or width, depth and resolution")
    if preset is not None:
        if keep:
            raise MnasError("keep: cannot be combined with a preset, which defines its own")
        return f"preset {preset.lower()}", released(preset)
    if phi is not None:
        return _rule_name(f"phi {phi:g}", keep), replace(coefficients(phi, parent.architecture), keep=keep)
    width, depth, resolution = factors
    chosen = Coefficients(
        width=1.0 if width is None else width,
        depth=1.0 if depth is None else depth,
        resolution=parent.architecture.resolution if resolution is None else resolution,
        keep=keep,
    )
    return _rule_name(f"w{chosen.width:g} d{chosen.depth:g} r{chosen.resolution}", keep), chosen


def _rule_name(rule: str, keep: tuple[str, ...]) -> str:
    return " ".join([rule, *(f"keep-{part}" for part in keep)])
