"""Checked plug-ins as data and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.views.terminal import labelled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.check import Checked


def problems(checked: Sequence[Checked]) -> int:
    """Number of rules that do not hold."""
    return sum(finding.problem is not None for plugin in checked for finding in plugin.findings)


def data(checked: Sequence[Checked]) -> dict[str, Any]:
    """Every rule that was tried, as plain data."""
    plugins = [
        {"name": plugin.name, "kind": plugin.kind, "rules": [asdict(finding) for finding in plugin.findings]}
        for plugin in checked
    ]
    return {"checked": plugins, "problems": problems(checked)}


def text(checked: Sequence[Checked]) -> list[RenderableType]:
    """A line for each rule, under the plug-in that it was tried on."""
    lines: list[RenderableType] = []
    for plugin in checked:
        article = "an" if plugin.kind == "evaluator" else "a"
        lines.append(labelled(plugin.name, f"as {article} {plugin.kind}"))
        for finding in plugin.findings:
            wrong = finding.problem is not None
            lines.append(f"  WRONG  {finding.rule}: {finding.problem}" if wrong else f"  ok     {finding.rule}")
    return lines
