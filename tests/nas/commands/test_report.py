from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from nas.__main__ import main
from tests.pages import check_page


@pytest.fixture
def run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    search = ["search", "--target-macs", "200M", "--trials", "40", "--controller", "random", "--out", "run"]
    assert main(search) == 0
    capsys.readouterr()
    return workplace / "run"


def test_text_data_and_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "run"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Found trial ")
    assert main(["report", "run", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert f"Found trial {data['best']['number']}:" in text
    assert main(["report", "run", "--html", "page.html"]) == 0
    assert capsys.readouterr().out == "Written: page.html\n"
    shown = " ".join(check_page(Path("page.html").read_text()).text.split())
    assert data["reproduce"]["command"] in shown
    # Both at once: the page is written and the data printed.
    assert main(["report", "run", "--html", "again.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == data
    assert Path("again.html").read_text() == Path("page.html").read_text()


def test_a_page_is_not_written_over_a_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("page.html").write_text("mine")
    assert main(["report", "run", "--html", "page.html"]) == 2
    assert capsys.readouterr().err.startswith("mnas: html: page.html")
    assert Path("page.html").read_text() == "mine"


def test_what_is_no_run_is_one_line(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_commands_named_for_a_search_in_choices_alone_work(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["op1,op2,accuracy,latency_ms", *(f"{a},{b},0.{a}{b},{a + b}" for a in range(1, 5) for b in range(1, 5))]
    Path("t.csv").write_text("\n".join(rows))
    search = ["search", "--space", "table", "--evaluator", "table:t.csv", "--trials", "8", "--out", "my run"]
    assert main(search) == 0
    capsys.readouterr()
    assert main(["report", "my run"]) == 2
    error = capsys.readouterr().err
    named = re.findall(r"mnas (\w+ 'my run')", error)
    assert [words.split()[0] for words in named] == ["front", "trials"]
    for words in named:
        assert main(shlex.split(words)) == 0
