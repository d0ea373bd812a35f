"""Why a scaled network has its size, as data, as text and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import counted, millions, signed
from baselines.views.convert import page_parts
from baselines.views.page import Fact, Facts, Page, Part, Prose, Section
from baselines.views.terminal import Table
from scaling.advice import EXTRAPOLATED, Advice
from scaling.published import PUBLISHED_SIDE
from scaling.sizes import CHEAP, Sized
from scaling.views.growth_figure import FIGURE_NOTE, activations_figure
from search_spaces import MBConv

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from scaling.explanation import Beside, Explanation, Rounded, Side

COST_COLUMNS = [(name, "right") for name in ("MACs", "params", "activations", "memory")]
_WHY = (
    "Why activations: run time on GPUs and TPUs follows the activations of a network more than its MACs (arXiv "
    "2103.06877), and so does the memory of a training."
)


def text(found: Explanation) -> list[RenderableType]:
    """All sections, one below the other."""
    from rich.text import Text

    shown: list[RenderableType] = [_opening(found)]
    for heading, parts in _sections(found):
        above: list[RenderableType] = [] if isinstance(shown[-1], Table) else [""]
        shown += [*above, Text(heading, style="bold underline"), *_spaced(parts)]
    return shown


def _spaced(parts: Sequence[RenderableType]) -> Iterator[RenderableType]:
    """Parts with an empty line between sentences and the table below them; a table has one below itself."""
    for place, part in enumerate(parts):
        if isinstance(part, Table) and (not place or isinstance(parts[place - 1], str)):
            yield ""
        yield part


def page(found: Explanation) -> Page:
    """The sections of the terminal, with a figure of activations against MACs."""
    sections = []
    for heading, parts in _sections(found):
        shown: list[Part] = list(page_parts(parts))
        if heading.startswith("Who"):
            shown += [activations_figure(found), Prose(FIGURE_NOTE, quiet=True)]
        sections.append(Section(heading, tuple(shown)))
    chosen, own = found.chosen, found.own
    facts = (
        Fact("depth", f"{chosen.coefficients.depth:.4g}"),
        Fact("width", f"{chosen.coefficients.width:.4g}"),
        Fact("resolution", f"{chosen.coefficients.resolution} px", f"from {own.coefficients.resolution} px"),
        Fact("MACs", millions(chosen.cost.macs), f"×{found.real:.3g}"),
        Fact("activations", millions(chosen.cost.activations), _times(chosen, own, "activations")),
        Fact("params", millions(chosen.cost.params), _times(chosen, own, "params")),
    )
    first = sections[0]
    sections[0] = Section(first.heading, (Facts(facts, large=True), *first.parts))
    return Page(f"Why {found.spec.name} has its size", _opening(found), tuple(sections))


def _opening(found: Explanation) -> str:
    chosen = found.chosen.coefficients
    return (
        f"{found.spec.name}: depth {chosen.depth:.4g}, width {chosen.width:.4g}, {chosen.resolution} px, "
        f"{millions(found.chosen.cost.macs)} MACs (×{found.real:.3g} of {found.baseline.name})"
    )


def _times(chosen: Sized, own: Sized, cost: str) -> str:
    return f"×{getattr(chosen.cost, cost) / getattr(own.cost, cost):.3g}"


def _sections(found: Explanation) -> list[tuple[str, list[RenderableType]]]:
    """Headings, and what stands below each."""
    return [
        (f"The rule {found.rule.name} and the released coefficients", _rule_parts(found)),
        ("What rounding does", _rounding_parts(found)),
        ("Which resolutions are cheap", _side_parts(found)),
        ("What does not scale", _fixed_parts(found)),
        (f"Who recommends what at {found.budget.text()}", _advice_parts(found)),
    ]


def cost_cells(found: Sized) -> list[str]:
    """Costs of a network, in `COST_COLUMNS`."""
    cost = found.cost
    return [*(millions(value) for value in (cost.macs, cost.params, cost.activations)), f"{millions(found.memory)}B"]


def factor_cells(found: Sized) -> list[str]:
    """Depth, width and resolution of a network."""
    chosen = found.coefficients
    return [f"{chosen.depth:.4g}", f"{chosen.width:.4g}", str(chosen.resolution)]


# --- the rule beside released coefficients ----------------------------------------------------------------------------


def _rule_parts(found: Explanation) -> list[RenderableType]:
    released, own = found.released[:-1], found.own.coefficients.resolution
    about = (
        f"{released[0].name} to {released[-1].name} are not powers of one phi: depth, width and resolution each have a "
        f"phi of their own, here of the rule {found.powers.name}. Their authors have not said why. Keras's guide calls "
        "them hand-picked: sides that divide by 8 or 16, channels in multiples of 8, and memory."
    )
    ruled = f"Rule: the factors of {found.rule.name} at the same real MACs, before rounding."
    lines: list[RenderableType] = [about, ruled]
    if own != PUBLISHED_SIDE:
        lines.append(f"Resolutions were published for {PUBLISHED_SIDE} px, and are in proportion to {own} px here.")
    lines += [_phi_table(found), _cost_table(found)]
    ratio = [row.real / row.nominal for row in released]
    lines.append(
        f"Real MACs are {min(ratio):.2f} to {max(ratio):.2f} times d·w²·r² on {found.baseline.name}, since layers and "
        "channels are rounded and maps of odd sides are rounded up."
    )
    return lines


def _rows(found: Explanation) -> list[tuple[Beside, bool]]:
    """Networks beside the rule, and whether each is the explained one; a published one stands there once."""
    *published, last = found.released
    rows = [(row, row.sized == last.sized) for row in published]
    return rows if any(is_own for _, is_own in rows) else [*rows, (last, True)]


def _cells(cells: Iterable[str], is_own: bool) -> list[str | Text]:
    """Cells of a row, in bold if it is that of the explained network or of its rule."""
    from rich.text import Text

    return [Text(cell, style="bold") if is_own else cell for cell in cells]


def _phi_table(found: Explanation) -> Table:
    own, phi, rule = (("depth", "width", "px"), ("phi depth", "phi width", "phi px"), ("rule depth", "rule width"))
    headers = [*own, *phi, *rule, "rule px"]
    table = Table("Coefficients", [("network", "left"), *((name, "right") for name in headers)])
    side = found.own.coefficients.resolution
    for row, is_own in _rows(found):
        phis = ["–" if value is None else f"{value:.2f}" for value in row.phi]
        ruled = [f"{row.ruled.depth:.2f}", f"{row.ruled.width:.2f}", f"{row.ruled.resolution * side:.0f}"]
        table.add_row(*_cells([_short(found, row), *factor_cells(row.sized), *phis, *ruled], is_own))
    return table


def _cost_table(found: Explanation) -> Table:
    columns = [("network", "left"), ("d·w²·r²", "right"), ("real", "right"), *COST_COLUMNS]
    table = Table("Nominal and real growth of MACs, and costs", columns)
    table.add_row("baseline", "×1", "×1", *cost_cells(found.own))
    for row, is_own in _rows(found):
        growth = [f"×{value:.2f}" for value in (row.nominal, row.real)]
        table.add_row(*_cells([_short(found, row), *growth, *cost_cells(row.sized)], is_own))
    return table


def _short(found: Explanation, row: Beside) -> str:
    return row.name.removeprefix(f"{found.baseline.name}_")


# --- rounding ---------------------------------------------------------------------------------------------------------


def _rounding_parts(found: Explanation) -> list[RenderableType]:
    chosen, rows = found.chosen.coefficients, found.rounded
    stages = [row for row in rows if row.part.startswith("stages.")]
    before, after = sum(row.layers for row in stages), sum(row.new_layers for row in stages)
    exact = sum(row.exact_layers for row in stages)
    words = chosen.rounding.words().capitalize()
    ends = stages[0].layers + stages[-1].layers if "ends" in chosen.keep and len(stages) > 1 else 0
    kept = f" and {ends} that are kept" if ends else ""
    line = (
        f"{words}. {counted(before - ends, 'block')} times {chosen.depth:.4g}{kept} would be {exact:.4g}; "
        f"the network has {after}."
    )
    doubled = [row.part for row in stages if (row.layers, row.new_layers) == (1, 2)]
    if doubled and chosen.depth < 2:
        least = "any depth above 1" if chosen.rounding.layers_up else "a depth of at least 1.5"
        line += f" {least.capitalize()} makes 2 layers of 1 ({', '.join(doubled)})."
    return [line, _rounding_table(rows), _growth_table(found)]


def _rounding_table(rows: Sequence[Rounded]) -> Table:
    headers = ("layers", "exact", "rounded", "channels", "exact", "rounded")
    table = Table("Layers and channels", [("part", "left"), *((name, "right") for name in headers)])
    for row in rows:
        layers = (str(row.layers), f"{row.exact_layers:.2f}", str(row.new_layers))
        table.add_row(row.part, *layers, str(row.channels), f"{row.exact_channels:.1f}", str(row.new_channels))
    return table


def _growth_table(found: Explanation) -> Table:
    headers = ("coefficient", "nominal", "real", "difference")
    table = Table("What each dimension multiplies MACs by", [("dimension", "left"), *((h, "right") for h in headers)])
    chosen = found.chosen.coefficients
    coefficients = (f"{chosen.depth:.4g}", f"{chosen.width:.4g}", f"{chosen.resolution} px")
    for name, cell, nominal, real in zip(
        ("depth", "width", "resolution"), coefficients, found.nominal, found.growth, strict=True
    ):
        table.add_row(name, cell, f"×{nominal:.3f}", f"×{real:.3f}", f"{signed(100 * (real / nominal - 1), 1)} %")
    product = found.nominal.depth * found.nominal.width * found.nominal.resolution
    table.add_section()
    change = f"{signed(100 * (found.real / product - 1), 1)} %"
    table.add_row("together", "", f"×{product:.3f}", f"×{found.real:.3f}", change, style="bold")
    return table


# --- resolutions ------------------------------------------------------------------------------------------------------


def _side_parts(found: Explanation) -> list[RenderableType]:
    network, sides = found.chosen.architecture, {side.side: side for side in found.sides}
    own, stride = network.resolution, network.total_stride
    low = sides[own // stride * stride]
    more = sides[low.side + 1].macs / low.macs - 1
    odd = (
        f"At {low.side + 1} px this network costs {100 * more:.1f} % more MACs than at {low.side} px, because every "
        f"feature map grows by a pixel ({_maps(low)} become {_maps(sides[low.side + 1])}). At multiples of its total "
        f"stride, {stride} px, no map is rounded up."
    )
    cheap = (
        f"Sides near {own} px that cost at most {100 * CHEAP:.0f} % more than maps of whole pixels: "
        f"{', '.join(ranges(side.side for side in found.cheap))} px."
    )
    columns = [("px", "right"), ("feature maps", "right"), ("MACs", "right"), ("rounded maps cost", "right")]
    table = Table(f"{found.spec.name} at other resolutions", columns)
    for side in found.sides:
        cells = (str(side.side), _maps(side), f"{side.macs:,}", f"{signed(100 * side.extra, 1)} %")
        table.add_row(*_cells(cells, side.side == own))
    return [odd, cheap, table]


def _maps(side: Side) -> str:
    return " ".join(map(str, side.maps))


def ranges(numbers: Iterable[int]) -> list[str]:
    """Whole numbers in ascending order, with neighbours joined: ``252–256``, ``288``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(low) if low == high else f"{low}–{high}" for low, high in found]


