"""Tables fit any terminal: no line is wider than it, and every number of the data is there in full."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from baselines import load
from baselines.comparators import Comparator
from baselines.latency import Protocol, Subject, Timing
from baselines.spec import BaselineSpec, Provenance
from baselines.views import latency as latency_view
from baselines.views import spec as spec_view
from baselines.views.terminal import Table, as_html, labelled, pointer, show
from nas.evaluators.registry import load_evaluator
from nas.evidence import Comparison
from nas.views import comparison as comparison_view
from search_spaces import architecture_cost, layer_costs, part_costs

WIDTHS = (60, 80, 120)
MANY = [f"efficientnet_b{number}" for number in (1, 2, 3, 4, 5, 6, 7, 0)]


def text_at(width: int, parts: list[Any]) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    for part in parts:
        console.print(part, markup=False, crop=False)
    return stream.getvalue()


def numbers_of(name: str) -> list[str]:
    """Exact costs of a baseline and of its parts, as a table writes them."""
    net = load(name).architecture
    costs = [architecture_cost(net), *(cost for _, cost in part_costs(net))]
    return [f"{number:,}" for cost in costs for number in (cost.macs, cost.params)]


def compared(*names: str) -> tuple[list[Any], list[str]]:
    subjects = [load(name) for name in names]
    found = comparison_view.text(Comparison.of(subjects, load_evaluator("imagenet")))
    costs = [architecture_cost(subject.architecture) for subject in subjects]
    published = [f"{100 * figure.value:.1f} %" for one in subjects for figure in one.figures if figure.metric == "top1"]
    return found, [f"{number:,}" for cost in costs for number in (cost.macs, cost.params)] + published


def timed() -> tuple[list[Any], list[str]]:
    subjects = [Subject("a-network-with-a-long-name", None, 224), Subject("b", None, 224)]  # type: ignore[arg-type]
    timings = [Timing(subject.name, (1.25, 1.5), (0.875, 0.5), 123_456_789) for subject in subjects]
    return latency_view.text(subjects, timings, Protocol()), ["1375.00", "1312.50–1437.50", "117.7", "(0.59–0.78)"]


VIEWS: dict[str, Callable[[], tuple[list[Any], list[str]]]] = {
    "spec": lambda: (spec_view.text(load("efficientnet_l2")), numbers_of("efficientnet_l2")),
    "layers": lambda: (
        [spec_view.layer_table(load("efficientnet_b7"))],
        [f"{layer.cost.macs:,}" for layer in layer_costs(load("efficientnet_b7").architecture)],
    ),
    "comparison of two": lambda: compared("mnasnet_a1", "efficientnet_b0"),
    "comparison of eight": lambda: compared(*MANY),
    "latency": timed,
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_number_is_whole_and_no_line_too_wide(view: str, width: int) -> None:
    parts, expected = VIEWS[view]()
    text = text_at(width, parts)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = re.split(r"\s{2,}|\n|\s(?!%)", text)
    assert [number for number in expected if number not in words] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_first_column_takes_lines_of_its_own(width: int) -> None:
    names = [f"runs/{letter * 50}" for letter in "abc"]
    numbers = [("number", "right")] * 4
    table = Table("Runs", [("run", "left"), *numbers])
    for place, name in enumerate(names):
        table.add_row(name, *(f"{10**9 + place:,}" for _ in numbers))
    lines = [line.rstrip() for line in text_at(width, [table]).splitlines()]
    assert max(map(len, lines)) <= width
    for place, name in enumerate(names):
        if width < 120:
            assert lines[lines.index(name) + 1].split() == [f"{10**9 + place:,}"] * 4
        else:
            assert [name, *[f"{10**9 + place:,}"] * 4] in [line.split() for line in lines]


def test_a_pointer_is_never_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    words = "mnas freeze " + "runs/a-folder-with-a-long-name " * 5 + "--name NAME"
    show(pointer("Next:", words))
    assert capsys.readouterr().out == f"Next: {words}\n"
    show(labelled("Found", words))  # other texts wrap
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40
    assert f"Next:</span> {words}\n" in as_html(pointer("Next:", words))


def test_columns_of_a_group_stay_together() -> None:
    table = Table("", [("part", "left"), *[("operator", "left"), ("MACs", "right")] * 5], group=2)
    table.add_row("stem", *["a convolution of some kind", "10.8M"] * 5)
    for line in text_at(80, [table]).splitlines():
        assert line.count("operator") == line.count("MACs")


def test_the_answer_stands_before_the_structure() -> None:
    text = text_at(120, comparison_view.text(Comparison.of([load("mnasnet_a1"), load("efficientnet_b0")], imagenet())))
    places = [text.index(part) for part in ("Totals", "MACs ×0.808", "Accuracy:", "Structure (≠: differs from")]
    assert places == sorted(places)


def imagenet() -> Any:
    return load_evaluator("imagenet")


def test_notes_stand_where_their_mark_does() -> None:
    b0 = load("efficientnet_b0")
    same = text_at(120, comparison_view.text(Comparison.of([b0, b0], imagenet())))
    assert "≠" not in same
    own = BaselineSpec("own", replace(b0.architecture, resolution=256), Provenance("test"))
    unjudged = text_at(120, comparison_view.text(Comparison.of([own, own], imagenet())))
    for note in ("Accuracy:", "Soft reward", "Among random members", "Published", "soft reward", "±", "≠"):
        assert note in same or note == "≠"
        assert note not in unjudged


def test_published_figures_of_a_comparator_have_their_source() -> None:
    resnet = Comparator("resnet50", 224)
    # EfficientNet (arXiv 1905.11946v5) Table 2.
    assert [(figure.metric, figure.value) for figure in resnet.figures] == [
        ("top1", 0.76),
        ("top5", 0.93),
        ("params", 26e6),
        ("macs", 4.1e9),
    ]
    for other in (
        Comparator("resnet50", 256),
        Comparator("resnet50", 224, 10),
        Comparator("resnext101_64x4d", 224),
        Comparator("densenet201", 224),
    ):
        assert other.figures == ()


@pytest.mark.parametrize("model", ["resnet50", "resnet152", "densenet169", "inception_v3"])
@pytest.mark.usefixtures("torchvision")
def test_a_comparator_is_the_network_that_was_published(model: str) -> None:
    from baselines.comparators import load_comparator

    network = load_comparator(f"torchvision:{model}")
    published = {figure.metric: figure.value for figure in network.figures}
    macs, params = network.counts
    assert round(params / 1e6) == published["params"] / 1e6
    assert macs == pytest.approx(published["macs"], rel=0.05)
    comparison = Comparison.of([network, load("efficientnet_b0")], imagenet())
    text = text_at(80, comparison_view.text(comparison))
    assert f"{100 * published['top1']:.1f} %" in text
    assert comparison_view.data(comparison)["specs"][0]["figures"][0] == {
        "metric": "top1",
        "value": published["top1"],
        "kind": "published",
        "source": "arXiv 1905.11946v5 Table 2",
        "std": None,
    }


def test_the_width_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for width in (50, 90):
        monkeypatch.setenv("COLUMNS", str(width))
        show(spec_view.spec_table(load("efficientnet_b0")))
        assert width - 20 < max(map(len, capsys.readouterr().out.splitlines())) <= width
