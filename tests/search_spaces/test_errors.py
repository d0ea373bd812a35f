"""Errors name what to do: a missing library, its installation."""

from __future__ import annotations

import re
import shlex
import sys
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from search_spaces import errors
from search_spaces.errors import not_installed

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("search_spaces", "baselines", "nas", "scaling")


def extras() -> dict[str, list[str]]:
    """Libraries of each extra, from the file that declares them."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return {name: text.split() for name, text in config["options.extras_require"].items() if name != "dev"}


@pytest.mark.parametrize("extra", extras())
def test_a_missing_library_is_installed_by_a_command_that_a_shell_takes_as_it_is(extra: str) -> None:
    message = str(not_installed("train", "some-library", extra))
    assert message.startswith("train: some-library is not installed; install it with: ")
    python, *command = shlex.split(message.partition(" with: ")[2])
    assert python in ("python", sys.executable)
    assert command[:3] == ["-m", "pip", "install"]
    assert {Requirement(text).name for text in command[3:]} == {Requirement(text).name for text in extras()[extra]}


def test_another_python_than_the_first_on_the_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors.shutil, "which", lambda name: "/usr/bin/python")
    monkeypatch.setattr(errors.sys, "executable", "/home/me/my venv/bin/python")
    assert "with: '/home/me/my venv/bin/python' -m pip install " in str(not_installed("html", "plotly", "html"))


def test_a_checkout_that_is_not_installed_names_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert str(not_installed("html", "plotly", "html")).endswith(" -m pip install plotly")


def test_no_message_names_an_extra_that_no_index_has() -> None:
    sources = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    assert [file.name for file in sources if re.search(r"mnas\[\w+\]", file.read_text())] == []