# --- what does not scale ----------------------------------------------------------------------------------------------


def _fixed_parts(found: Explanation) -> list[RenderableType]:
    stages = found.own.architecture.stages
    kept = found.chosen.coefficients.keep
    line = (
        f"No coefficient changes the {counted(len(stages), 'stage')}, "
        f"their kernels ({_each(stage.block.kernel_size for stage in stages)}), "
        f"expansion ({_each(s.block.expand_ratio for s in stages if isinstance(s.block, MBConv))}), "
        f"squeeze-excite ({_each(stage.block.se_ratio for stage in stages)}) "
        f"and strides ({_each(stage.stride for stage in stages)}); "
        "stem, head and classifier stay one layer each. Resolution changes no parameter."
    )
    columns = ("MACs", "its share", "MACs, scaled", "its share", "params", "its share", "params, scaled", "its share")
    table = Table("Parts of the network", [("part", "left"), *((name, "right") for name in columns)], group=2)
    for share in found.shares:
        cells: list[str] = []
        for cost in ("macs", "params"):
            for part, whole in ((share.before, found.own.cost), (share.after, found.chosen.cost)):
                value = getattr(part, cost)
                cells += [_count(value), f"{100 * value / getattr(whole, cost):.1f} %"]
        table.add_row(share.part, *cells)
    lines: list[RenderableType] = [line]
    if kept:
        lines.append(f"This network also keeps: {', '.join(kept)}.")
    return [*lines, table]


