from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.views.page import (
    Cell,
    Code,
    Column,
    Fact,
    Facts,
    Key,
    Page,
    Plot,
    Prose,
    Section,
    Table,
    log_axis,
    log_ticks,
    plot_lines,
    plot_text,
)
from search_spaces import MnasError
from tests.pages import ReadPage, check_page

HOSTILE = '</script><script>alert(1)</script><img src=http://x.example/ onerror="alert(1)"> & \'\u202e\x1b[31m\n'
# As a page shows it: what is not printable is a space.
SHOWN = '</script><script>alert(1)</script><img src=http://x.example/ onerror="alert(1)"> & \'  [31m '


def table(text: str = "a") -> Table:
    return Table(f"Table {text}", (Column(text), Column("n", True)), ((text, Cell(text)), ("total", "2")), total=True)


def plot(text: str = "a") -> Plot:
    trace = {"type": "scatter", "x": [1, 2], "y": [3, 4], "hovertext": [plot_lines([text, "b"])] * 2}
    layout = {"height": 300, "xaxis": log_axis(1, 100, "size"), "annotations": [{"text": plot_text(text), "x": 1}]}
    summary = f"A line from 1 to 2 that goes up from 3 to 4, {text}"
    return Plot(f"Figure {text}", summary, table(text), [trace], layout, keys=(Key(text, "find"),))


def page(text: str = "a") -> Page:
    parts = (Prose(text, text), Facts((Fact(text, text, text),), large=True), table(text), Code(text, text), plot(text))
    return Page(text, text, (Section(text, parts), Section("Second", (plot(text),))))


def test_texts_of_strangers_are_inert() -> None:
    read = check_page(page(HOSTILE).html())
    # Two scripts that run, and two figures as data.
    assert len(read.scripts) == 4
    assert not any("alert(1)" in text for text in read.program)
    # Title, heading, subtitle, link, section, prose twice, fact thrice, … all are there to be read.
    assert read.text.count(SHOWN.rstrip()) > 15
    assert "\u202e" not in read.text
    assert "\x1b" not in read.text


def test_a_label_of_plotly_shows_what_it_is_given() -> None:
    assert plot_text("<b>a</b> & <a href='http://x.example'>b</a>") == (
        "&lt;b&gt;a&lt;/b&gt; &amp; &lt;a href='http://x.example'&gt;b&lt;/a&gt;"
    )
    assert plot_lines(["<br>", "b\nc"]) == "&lt;br&gt;<br>b c"
    assert plot_text("x" * 100, 10) == "x" * 9 + "…"


def test_the_policy_lets_only_our_scripts_run_and_nothing_be_fetched() -> None:
    read = check_page(page().html())
    (policy,) = (meta["content"] for meta in read.attributes("meta") if "http-equiv" in meta)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in read.program}
    assert set(rules["script-src"].split()) == {f"'sha256-{digest}'" for digest in hashes}
    assert not any("http" in rule for rule in rules.values())


def test_the_library_is_embedded_once_and_only_for_figures() -> None:
    from plotly.offline import get_plotlyjs

    library = get_plotlyjs()
    assert sum(text == library for text in check_page(page().html()).program) == 1
    words = Page("a", "b", (Section("c", (Prose("d"), Code("e", "f"))),)).html()
    assert len(words) < 20_000
    assert len(check_page(words).program) == 1


def test_tables_can_be_heard_and_reached_by_keyboard() -> None:
    read = check_page(page().html())
    region = next(attributes for attributes in read.attributes("div") if attributes.get("class") == "table")
    assert region == {"class": "table", "role": "region", "tabindex": "0", "aria-label": "Table a"}
    assert {attributes["scope"] for attributes in read.attributes("th")} == {"col", "row"}
    first = read.tables[0]
    assert (first.headers, first.rows) == (["a", "n"], [["a", "a"], ["total", "2"]])
    assert {"class": "skip", "href": "#main"} in read.attributes("a")


def test_a_row_of_another_length_is_a_fault() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells for 2 columns"):
        Table("t", (Column("a"), Column("b")), (("1",),))


def test_figures_are_what_plotly_takes() -> None:
    from plotly.graph_objects import Figure

    for found in check_page(page().html()).plots:
        text = re.sub(r"var\(--[a-z0-9-]+\)", "#123456", json.dumps(found))
        data = json.loads(text)
        Figure(data["data"], {**data["layout"], **data["narrow"]})  # raises where it does not know a property


def test_colours_exist_in_light_and_dark_and_have_contrast() -> None:
    style = ReadPage(page().html()).style
    light, dark = (
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", part))
        for part in style.split("prefers-color-scheme: dark", 1)
    )
    assert light.keys() == {**light, **dark}.keys() == dark.keys()
    for colours in (light, dark):
        for name, least in {"text": 7, "muted": 4.5, "link": 4.5, "find": 4.5, "reference": 4.5, "trial": 3}.items():
            for ground in ("back", "surface") if name != "trial" else ("back",):
                assert contrast(colours[name], colours[ground]) >= least, (name, ground)
        for name in (*(f"series-{number}" for number in range(1, 9)), "front", "other"):
            assert contrast(colours[name], colours["back"]) >= 3, name


def contrast(one: str, other: str) -> float:
    """Ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_logarithmic_ticks() -> None:
    assert log_ticks(4, 150) == [5, 10, 20, 50, 100]
    assert log_ticks(0.3, 60) == [0.5, 1, 2, 5, 10, 20, 50]
    assert log_axis(4, 150, "x")["ticktext"] == ["5", "10", "20", "50", "100"]


def test_a_page_is_never_written_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    page().write(file)
    before = file.read_text()
    with pytest.raises(MnasError, match=r"^html: .*page\.html"):
        page().write(file)
    assert file.read_text() == before


def test_without_plotly_a_page_of_figures_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MnasError, match="html: plotly is not installed; install it with: pip install plotly"):
        page().write(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
    Page("a", "b", (Section("c", (table(),)),)).write(tmp_path / "page.html")


def test_nothing_heavy_is_loaded() -> None:
    names = ("baselines.views.page", "baselines.views.published", "baselines.views.convert")
    code = (
        f"import sys, {', '.join(names)}; print([name for name in ('plotly', 'rich', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
