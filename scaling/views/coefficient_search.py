"""A search for coefficients as data, text and page: the best, all that cannot be told from it, and the marked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import counted, listed, points, with_interval
from baselines.views.convert import page_parts
from baselines.views.page import Code, Column, Fact, Facts, Key, Page, Plot, Section, axis_title, plot_lines, plot_text
from baselines.views.page import Table as PageTable
from baselines.views.terminal import Table, labelled, pointer
from scaling.coefficients import count_text
from scaling.studies.candidates import MARKED, Candidate
from scaling.studies.variants import SINGLE

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from scaling.studies.search_result import CoefficientSearch, Entry

_ENDS = {
    "one left": "it ended with one candidate left",
    "seeds": "it ended when all seeds were used up",
    "budget": "it ended when another round would have exceeded the budget of trainings",
}
_VERDICTS = {"best": "best", "tie": "a tie", "worse": "worse", "unknown": "not yet known"}
_COLOURS = {"best": "find", "tie": "find", "worse": "trial", "unknown": "trial"}
_ABOUT_MARKED = {
    "efficientnet": "the paper's 1.2, 1.1, 1.15",
    "d": "depth alone",
    "w": "width alone",
    "r": "resolution alone",
}


def data(found: CoefficientSearch) -> dict[str, Any]:
    """Everything about a search, as plain data."""
    plan = found.plan
    return {
        "out": str(found.folder),
        "complete": found.race.ended is not None,
        "ended": found.race.ended,
        "baseline": asdict(plan.baseline),
        "constraint": plan.constraint,
        "rows": plan.rows,
        "matching": plan.matching,
        "rule": asdict(plan.rule),
        "trainings": {"spent": found.spent, "full": found.full},
        "recipe": asdict(found.settings.recipe),
        "data": {
            "source": found.settings.data,
            "fingerprint": found.settings.fingerprint,
            "val_images": found.images[0],
            "test_images": found.images[1],
        },
        "best": found.best.candidate.name if found.race.spent else None,
        "ties": [entry.candidate.name for entry in found.ties],
        "settled_by_images": [entry.candidate.name for entry in found.settled_by_images],
        "candidates": [_entry_data(entry) for entry in found.entries],
        "notes": list(plan.notes),
    }


def _entry_data(entry: Entry) -> dict[str, Any]:
    standing = entry.standing
    known = standing.interval is not None
    return {
        **asdict(entry.candidate),
        "verdict": standing.verdict,
        "racing": entry.racing,
        "difference": standing.difference if known else None,
        "interval": standing.interval,
        "val_top1": entry.val,
        "test_top1": entry.test,
    }


def text(found: CoefficientSearch) -> list[RenderableType]:
    """A table of the candidates, sentences on what it means, and the command that comes next."""
    lines = _lines(found)
    if found.race.ended is None:
        lines.append(pointer("Resume:", found.resume))
    elif found.grow:
        lines.append(pointer("Next:", found.grow))
    return [*lines, pointer("Folder:", str(found.folder))]


def _lines(found: CoefficientSearch) -> list[RenderableType]:
    """What the terminal and the page both say; commands have forms of their own."""
    plan = found.plan
    lines: list[RenderableType] = [labelled("Candidates:", _about_grid(found)), labelled("Trained", _how(found))]
    lines.append(labelled("Racing:", _about_race(found)))
    if not found.spent:
        lines.append("No training is done yet.")
    else:
        lines += [_table(found), *_answer(found), *_places(found)]
    lines += [labelled("Note:", f"{note}.") for note in plan.notes]
    if found.spent:
        lines.append(_about_differences(found))
    return lines


def _about_differences(found: CoefficientSearch) -> str:
    """What the differences in the table mean."""
    return (
        f"Differences are from the best of the others, on {counted(found.images[0], 'validation image')} and over "
        f"common seeds; intervals are for other seeds and other images of the same kind, and hold for all candidates "
        f"at once with {100 * (1 - found.plan.rule.level):g} % confidence. The "
        f"{counted(found.images[1], 'test image')} took part in no decision."
    )


def _about_grid(found: CoefficientSearch) -> str:
    plan = found.plan
    on_grid = sum(one.on_grid for one in plan.candidates)
    others = len(plan.candidates) - on_grid
    added = f", and {others} by named rules" if others else ""
    return (
        f"{counted(on_grid, 'network')} of {plan.baseline.name} with {plan.constraint} ({plan.matching:,} of "
        f"{plan.rows:,} rows of the grid){added}. The baseline has {count_text(plan.baseline.macs)} MACs at "
        f"{plan.baseline.resolution} px."
    )


def _how(found: CoefficientSearch) -> str:
    recipe, settings = found.settings.recipe, found.settings
    parts = f" in {settings.micro_batches} parts" if settings.micro_batches > 1 else ""
    return (
        f"on {settings.data}: {counted(recipe.epochs, 'epoch')}, {recipe.batch} images in a step{parts}, each network "
        "at its own resolution."
    )


def _about_race(found: CoefficientSearch) -> str:
    """The rule, and how far the race is, in words."""
    rule = found.plan.rule
    most = rule.trainings(len(found.plan.candidates))
    words = (
        f"all candidates get {rule.first} seeds; then, one seed at a time, those that no other one clearly beats on "
        f"these images get more, up to {rule.seeds} seeds and {most} trainings. If all have about the same spread over "
        f"seeds, the truly best one is stopped with a probability of at most {100 * rule.level:g} %."
    )
    state = _ENDS.get(found.race.ended or "", "it has not ended")
    share = 100 * found.spent / found.full
    full = f"{len(found.entries)} candidates × {rule.seeds} seeds"
    return (
        f"{words} {state[0].upper()}{state[1:]}: {found.spent} trainings, {share:.0f} % of the {found.full} of {full}."
    )


def _table(found: CoefficientSearch) -> Table:
    columns = [("candidate", "left"), ("depth", "right"), ("width", "right"), ("px", "right"), ("MACs", "right")]
    columns += [("activations", "right"), ("seeds", "right"), ("val top-1", "right"), ("points from the best", "right")]
    table = Table("Candidates, best first", [*columns, ("test top-1", "right"), ("", "left")])
    for entry in found.entries:
        one = entry.candidate
        numbers = (f"{one.depth:.4g}", f"{one.width:.4g}", str(one.resolution))
        table.add_row(
            _name(entry),
            *numbers,
            count_text(one.macs),
            f"{one.activations:,}",
            str(len(entry.val)),
            _mean(entry.val),
            _difference(entry),
            _mean(entry.test),
            ", ".join(filter(None, (_VERDICTS[entry.standing.verdict], _stopped(entry)))),
        )
    return table


def _stopped(entry: Entry) -> str:
    return "stopped" if not entry.racing and entry.may_be_best else ""


def _name(entry: Entry) -> str:
    """The name of a candidate, with the rules that give the same network."""
    rules = [mark for mark in entry.candidate.marks if mark != entry.candidate.name]
    return f"{entry.candidate.name} ({', '.join(rules)})" if rules else entry.candidate.name


def _mean(values: tuple[float, ...]) -> str:
    return points(sum(values) / len(values)) if values else "–"


def _difference(entry: Entry) -> str:
    known = entry.standing.interval is not None
    return with_interval(entry.standing.difference, entry.standing.interval) if known else "–"


def _answer(found: CoefficientSearch) -> list[Text]:
    """The best and all that cannot be told from it."""
    if found.best.standing.interval is None:
        return [labelled("Result:", "not yet known, since the first round is not complete.")]
    best, ties = found.best.candidate.name, found.ties
    if not ties:
        return [labelled("Result:", f"{best} is the best; all others are worse.")]
    others = f"{len(ties)} cannot be told from it: {_names(ties)}"
    lines = [labelled("Result:", f"{best} is shown as best, and {others}.")]
    if stopped := found.settled_by_images:
        names = _names(stopped)
        they = "was stopped, since it is" if len(stopped) == 1 else "were stopped, since they are"
        what = "it" if len(stopped) == 1 else "they"
        lines.append(
            labelled(
                "Of these,",
                f"{names} {they} worse on these validation images; whether {what} would be on others, no further seeds "
                "would settle, only more images.",
            )
        )
    return lines


def _names(entries: tuple[Entry, ...]) -> str:
    return listed([entry.candidate.name for entry in entries])


def _places(found: CoefficientSearch) -> list[Text]:
    """Where each marked rule stands, as a sentence."""
    lines = []
    for mark in MARKED:
        entry = found.where(mark)
        if entry is None:
            continue
        one, place = entry.candidate, found.entries.index(entry) + 1
        about = _about_mark(mark, one, found.plan.baseline)
        coefficients = f"depth {one.depth:.4g}, width {one.width:.4g}, {one.resolution} px"
        if entry.standing.interval is None:
            meaning = "not yet known"
        elif entry is found.best:
            meaning = "shown as best"
        else:
            meaning = f"{_VERDICTS[entry.standing.verdict]}, {_difference(entry)} points"
            meaning = f"place {place} of {len(found.entries)}, {meaning}"
        lines.append(labelled(f"{mark}:", f"{about}{coefficients}; {meaning}."))
    return lines


def _about_mark(mark: str, one: Candidate, baseline: Candidate) -> str:
    """What a rule is, as the start of a sentence. A dimension alone may not meet the budget."""
    if mark not in _ABOUT_MARKED:
        return ""
    alone = mark not in SINGLE or one.is_alone(mark, baseline)
    return f"{_ABOUT_MARKED[mark]}: " if alone else f"about {_ABOUT_MARKED[mark]}: "


# --- the page ---------------------------------------------------------------------------------------------------------


def page(found: CoefficientSearch) -> Page:
    """The search as a page."""
    parts = list(page_parts(_lines(found)))
    answer = [part for part in parts if not isinstance(part, PageTable)]
    table = [part for part in parts if isinstance(part, PageTable)]
    facts = Facts(
        (
            Fact("shown as best", found.best.candidate.name, f"{count_text(found.best.candidate.macs)} MACs"),
            Fact("cannot be told from it", str(len(found.ties)), f"of {len(found.entries) - 1} others"),
            Fact("trainings", str(found.spent), f"of {found.full} of the full grid"),
        ),
        large=True,
    )
    sections = [Section("Result", (facts, *answer))]
    known = [entry for entry in found.entries if entry.standing.interval is not None]
    figure = (_figure(found, known),) if known else ()
    sections.append(Section("Candidates", (*figure, *table)))
    if found.race.ended is None:
        sections.append(Section("Continue", (Code(found.resume, "Resume the search"),)))
    elif found.grow:
        sections.append(Section("Continue", (Code(found.grow, "Train a family that grows by the best"),)))
    title = f"Coefficients for {found.plan.baseline.name}"
    return Page(title, f"Networks with {found.plan.constraint}, trained on {found.settings.data}", tuple(sections))


def _figure(found: CoefficientSearch, entries: list[Entry]) -> Plot:
    """Differences from the best of the others with their intervals, a row for each candidate."""
    rows = {entry.candidate.name: len(entries) - place for place, entry in enumerate(entries)}

    def trace(verdicts: tuple[str, ...], *, marked: bool) -> dict[str, Any]:
        chosen = [e for e in entries if e.standing.verdict in verdicts and bool(e.candidate.marks) is marked]
        colour = f"var(--{_COLOURS[verdicts[0]]})"
        x = [100 * entry.standing.difference for entry in chosen]
        ends = [entry.standing.interval or (0.0, 0.0) for entry in chosen]
        return {
            "type": "scatter",
            "mode": "markers",
            "x": x,
            "y": [rows[entry.candidate.name] for entry in chosen],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, 100 * high - value) for value, (_, high) in zip(x, ends, strict=True)],
                "arrayminus": [max(0.0, value - 100 * low) for value, (low, _) in zip(x, ends, strict=True)],
                "color": colour,
                "thickness": 1.5,
                "width": 3,
            },
            "hovertext": [
                plot_lines([entry.candidate.name, f"{_difference(entry)} points", f"val {_mean(entry.val)}"])
                for entry in chosen
            ],
            "hoverinfo": "text",
            "marker": {"color": colour, "size": 9, "symbol": "diamond" if marked else "circle"},
        }

    traces = [trace(kind, marked=marked) for kind in (("best", "tie"), ("worse",)) for marked in (False, True)]
    low = min(100 * (entry.standing.interval or (0.0, 0.0))[0] for entry in entries)
    high = max(100 * max((entry.standing.interval or (0.0, 0.0))[1], entry.standing.difference) for entry in entries)
    pad = 0.05 * max(high - low, 0.1)
    labels = {entry.candidate.name: _name(entry) for entry in entries}
    layout = {
        "height": 22 * len(rows) + 66,
        "margin": {"l": min(7 * max(map(len, labels.values())) + 14, 190), "r": 14, "t": 8, "b": 46},
        "xaxis": {"range": [low - pad, high + pad], "title": axis_title("points of accuracy"), "tickformat": "+"},
        "yaxis": {
            "range": [0.3, len(rows) + 0.7],
            "tickvals": list(rows.values()),
            "ticktext": [plot_text(labels[name], 28) for name in rows],
            "ticks": "",
            "tickfont": {"size": 11},
        },
        "shapes": [
            {
                "type": "line",
                "x0": 0,
                "x1": 0,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "var(--muted)", "width": 1},
            }
        ],
    }
    ties = len(found.ties)
    summary = (
        f"Validation accuracy of {len(entries)} candidates less that of the best of the others, best first, with "
        f"intervals. {found.best.candidate.name} is first, and {ties} cannot be told from it."
    )
    columns = (Column("candidate"), Column("difference, points", True), Column("val top-1", True), Column("verdict"))
    numbers = tuple(
        (_name(entry), _difference(entry), _mean(entry.val), _VERDICTS[entry.standing.verdict]) for entry in entries
    )
    keys = (
        Key("may be the best", "find", "●"),
        Key("worse", "trial", "●"),
        Key("a named rule", "other", "◆"),
    )
    caption = "Difference from the best of the others on the validation part, in points; bars hold for all at once"
    return Plot(caption, summary, PageTable(caption, columns, numbers), traces, layout, keys=keys)
