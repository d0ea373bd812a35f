"""The `mnas` command: finds a command's file by its name, and turns errors into one line."""

from __future__ import annotations

import importlib
import io
import keyword
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from baselines.commands.parser import Parser
from baselines.notices import say
from search_spaces import MnasError
from search_spaces.errors import unknown_name


class Command(NamedTuple):
    """Where a command is defined, and what it does in a few words."""

    package: str
    summary: str

    def module(self, name: str) -> str:
        """The module of the command of that name; a keyword of Python is followed by an underscore."""
        name = name.replace("-", "_")
        return f"{self.package}.commands.{name}_" if keyword.iskeyword(name) else f"{self.package}.commands.{name}"


COMMANDS = {
    "search": Command("nas", "search for a baseline"),
    "report": Command("nas", "show what a search or a study of scaling found, as text or as a page"),
    "freeze": Command("nas", "write a run's best network as a spec"),
    "compare": Command("nas", "put networks side by side, trained or not"),
    "scale": Command("scaling", "scale a spec up or down, by a rule, to a budget, or by factors"),
    "ablate": Command("scaling", "train depth, width, resolution and compound variants of equal cost"),
    "family": Command("scaling", "scale a spec into a family, trained or not"),
    "scaling-search": Command("scaling", "search for the coefficients with which a spec grows best"),
    "show": Command("baselines", "show a spec as a table with its exact cost"),
    "train": Command("baselines", "train a network on your images"),
    "recipes": Command("baselines", "show the recipes of trainings, or print one to edit"),
    "evaluate": Command("baselines", "evaluate a trained network on other images"),
    "predict": Command("baselines", "classify images without labels"),
    "cam": Command("baselines", "draw where trained networks look"),
    "latency": Command("baselines", "measure time and memory of networks"),
    "runs": Command("nas", "list runs and their progress"),
    "trials": Command("nas", "show the trials of a run"),
    "front": Command("nas", "show a run's Pareto front, or its best for another target"),
    "finalists": Command("nas", "compare a run's best networks with their noise"),
    "rediscover": Command("nas", "measure how close searches come to published B0"),
    "baselines": Command("baselines", "list the baselines"),
    "spaces": Command("nas", "list the search spaces, or count their networks"),
    "check": Command("nas", "check a plug-in"),
    "export": Command("baselines", "write a spec for timm, torchvision, ONNX …"),
    "import": Command("baselines", "read a spec from timm, torchvision …"),
}
HELP = ("help", "--help", "-h")
DESCRIPTION = "Search for a baseline network, freeze it as a spec, compare it with published ones, and scale it."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status: 0, 2 on wrong input, 130 when interrupted."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows ? instead of ± and ×
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except MnasError as error:
        say(f"mnas: {error}")
        return 2
    except KeyboardInterrupt:
        say("mnas: interrupted")
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _forget_stdout()
    except OSError as error:  # stdout on a full disk; code that opens files reports its own errors
        say(f"mnas: cannot write ({error.strerror or error}); make room or choose another place")
        _forget_stdout()
        return 2
    return 0


def _run(arguments: list[str]) -> None:
    name, *rest = arguments or ["--help"]
    if name in ("--version", "-V"):
        from importlib.metadata import version

        print(f"mnas {version('mnas')}")
    elif name == "help" and rest and rest[0] not in HELP:
        parser_of(rest[0])[0].print_help()
    elif name in HELP:
        print(_overview())
    else:
        parser, module = parser_of(name)
        module.run(parser.parse_args(rest))


def parser_of(name: str) -> tuple[Parser, Any]:
    """The parser of a command, and its module. Raises `MnasError` for an unknown name, with the nearest one."""
    if name not in COMMANDS:
        if name.startswith("-"):
            raise MnasError(f"{name}: expected a command first (see mnas --help)")
        raise MnasError(f"{unknown_name('command', name, COMMANDS)} (see mnas --help)")
    module = importlib.import_module(COMMANDS[name].module(name))
    parser = Parser(prog=f"mnas {name}")
    module.register(parser)
    return parser, module


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: mnas COMMAND …", "", DESCRIPTION, "", *lines, "", "mnas help COMMAND shows the options of a command."]
    )


def _forget_stdout() -> None:
    """Discard what stdout still holds: at exit, Python would try to write it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