def _count(value: int) -> str:
    return millions(value) if value >= 100_000 else f"{value:,}"


def _each(values: Iterable[float]) -> str:
    """Values and how many stages have them: ``3 in 4 stages, 5 in 3``, or ``none in 4 stages, 0.25 in 3``."""
    counts = sorted(Counter(values).items())
    if not counts:
        return "none"
    if len(counts) == 1:
        return _value(counts[0][0])
    first, *others = (f"{_value(value)} in {count}" for value, count in counts)
    return ", ".join([f"{first} stage{'s' * (counts[0][1] > 1)}", *others])


def _value(value: float) -> str:
    return f"{value:g}" if value else "none"


# --- who recommends what ----------------------------------------------------------------------------------------------


def _advice_parts(found: Explanation) -> list[RenderableType]:
    cost = "macs" if found.budget.cost == "activations" else "activations"
    possible = sorted((one for one in found.advice if one.sized), key=lambda one: _cost(one, cost))
    failed: list[RenderableType] = [f"{one.rule.name}: {one.problem}." for one in found.advice if one.problem]
    if not possible:
        return failed
    columns = [("rule", "left"), *((name, "right") for name in ("depth", "width", "px")), *COST_COLUMNS]
    title = f"Rules, the fewest {'MACs' if cost == 'macs' else cost} first"
    table = Table(title, [*columns, ("departs", "right")])
    for one in possible:
        assert one.sized is not None
        assert one.solution is not None
        name = f"{one.rule.name} *" if one.basis == EXTRAPOLATED else one.rule.name
        cells = [name, *factor_cells(one.sized), *cost_cells(one.sized), f"{one.solution.departure:.2f}"]
        table.add_row(*_cells(cells, one.rule == found.rule))
    return [_fewest_text(found, possible, cost), *_latency_lines(found), *failed, table, *_basis_lines(possible)]


