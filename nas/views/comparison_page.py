"""A `Comparison` as a page: the tables and sentences of the terminal, and the networks among published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from baselines.comparators import Mark
from baselines.views.convert import page_parts
from baselines.views.page import Page, Part, Prose, Section, Table
from baselines.views.published import TRIANGLES, published_figure, published_row
from nas.evidence import Comparison, Judged
from nas.views.comparison import notes
from nas.views.comparison import text as comparison_view


def comparison_page(comparison: Comparison) -> Page:
    """The page of a comparison."""
    names = [judged.name for judged in comparison.judged]
    marks = [_mark(judged) for judged in comparison.judged]
    answer, structure = comparison_parts(comparison)
    sections = [Section("Side by side", tuple(answer))]
    if structure:
        sections.append(Section("Stage by stage", tuple(structure)))
    about = "Accuracies are the published ones, after full trainings."
    if any(mark.top1 is None for mark in marks):
        about += f" {TRIANGLES}"
    sections.append(Section("Among published networks", (Prose(about), *published_figure(marks))))
    others = ", ".join(names[:-1]) if len(names) <= 4 else f"{len(names) - 1} networks"
    meaning = f"Accuracy of {comparison.evaluator.name}: {comparison.evaluator.meaning}."
    return Page(f"{others} beside {names[-1]}", meaning, tuple(sections))


def comparison_parts(comparison: Comparison) -> tuple[list[Part], list[Part]]:
    """What the terminal shows: totals with sentences and notes, and the structure."""
    answer: list[Part] = []
    structure: list[Part] = []
    quiet = set(notes(comparison))
    for part in page_parts(comparison_view(comparison)):
        if isinstance(part, Table):
            (structure if part.caption.startswith("Structure") else answer).append(part)
        elif isinstance(part, Prose) and part.text in quiet:
            answer.append(replace(part, quiet=True))
        elif _continues(part, answer):
            before = answer.pop()
            assert isinstance(before, Prose)
            assert isinstance(part, Prose)
            answer.append(replace(before, text=f"{before.text} {part.text}"))
        else:
            answer.append(part)
    return answer, structure


def _continues(part: Part, before: Sequence[Part]) -> bool:
    """Whether a line is about the two networks that the line before names."""
    if not before or not isinstance(part, Prose) or part.label or ": not judged" in part.text:
        return False
    return isinstance(before[-1], Prose) and bool(before[-1].label)


def _mark(judged: Judged) -> Mark:
    figures = judged.spec.figures if judged.spec else ()
    top1 = next((figure.value for figure in figures if (figure.metric, figure.kind) == ("top1", "published")), None)
    row = published_row(judged.name)
    return Mark(judged.name, judged.params, judged.macs, row.top1 if top1 is None and row else top1)
