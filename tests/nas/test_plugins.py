"""Spaces, evaluators and controllers from Python files and installed packages, and the checker."""

from __future__ import annotations

import json
import sqlite3
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from nas.__main__ import main
from nas.check import check_controller, check_evaluator, check_space
from nas.controllers.registry import CONTROLLERS
from nas.evaluators.registry import EVALUATORS, _load_evaluator, load_evaluator
from search_spaces import SPACES, MnasError, StageSpace, load_space, plugins
from search_spaces.registry import _load_space

GOOD = """
from search_spaces import Architecture, StageSpace, StageChoices, load_space
from dataclasses import replace
from nas.evaluators.base import Evaluator, Metrics
from nas.controllers.random import RandomController

SMALLEST = StageChoices((3,), (1,), (0.0,), (16,), (1,), 1)

def space():
    b0 = load_space("efficientnet")
    return StageSpace("own", replace(b0.template, resolution=64), b0.stages)

class Depth(Evaluator):
    name = "depth"
    meaning = "an accuracy made up from the depth"

    def check(self, architecture):
        pass

    def evaluate(self, architectures, seed=0):
        return [Metrics(architecture.num_blocks / 30) for architecture in architectures]

evaluator = Depth
controller = RandomController
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    _load_space.cache_clear()
    _load_evaluator.cache_clear()
    plugins._run_file.cache_clear()
    Path("own.py").write_text(GOOD)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_a_search_with_everything_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--space", "own.py", "--evaluator", "own.py", "--controller", "own.py:RandomController"]
    assert main(["search", *own, "--target-macs", "40M", "--trials", "30", "--out", "run", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["best"]
    assert best["macs"] <= 40_000_000
    # Somebody who is given this folder must not run its code unasked.
    for command in (["freeze", "run", "--name", "x"], ["front", "run"], ["finalists", "run"]):
        assert main(command) == 2
        assert "own.py, which would run; add --allow-code" in capsys.readouterr().err
        assert main([*command, "--allow-code"]) == 0
    assert Path("specs/x.yaml").is_file()


@pytest.mark.usefixtures("here")
def test_a_journal_cannot_make_code_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--controller", "random", "--trials", "5", "--out", "run"]) == 0
    Path("evil.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    for field in ("space", "evaluator", "controller"):
        connection = sqlite3.connect("run/journal.sqlite")
        with connection:
            (text,) = connection.execute("SELECT value FROM run WHERE key = 'settings'").fetchone()
            changed = json.dumps({**json.loads(text), field: "evil.py"})
            connection.execute("UPDATE run SET value = ? WHERE key = 'settings'", (changed,))
        connection.close()
        assert main(["front", "run"]) == 2
        assert not Path("ran").exists()
    capsys.readouterr()


@pytest.mark.usefixtures("here")
def test_the_example_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    Path("mine.py").write_text(text.split("```python\n")[1].split("```")[0])
    assert main(["check", "mine.py"]) == 0
    own = ["--space", "mine.py", "--evaluator", "mine.py"]
    low, high = load_space("mine.py").macs_range
    assert main(["search", *own, "--target-macs", str((low + high) // 2), "--trials", "40", "--json"]) == 0
    assert "WRONG" not in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_checker_passes_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "own.py"]) == 0
    out = capsys.readouterr().out
    assert out.count("  ok  ") == 14
    assert "WRONG" not in out


CHOICES = """
from nas.evaluators.base import Evaluator, Metrics
from search_spaces import ChoiceSpace

OPS = {"conv": 3.0, "dwconv": 1.5, "skip": 0.5}
space = ChoiceSpace("own", {f"layer{i}": tuple(OPS) for i in range(5)})


class Sum(Evaluator):
    name = "sum"
    meaning = "an accuracy made up from the ops"

    def check(self, network):
        pass

    def evaluate(self, networks, seed=0):
        return [Metrics(sum(OPS[op] for op in network.genotype.values()) / 20) for network in networks]


