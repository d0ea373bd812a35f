"""The command itself: help, versions, wrong commands, and hints that can be pasted into a shell."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from nas.__main__ import COMMANDS, main, parser_of
from nas.api import search
from nas.views import search as search_view
from search_spaces import MnasError
from tests.nas.evaluators.test_registry import OWN

ROOT = Path(__file__).resolve().parents[2]
# A folder whose name a shell would split.
FOLDER = "my runs/it's & more?"
PLUGIN = OWN.replace('raise FieldError("stem", "is not to its taste")', "pass").replace(
    "return []", "return [Metrics(0.5 + architecture.num_blocks / 100) for architecture in architectures]"
)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """The output of a command on both streams."""
    assert main(arguments) == status
    found = capsys.readouterr()
    return found.out + found.err


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"], ["help", "--help"], ["help", "help"]])
def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    text = said(capsys, *arguments)
    assert text.startswith("usage: mnas COMMAND")
    for name, found in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(found.summary)}$", text, re.MULTILINE)


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert re.fullmatch(r"mnas \d+\.\d+\.\d+\n", said(capsys, option))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command(capsys: pytest.CaptureFixture[str], name: str) -> None:
    text = said(capsys, "help", name)
    assert text.startswith(f"usage: mnas {name} ")
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "mnas: unknown command 'nonsense'; known: ablate, baselines, cam, "),
        (["help", "nonsense"], "mnas: unknown command 'nonsense'; known: ablate, baselines, cam, "),
        (["shw"], "mnas: unknown command 'shw'; did you mean 'show'? (see mnas --help)"),
        (["help", "serch"], "mnas: unknown command 'serch'; did you mean 'search'? (see mnas --help)"),
        (["--nonsense"], "mnas: --nonsense: expected a command first (see mnas --help)"),
        (["show"], "mnas: the following arguments are required: SPEC (see mnas show --help)"),
        (["show", "b0", "--jsno"], "mnas: unrecognized arguments: --jsno (see mnas show --help)"),
        (
            ["search", "--trials", "x"],
            "mnas: argument --trials: 'x': expected an integer from 1 to 999999999 (see mnas",
        ),
    ],
)
def test_a_mistake_is_one_line_that_points_to_the_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(message)
    pointed = re.search(r"\(see mnas (?:(\w+) )?--help\)\n$", err)
    assert pointed is not None
    assert pointed[1] == (arguments[0] if arguments[0] in COMMANDS else None)


# --- hints ------------------------------------------------------------------------------------------------------------


def hints(text: str) -> list[list[str]]:
    """The commands that a text names after a colon, as a shell reads them."""
    return [shlex.split(line)[1:] for line in re.findall(r": (mnas .+)$", text, re.MULTILINE)]


def accepted(hint: list[str]) -> Any:
    """The result of a command's parser for a hint; an error if it refuses the hint."""
    name, *arguments = hint
    return parser_of(name)[0].parse_args(arguments)


@pytest.mark.usefixtures("workplace")
def test_hints_of_a_search_and_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = hints(said(capsys, "search", "--trials", "12", "--controller", "random", "--out", FOLDER))
    assert found == [["freeze", FOLDER, "--name", "NAME"], ["report", FOLDER, "--html", "report.html"]]
    found += hints(said(capsys, "front", FOLDER, "--target-macs", "180M"))
    found += hints(said(capsys, "finalists", FOLDER, "--top", "2"))
    assert [hint[0] for hint in found] == ["freeze", "report", "search", "freeze", "freeze"]
    search = accepted(found[2])
    assert (search.target_macs, search.controller, search.trials, search.objective) == (180e6, "random", 12, "hard")
    for hint in found:
        accepted(hint)
    for number, hint in enumerate(hint for hint in found if hint[0] == "freeze"):  # each works unchanged
        assert main([word.replace("NAME", f"net{number}") for word in hint]) == 0


