"""What the commands of all packages share: numbers with suffixes, JSON on stdout, tables for a person."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from search_spaces.errors import MnasError, shorten, unknown_name

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_SUFFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]\+?(\d{1,2}))?([kmgb]?)", re.IGNORECASE)


class Commands(Protocol):
    """What a package's ``cli.register`` adds its commands to (``argparse``'s sub-parsers)."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser: ...


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest choice suggested."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Before Python 3.14, argparse takes -7e-2 for an option.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$", re.IGNORECASE)

    def error(self, message: str) -> NoReturn:
        # argparse says "invalid choice: 'serch' (choose from ...)": say it as every other unknown name is said.
        unknown = re.match(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)$", message)
        if unknown:
            kind, name, known = unknown.groups()
            message = str(unknown_name(kind.lstrip("-"), name, [word.strip(" '") for word in known.split(",")]))
        raise MnasError(f"{' '.join(message.split())} (see {self.prog} --help)")


def quantity(text: str) -> int:
    """A positive whole number that may have a suffix: ``400M`` is 400,000,000, ``1.8G`` is 1,800,000,000.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match:
        number, power, suffix = match.groups()
        value = float(number) * 10.0 ** int(power or 0) * _SUFFIXES[suffix.upper()]
        if 1 <= value < 1e18:
            return round(value)
    raise argparse.ArgumentTypeError(f"{shorten(text)} is not a positive number such as 400M, 1.8G or 400000000")


def cost_target(text: str) -> tuple[str, float]:
    """A cost and the value that is aimed at: ``a100-throughput=9000``, ``macs=400M``, ``zcu102-latency=2.5``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    name, equals, value = text.strip().partition("=")
    match = _QUANTITY.fullmatch(value.strip())
    if not equals or not name or not match:
        raise argparse.ArgumentTypeError(f"{shorten(text)} is not COST=VALUE, such as params=5M or zcu102-latency=2.5")
    number, power, suffix = match.groups()
    return name.strip(), float(number) * 10.0 ** int(power or 0) * _SUFFIXES[suffix.upper()]


def whole(text: str) -> int:
    """An integer from 0 up, or `argparse.ArgumentTypeError`."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return int(text)
    raise argparse.ArgumentTypeError(f"{shorten(text)} is not a whole number from 0 to 999999999")


def count(text: str) -> int:
    """An integer from 1 up, or `argparse.ArgumentTypeError`."""
    value = whole(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 is not a whole number from 1 to 999999999")
    return value


def duration(text: str) -> float:
    """Seconds, with or without a unit: ``90``, ``90s``, ``10m``, ``2h``.

    Raises:
        argparse.ArgumentTypeError: it is no time above 0.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d*)?|\.\d+)([smh]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds > 0:
        return seconds
    raise argparse.ArgumentTypeError(f"{shorten(text)} is not a time such as 90, 90s, 10m or 2h")


# What a limit that is none is read as: no limit is 0.
NO_LIMIT = 0


def limit(parse: Callable[[str], float]) -> Callable[[str], float]:
    """A parser that also takes ``none``, which is `NO_LIMIT`."""

    def parsed(text: str) -> float:
        return NO_LIMIT if text.strip() == "none" else parse(text)

    return parsed


def number(text: str) -> float:
    """A finite number, or `argparse.ArgumentTypeError`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{shorten(text)} is not a finite number")
    return value


def millions(value: float) -> str:
    """A count for a person: 385.8M, 1.827G."""
    return f"{value / 1e9:.3f}G" if value >= 1e9 else f"{value / 1e6:.1f}M"


def short_number(value: float) -> str:
    """A number as a person writes a target: 400M, 1.8G, 9000, 2.5."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.12g}{unit}"
    return f"{value:.12g}"


def macs_text(macs: int) -> str:
    """MACs for a person, exact figure included."""
    return f"{millions(macs)} ({macs:,})"


def points(accuracy: float, std: float | None = None) -> str:
    """An accuracy in percent with its σ: ``65.65 ± 0.24 %``."""
    spread = "" if std is None else f" ± {100 * std:.2f}"
    return f"{100 * accuracy:.2f}{spread} %"


def print_json(document: Any) -> None:
    """One JSON document on stdout; nan and infinity cannot occur in it."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def console() -> Console:
    """The console for what a person reads, on stdout; wide enough for a table where stdout is no terminal."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 118)


def show(*parts: RenderableType) -> None:
    """Print tables and text for a person; a plain string is printed as it is, brackets and all."""
    from rich.text import Text

    output = console()
    for part in parts:
        # Rather a line that the terminal breaks than a number that is cut.
        width = max(output.width, output.measure(part).minimum)
        output.print(part, markup=False, emoji=False, crop=False, width=width)
        if not isinstance(part, str | Text):
            output.print()


def labelled(label: str, text: str) -> Text:
    """A line that begins with a label in bold."""
    from rich.text import Text

    return Text.assemble((label, "bold"), f" {text}")


def pointer(label: str, text: str) -> Text:
    """As `labelled`, for a path or a command: never broken into lines, so that it can be copied."""
    line = labelled(label, text)
    line.no_wrap, line.overflow = True, "ignore"
    return line


def titled_table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    """An empty table in the project's style; ``columns`` are pairs of header and justification.

    On a narrow terminal texts wrap; the first column and numbers stay whole.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for position, (header, justify) in enumerate(columns):
        whole = position == 0 or justify == "right"
        table.add_column(header, justify=justify, no_wrap=whole)  # type: ignore[arg-type]
    return table


@contextmanager
def progress_bar(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A bar on stderr with the time left, nothing where that is no terminal; gives what to call at each step."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def refuse(arguments: argparse.Namespace, names: Sequence[str], rule: str) -> None:
    """Raise `MnasError` where one of the arguments is given; in the rule, {} is how a person writes it."""
    for name in names:
        if getattr(arguments, name) is not None:
            option = "SPEC" if name == "spec" else f"--{name.replace('_', '-')}"
            raise MnasError(f"{name}: {rule.format(option)}")