evaluator = Sum
"""


@pytest.mark.usefixtures("here")
def test_choices_of_a_persons_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A space without architectures, and an evaluator that judges its choices, in worker processes too."""
    Path("choices.py").write_text(CHOICES)
    assert main(["check", "choices.py"]) == 0
    assert "WRONG" not in capsys.readouterr().out
    assert main(["spaces", "choices.py"]) == 0
    assert "243" in capsys.readouterr().out
    own = ["search", "--space", "choices.py", "--evaluator", "choices.py", "--trials", "40", "--out", "run"]
    assert main([*own, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"]["genotype"] == {f"layer{i}": "conv" for i in range(5)}
    assert (found["best"]["place"], found["assumed"], found["best"]["costs"]) == (None, None, {})
    assert main(["front", "run", "--allow-code"]) == 2
    assert "choices.py' has no cost" in capsys.readouterr().err
    assert main(["search", "--space", "choices.py", "--trials", "5"]) == 2
    assert "evaluator: imagenet judges architectures, and the space has none" in capsys.readouterr().err


BROKEN = {
    "name: its 'meaning' is not a text": ("    meaning = ", "    other = "),
    "accuracy 3.0 is not in [0, 1]": ("Metrics(architecture.num_blocks / 30)", "Metrics(3.0)"),
    "a result is a float and not Metrics": ("Metrics(architecture.num_blocks / 30)", "0.5"),
    "gave 1 result for 5 networks": ("for architecture in architectures]", "for architecture in architectures[:1]]"),
    "gave different metrics": ("architecture.num_blocks / 30", "__import__('random').random()"),
    "another seed gives different metrics": (
        "architecture.num_blocks / 30",
        "architecture.num_blocks / 30 / (1 + seed)",
    ),
    "it has one network": ("b0.stages)", "[SMALLEST] * 7)"),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("message", BROKEN)
def test_checker_finds_what_does_not(capsys: pytest.CaptureFixture[str], message: str) -> None:
    old, new = BROKEN[message]
    assert old in GOOD
    Path("own.py").write_text(GOOD.replace(old, new))
    assert main(["check", "own.py"]) == 2
    out, err = capsys.readouterr()
    assert message.removeprefix("name: ") in out + err
    assert ("WRONG" in out and " not hold; see above" in err) or "is not a text" in err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("content", "option", "message"),
    [
        ("x = 1\n\nraise KeyError('what')", "--space", "own.py: line 3: KeyError: \"'what'\"; fix the file"),
        ("x = (", "--space", "SyntaxError"),
        ("", "--space", "own.py defines no 'space'"),
        ("space = 3", "--space", "own.py gives a int; it must be a Space, or return one"),
        ("evaluator = 3", "--evaluator", "own.py gives a int; it must be an Evaluator"),
        ("controller = 3", "--controller", "own.py is a int; it must be a class or a function"),
        ("controller = lambda *_: 3", "--controller", "own.py gives a int; it must be a Controller"),
    ],
)
def test_broken_files_are_one_line(capsys: pytest.CaptureFixture[str], content: str, option: str, message: str) -> None:
    Path("own.py").write_text(content)
    assert main(["search", option, "own.py", "--trials", "5", "--out", "run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not Path("run").exists()


def test_a_missing_file() -> None:
    with pytest.raises(MnasError, match=r"space: .*nowhere.py not found; check the path"):
        load_space("nowhere.py")


def test_installed_plugins(monkeypatch: pytest.MonkeyPatch, space: StageSpace) -> None:
    """Entry points of other packages, as ``importlib.metadata`` lists them."""
    entries = [
        EntryPoint("small", "search_spaces.efficientnet:efficientnet_space", "mnas.spaces"),
        EntryPoint("gone", "no_such_package:space", "mnas.spaces"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [e for e in entries if e.group == group])
    _load_space.cache_clear()
    assert load_space("small").size == space.size
    with pytest.raises(MnasError, match=r"space: gone cannot be loaded .*ModuleNotFoundError"):
        load_space("gone")
    with pytest.raises(MnasError, match="unknown space 'smal'; did you mean 'small'"):
        load_space("smal")
    _load_space.cache_clear()


@pytest.mark.parametrize("name", sorted(SPACES))
def test_our_spaces_pass_the_checker(name: str) -> None:
    assert not [finding for finding in check_space(load_space(name)) if finding.problem]


@pytest.mark.parametrize("name", sorted(EVALUATORS))
def test_our_evaluators_pass_the_checker(name: str, space: StageSpace) -> None:
    assert not [finding for finding in check_evaluator(load_evaluator(name), space) if finding.problem]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "optuna:gp" else name for name in sorted(CONTROLLERS)],
)
def test_our_controllers_pass_the_checker_on_a_space_they_never_saw(name: str) -> None:
    assert not [finding for finding in check_controller(name, load_space("mnasnet")) if finding.problem]