def _latency_lines(found: Explanation) -> list[str]:
    """Why the budget is not the one that was given."""
    if found.solution is None or found.solution.budget.cost != "latency":
        return []
    given = found.solution.budget.text()
    return [f"The rules are compared at this network's MACs: {given} would have to be measured many times for each."]


def _basis_lines(possible: Sequence[Advice]) -> Iterator[str]:
    """What the columns and marks of the table mean."""
    yield "departs: distance from the rule's shares in log MACs; 0.1 is a tenth more in one dimension."
    if any(one.basis == EXTRAPOLATED for one in possible):
        yield "*: extrapolated; the rule was published only for growth, or only between other sizes."
    between = [f"{one.rule.name} {one.basis}" for one in possible if one.rule.points and one.basis != EXTRAPOLATED]
    if between:
        yield f"Published points: {'; '.join(between)}."
    if any(one.rule.name.startswith("lacs") for one in possible):
        yield "lacs-gpu and lacs-tpu were published for networks with other blocks (EfficientNet-X)."


def _cost(one: Advice, cost: str) -> int:
    return int(getattr(one.sized.cost, cost)) if one.sized else 0


def _fewest_text(found: Explanation, possible: Sequence[Advice], cost: str) -> str:
    """Why activations matter, and which rule has the fewest; ``possible`` is in ascending order of the cost."""
    least, most = possible[0], possible[-1]
    if cost == "macs":
        ends = " to ".join(f"{millions(_cost(one, cost))} ({one.rule.name})" for one in (least, most))
        return f"{_WHY} All have about the same number here; MACs range from {ends}."
    if _cost(most, cost) < 1.005 * _cost(least, cost):
        return f"{_WHY} All have about the same number here, {millions(_cost(least, cost))}."
    own = next((one for one in possible if one.rule == found.rule), least)
    beside = ""
    if own is not least:
        more = 100 * (_cost(own, cost) / _cost(least, cost) - 1)
        beside = f"; {own.rule.name} has {millions(_cost(own, cost))} ({signed(more, 0)} %)"
    return f"{_WHY} Here {least.rule.name} has the fewest, {millions(_cost(least, cost))}{beside}."


# --- plain data -------------------------------------------------------------------------------------------------------


def data(found: Explanation) -> dict[str, Any]:
    """All of it as plain data."""
    return {
        "baseline": {"name": found.baseline.name, "digest": found.baseline.digest, **sized_data(found.own)},
        "network": {"name": found.spec.name, "digest": found.spec.digest, **sized_data(found.chosen)},
        "rule": found.rule.name,
        "phi_of": found.powers.name,
        "budget": {"target": found.budget.text(), "cost": found.budget.cost, "batch": found.budget.batch},
        "released": [
            {
                "name": row.name,
                **sized_data(row.sized),
                "phi": row.phi._asdict(),
                "nominal": row.nominal,
                "real": row.real,
                "rule": row.ruled._asdict(),
            }
            for row in found.released
        ],
        "rounding": {
            "words": found.chosen.coefficients.rounding.words(),
            "parts": [asdict(row) for row in found.rounded],
            "nominal": found.nominal._asdict(),
            "real": found.growth._asdict(),
        },
        "resolutions": {
            "near": [asdict(side) for side in found.sides],
            "cheap": [side.side for side in found.cheap],
        },
        "parts": [asdict(share) for share in found.shares],
        "rules": [_advice_data(one) for one in found.advice],
        "curves": [{"rule": curve.rule, "macs_activations": curve.points} for curve in found.curves],
    }


def sized_data(found: Sized) -> dict[str, Any]:
    """A network's coefficients and costs as plain data; memory in bytes."""
    chosen = found.coefficients
    return {
        "depth": chosen.depth,
        "width": chosen.width,
        "resolution": chosen.resolution,
        **asdict(found.cost),
        "memory": found.memory,
    }


def _advice_data(one: Advice) -> dict[str, Any]:
    known: dict[str, Any] = {"rule": one.rule.name, "source": one.rule.source, "problem": one.problem or None}
    if one.sized is None or one.solution is None:
        return known
    return {
        **known,
        **sized_data(one.sized),
        "departure": one.solution.departure,
        "on_rule": one.solution.on_rule,
        "published": one.solution.published,
        "basis": one.basis,
    }
