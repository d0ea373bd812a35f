"""Malformed files of every kind that comes from strangers: each a clear error in one line, or a file that is right."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import MnasError
from tests.entrances import entrances

KINDS = sorted(entrances())
CANARY = "canary"
# What may stand in place of something else, in the words of YAML, JSON, CSV and SQLite.
PIECES = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b"\t",
    b"'",
    b'"',
    b",",
    b":",
    b"- ",
    b"[" * 2000,
    b"{}",
    b"null",
    b"true",
    b"~",
    b"-1",
    b"0",
    b"1e999",
    b".nan",
    b"NaN",
    b"-Infinity",
    b"9" * 5000,
    b"9" * 4000,
    b"0x10",
    b"!!python/object/apply:os.mkdir [canary]",
    b"!!python/name:os.system",
    b"&a [*a]",
    b"<<: {a: 1}",
    b"mine.py:evaluator",
    b"table:nowhere.csv",
    b"table:/dev/zero",
    b"../../etc/passwd",
    b"stages",
    b"kernel_size",
    b"accuracy",
    b"macs",
    b"efficientnet",
    b"\xe2\x80\xa8",
    b"CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM run; END",
]

edits = st.lists(
    st.tuples(
        st.floats(0, 1),  # where
        st.integers(0, 40) | st.integers(0, 4000),  # so many bytes are replaced
        st.sampled_from(PIECES) | st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for where, count, piece in changes:
        start = int(where * len(content))
        content = content[:start] + piece + content[start + count :]
    return content


def read(folder: Path, kind: str, content: bytes) -> bool:
    """Whether a file of a kind was usable; that it was not is one clear line, and nothing is changed or run by it."""
    entrance = entrances()[kind]
    file = folder / entrance.name
    file.write_bytes(content)
    message = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            entrance.read(file)
        except MnasError as error:
            message = str(error)
    assert file.read_bytes() == content
    assert {path.name for path in folder.iterdir()} == {entrance.name}
    if message is not None:
        assert "\n" not in message
        assert 0 < len(message) < 1200
        assert message.isprintable()
    return message is None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one, in which something that ran would leave a trace."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"import os; os.mkdir('{CANARY}')")
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def fuzz(folder: Path, kind: str, examples: int) -> int:
    """How many of so many edited files were malformed."""
    malformed = 0

    @settings(max_examples=examples, database=None)
    @given(edits)
    def attempt(changes: list[tuple[float, int, bytes]]) -> None:
        nonlocal malformed
        for path in folder.iterdir():
            path.unlink()
        malformed += not read(folder, kind, edited(entrances()[kind].example, changes))

    attempt()
    assert not os.path.exists(folder.parent / CANARY)
    return malformed


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_are_right(folder: Path, kind: str) -> None:
    assert read(folder, kind, entrances()[kind].example)


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_files_are_one_clear_line(folder: Path, kind: str) -> None:
    assert fuzz(folder, kind, 150) > 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_malformed_files(folder: Path, kind: str) -> None:
    """Several kinds and as many more as there are formats: 10,000 and more in all."""
    assert fuzz(folder, kind, 2600) >= 10_000 / len(KINDS)
