"""The `mnas` command: mounts the commands of the packages, and turns errors into one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import baselines.cli
import baselines.cli_train
import nas.cli
import nas.cli_runs
import nas.cli_search
import nas.cli_trials
import scaling.cli
from baselines.console import Parser
from search_spaces import MnasError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status: 0, 2 on wrong input, 130 when interrupted."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows ? instead of ± and ×
    try:
        parsed = _parser().parse_args(arguments)
        parsed.run(parsed)
        sys.stdout.flush()
    except MnasError as error:
        print(f"mnas: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mnas: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _forget_stdout()
    except OSError as error:  # stdout on a full disk; whoever opens files says more
        print(f"mnas: cannot write ({error.strerror or error}); make room or choose another place", file=sys.stderr)
        _forget_stdout()
        return 2
    return 0


def _forget_stdout() -> None:
    """Send what stdout still holds nowhere: at its exit, Python would try to write it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> Parser:
    text = "Search for a baseline network, freeze it as a spec, compare it with published ones, and scale it."
    parser = Parser(prog="mnas", description=text)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    search = (nas.cli_search, nas.cli_trials, nas.cli, nas.cli_runs)
    for package in (*search, baselines.cli, baselines.cli_train, scaling.cli):
        package.register(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
