"""What people are told: clean of what others put into names, and never in the way of the work."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.text import Text

from baselines.notices import clean_console, notices, say
from baselines.training.checkpoint import CHECKPOINT
from baselines.views.terminal import show, write_csv
from nas.__main__ import main
from nas.evaluators.table_file import read_table
from nas.journal import Journal
from tests.baselines.training.images import write_folders
from tests.processes import environment

ESCAPES = "a\x1b]0;owned\x1b[2J\x9b1mb"
CLEAN = "a ]0;owned [2J 1mb"
MNAS = [sys.executable, "-m", "nas"]


def test_nothing_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    show(ESCAPES, Text(ESCAPES), Text.assemble(("[bold]x[/]\n", "bold"), ESCAPES))
    say(ESCAPES)
    found = capsys.readouterr()
    assert found.out == f"{CLEAN}\n{CLEAN}\n[bold]x[/]\n{CLEAN}\n"
    assert found.err == f"{CLEAN}\n"


def test_the_consoles_own_styles_stay() -> None:
    output = clean_console(file=io.StringIO(), force_terminal=True, color_system="standard")
    output.print(Text(f"bold{ESCAPES}", style="bold"))
    assert output.file.getvalue() == f"\x1b[1mbold{CLEAN}\x1b[0m\n"  # type: ignore[attr-defined]


def test_a_table_of_formulas_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["=1+1", "+cmd|x", "-x", "@x", "'=quoted", "'", "-1.5", "+2", "plain", "-inf", "a,b"]
    write_csv([{"=name": text, "accuracy": -0.5} for text in texts], ["=name", "accuracy"])
    out = capsys.readouterr().out
    cells = [row[0] for row in csv.reader(io.StringIO(out))]
    assert cells == [
        "'=name",
        "'=1+1",
        "'+cmd|x",
        "'-x",
        "'@x",
        "''=quoted",
        "''",
        "-1.5",
        "+2",
        "plain",
        "'-inf",
        "a,b",
    ]
    (tmp_path / "t.csv").write_text(out)
    table = read_table(tmp_path / "t.csv")
    assert list(table.columns) == ["=name", "accuracy"]
    assert table.columns["=name"].used() == texts


@pytest.mark.parametrize("stream", ["closed", "missing", "broken"])
def test_a_notice_that_cannot_be_shown_is_lost(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stderr = os.fdopen(writing, "w")
    if stream == "closed":
        stderr.close()
    monkeypatch.setattr(sys, "stderr", None if stream == "missing" else stderr)
    say("lost")
    notices().print("lost")
    monkeypatch.undo()
    with suppress(BrokenPipeError):
        stderr.close()


def test_a_search_goes_on_without_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["search", "--controller", "random", "--trials", "400", "--out", "run"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*MNAS, *arguments], check=False, env=environment(), stdout=writing, stderr=writing)
    os.close(writing)
    assert done.returncode == 0
    with Journal.open(tmp_path / "run") as journal:
        assert len(journal.completed_trials()) == 400
        assert journal.state()[0] == "complete"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_training_saves_its_state_on_a_signal(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "images")
    training = ["train", "efficientnet_b0", "--data", "images", "--width", "0.1", "--resolution", "16"]
    command = [*MNAS, *training, "--recipe", "proxy", "--epochs", "1000", "--batch", "8", "--out", "t"]
    quiet = subprocess.DEVNULL
    # What is started by nohup ignores SIGHUP, and so do its children.
    before = signal.signal(number, signal.SIG_DFL)
    with subprocess.Popen(command, env=environment(), stdout=quiet, stderr=quiet) as process:
        signal.signal(number, before)
        try:
            deadline = time.monotonic() + 120
            while not Path("t/history.csv").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(number)
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert (tmp_path / "t" / CHECKPOINT).is_file()
    assert main(["evaluate", "t"]) == 2  # it has no weights yet
