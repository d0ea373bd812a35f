"""A network part by part on a page, beside a reference."""

from __future__ import annotations

from baselines.spec import BaselineSpec
from baselines.views.page import Cell, Column, Table
from baselines.views.spec import PART_COLUMNS, part_rows
from search_spaces import architecture_cost


def stages_table(spec: BaselineSpec, reference: BaselineSpec, short: str) -> Table:
    """A row for each part of a spec and one for the total.

    Args:
        reference: network to compare with; the last column shows its values where they differ.
        short: name of the reference in the header of that column.
    """
    others = {row[0]: row for row in part_rows(reference)}
    texts = (None, "{}", "{} px", "{} ch", "×{}", "stride {}")  # of the columns that are compared
    rows: list[tuple[str | Cell, ...]] = []
    for row in part_rows(spec):
        other = others.get(row[0])
        different = [i for i, text in enumerate(texts) if text and (other is None or row[i] != other[i])]
        cells = [Cell(cell) if place in different else cell for place, cell in enumerate(row)]
        has = "nothing" if other is None else ", ".join((texts[i] or "").format(other[i]) for i in different)
        rows.append((*cells, has))
    cost = architecture_cost(spec.architecture)
    rows.append(("total", *[""] * 5, f"{cost.params:,}", f"{cost.macs:,}", ""))
    columns = tuple(Column(header, justify == "right") for header, justify in PART_COLUMNS)
    caption = f"{spec.name} at {spec.architecture.resolution} px, and what {short} has where they differ"
    return Table(caption, (*columns, Column(f"{short} has")), tuple(rows), total=True)