@pytest.mark.usefixtures("workplace")
def test_hints_of_a_run_with_plugins_can_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.py").write_text(PLUGIN)
    options = ["--evaluator", "own.py", "--trials", "6", "--controller", "random", "--executor", "in-process"]
    found = hints(said(capsys, "search", *options, "--out", FOLDER))
    for command in ("front", "finalists"):
        target = ["--target-macs", "180M"] if command == "front" else []
        found += hints(said(capsys, command, FOLDER, *target, "--allow-code"))
    (search,) = [accepted(hint) for hint in found if hint[0] == "search"]
    assert (search.target_macs, search.controller) == (180e6, "random")
    assert Path(search.evaluator) == Path("own.py").absolute()
    measure = next(hint for hint in found if hint[0] == "compare")
    assert measure == ["compare", FOLDER, "efficientnet_b0", "--evaluator", str(Path("own.py").absolute())]
    for number, hint in enumerate(found):
        accepted(hint)
        if hint[0] in ("freeze", "compare"):
            assert main([word.replace("NAME", f"net{number}") for word in hint]) == 0


@pytest.mark.usefixtures("workplace")
def test_an_object_is_frozen_in_python() -> None:
    from nas.evaluators.base import Evaluator, Metrics

    class Depth(Evaluator):
        name = "depth"
        meaning = "made up"

        def check(self, architecture: Any) -> None:
            pass

        def evaluate(self, architectures: Any, seed: int = 0) -> list[Metrics]:
            return [Metrics(architecture.num_blocks / 40) for architecture in architectures]

    found = search(evaluator=Depth(), controller="random", trials=5, out="run")
    texts = list(map(str, search_view.text(found)))
    assert 'Next: found.freeze("NAME")' in texts
    assert "Measure all: nas.compare([…, 'efficientnet_b0'], evaluator=…)" in texts


@pytest.mark.usefixtures("workplace")
def test_hints_of_runs_with_failures(capsys: pytest.CaptureFixture[str]) -> None:
    Path("failing.py").write_text(PLUGIN.replace("0.5 + ", "0.83 + "))  # above 1 for networks of more than 17 blocks
    options = ["--evaluator", "failing.py", "--trials", "8", "--controller", "random", "--executor", "in-process"]
    text = said(capsys, "search", *options, "--out", FOLDER)
    assert " of 8 trials failed: " in text
    text += said(capsys, "runs", FOLDER)
    found = [hint for hint in hints(text) if hint[0] == "trials"]
    assert found == [["trials", FOLDER, "--failed"]] * 2
    assert main(found[0]) == 0


def test_no_command_is_put_together_without_quotes() -> None:
    """A value in a hand-written command would not be quoted; `baselines.text.command` quotes it."""
    packages = ("search_spaces", "baselines", "nas", "scaling")
    command = re.compile(rf"mnas ({'|'.join(COMMANDS)}) (?!--help).*\{{")
    # The source of a spec is not a command to repeat.
    origin = re.compile("mnas (import|scale|scaling-search) ")
    texts = [
        ast.unparse(node)
        for package in packages
        for file in ROOT.glob(f"{package}/**/*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.JoinedStr)
    ]
    unquoted = [text for text in texts if command.search(text) and not origin.search(text)]
    assert not unquoted, unquoted


def test_every_command_has_a_parser() -> None:
    for name in COMMANDS:
        assert parser_of(name)[0].prog == f"mnas {name}"
    with pytest.raises(MnasError, match="unknown command"):
        parser_of("nonsense")


@pytest.mark.usefixtures("workplace")
def test_names_of_strangers_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a\n\x1b[31mb").mkdir()
    for arguments in (["report", "no\n\x1b[31mline"], ["trials", "a\n\x1b[31mb"], ["runs", "a\n\x1b[31mb"]):
        assert main(arguments) in (0, 2)
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        assert err.count("\n") <= 1
