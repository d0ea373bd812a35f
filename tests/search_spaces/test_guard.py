"""Code that others wrote changes nothing of the process, and does not end it."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.errors import ForeignError, reason_of
from search_spaces.guard import guarded

STATES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "folder": (os.getcwd, lambda: os.chdir("/")),
    "environment": (lambda: dict(os.environ), os.environ.clear),
    "a variable": (lambda: os.environ.get("HOME"), lambda: os.environ.update(HOME="elsewhere")),
    "numpy's errors": (np.geterr, lambda: np.seterr(all="raise")),
    "warnings": (lambda: list(warnings.filters), lambda: warnings.simplefilter("error")),
    "recursion": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(5000)),
    "SIGINT": (lambda: signal.getsignal(signal.SIGINT), lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)),
    "SIGTERM": (lambda: signal.getsignal(signal.SIGTERM), lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)),
    "dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "device": (torch.get_default_device, lambda: torch.set_default_device("meta")),
    "gradients": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
}


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    with guarded():  # whatever the test finds, the next one begins as this one did
        yield STATES[request.param]


@pytest.mark.parametrize("failing", [False, True])
def test_what_it_changes_is_put_back(
    state: tuple[Callable[[], object], Callable[[], object]], *, failing: bool
) -> None:
    read, change = state
    before = read()
    with pytest.raises(KeyError) if failing else guarded(), guarded():
        change()
        assert read() != before
        if failing:
            raise KeyError
    assert read() == before


def test_closed_outputs_are_opened_again(tmp_path: Path) -> None:
    kept = os.dup(1)
    try:
        with guarded():
            os.close(1)
            other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
            assert other == 1
        assert os.path.samestat(os.fstat(1), os.fstat(kept))
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert (tmp_path / "other").read_bytes() == b""


def test_a_current_folder_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with guarded():
        assert os.getpid()


def test_no_file_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        with guarded():
            pass
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), BaseException("what")])
def test_what_would_end_the_process_becomes_an_error(error: BaseException) -> None:
    with pytest.raises(ForeignError, match=type(error).__name__), guarded():
        raise error


@pytest.mark.parametrize("error", [KeyError("what"), KeyboardInterrupt()])
def test_other_errors_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)), guarded():
        raise error


class BadTextError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("what"), "KeyError: 'what'"),
        (ValueError(), "ValueError"),
        (ValueError("\n\nafter blank lines\nmore"), "ValueError: after blank lines"),
        (ValueError("bad \x1b]0;owned\x07 \udcff"), "ValueError: bad ]0;owned"),
        (BadTextError(), "BadTextError: its text cannot be read"),
        (ValueError("x" * 10_000_000), f"ValueError: {'x' * 487}…"),
        (ExceptionGroup("many", [ValueError(1)]), "ExceptionGroup: many (1 sub-exception)"),
    ],
)
def test_reasons_are_one_short_line(error: BaseException, reason: str) -> None:
    assert reason_of(error) == reason
