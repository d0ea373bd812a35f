"""Options of the commands. Each is defined once: where its value is used.

An option is a field of a dataclass or an argument of a function. Its name and default are those of the field, its type
is the annotation, and its help is the line under ``Attributes:`` or ``Args:`` in the docstring. Options that are not
given are absent from the parsed arguments, so that each default exists once; `given` returns those that were given.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from baselines.text import cost_target, number, quantity
from baselines.text import integer as read_integer
from baselines.views.terminal import pointer, print_json, show
from search_spaces.errors import MnasError

# What SPEC may be; where a network without a spec will do too, `NETWORK`.
SPEC = "name of a baseline, path of a spec file, or folder of a training or a search"
NETWORK = "name of a baseline, path of a spec file, folder of a training or a search, or torchvision:NAME"
ALLOW_CODE = "allow running the Python files that the run names"

_READERS: dict[Any, Callable[[str], Any]] = {int: read_integer, float: number, str: str, Path: Path}
# A docstring line such as "epochs: passes over the images" or "space, evaluator: names".
_ENTRY = re.compile(r"^ {4}((?:\w+, )*\w+): (.*)$")


def add_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    source: Callable[..., Any],
    names: Collection[str] | None = None,
    *,
    title: str | None = None,
    choices: Mapping[str, Iterable[str]] | None = None,
    defaults: Mapping[str, str] | None = None,
    once: Collection[str] = (),
) -> None:
    """Add an option for each field of a dataclass or each argument of a function.

    Args:
        parser: parser of the command.
        source: dataclass or function that the options fill.
        names: fields to add; all by default.
        title: heading of the options in the help; none by default.
        choices: names to list in the help of an option.
        defaults: texts to show in place of a default.
        once: fields that take one value here and several in another command: a second one is refused. Otherwise the
            last one counts.
    """
    group = parser.add_argument_group(title) if title else parser
    texts, hints = documented(source), typing.get_type_hints(source, include_extras=True)
    for name, default in _defaults(source).items():
        if names is not None and name not in names:
            continue
        hint, optional = _without_none(hints[name])
        text = texts[name]
        if choices and name in choices:
            text += f"{'; one of' if 'by default' in text else ':'} {', '.join(choices[name])}"
        shown = (defaults or {}).get(name, default)
        if shown is not None and shown is not False and shown != () and shown is not dataclasses.MISSING:
            text += f" (default: {shown:g})" if isinstance(shown, float) else f" (default: {shown})"
        flag = f"--{name.replace('_', '-')}"
        text = text.replace("%", "%%")
        if hint == tuple[str, ...]:
            group.add_argument(flag, dest=name, action="append", default=argparse.SUPPRESS, help=text)
        elif hint is bool:
            group.add_argument(flag, dest=name, action="store_true", default=argparse.SUPPRESS, help=text)
        else:
            read = _reader(hint, or_none=optional and typing.get_origin(hint) is typing.Annotated)
            action: Any = _Once if name in once else "store"
            group.add_argument(flag, dest=name, type=read, action=action, default=argparse.SUPPRESS, help=text)


class _Once(argparse.Action):
    """Keeps a value, and refuses another one."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest, values)
        if before != values:
            raise argparse.ArgumentError(self, f"given twice, as {before} and {values}; give it once")
        setattr(namespace, self.dest, values)


def given(arguments: argparse.Namespace, source: Callable[..., Any]) -> dict[str, Any]:
    """Values of the options of ``source`` that were given; those that can be given more than once are tuples."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(arguments).items()}
    return {name: values[name] for name in _defaults(source) if name in values}


def refuse(arguments: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """Raise `MnasError` if one of the options is given; {} in the reason stands for the option."""
    for name in names:
        if vars(arguments).get(name) not in (None, []):
            option = "SPEC" if name == "spec" else f"--{name.replace('_', '-')}"
            raise MnasError(f"{name}: {reason.format(option)}")


def refuse_options(arguments: argparse.Namespace, source: Callable[..., Any], reason: str) -> None:
    """Raise `MnasError` if an option of ``source`` is given, as `refuse` does."""
    refuse(arguments, given(arguments, source), reason)


def documented(source: Callable[..., Any]) -> dict[str, str]:
    """Descriptions of fields or arguments by name, from the docstring (for a dataclass, also from its bases')."""
    found: dict[str, str] = {}
    for owner in reversed(source.__mro__) if isinstance(source, type) else [source]:
        section = False
        names: list[str] = []
        for line in (inspect.getdoc(owner) or "").splitlines() if owner is not object else ():
            if not line.startswith(" "):
                section, names = line in ("Attributes:", "Args:"), []
            elif section and (entry := _ENTRY.match(line)):
                names = entry[1].split(", ")
                found |= dict.fromkeys(names, entry[2].strip())
            elif section and names and line.strip():
                found |= dict.fromkeys(names, f"{found[names[-1]]} {line.strip()}")
    return {name: text.replace("``", "").replace("`", "").rstrip(".") for name, text in found.items()}


def argument(call: Callable[[str], Any]) -> Callable[[str], Any]:
    """Wrap a reader for argparse, which prints only the messages of `argparse.ArgumentTypeError`."""

    def read(text: str) -> Any:
        try:
            return call(text)
        except MnasError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_forms(parser: argparse.ArgumentParser, each: str, *, to_file: bool = False) -> None:
    """Add ``--json`` and ``--csv``, of which one can be given.

    Args:
        parser: parser of the command.
        each: what a line of CSV is about.
        to_file: whether ``--csv`` may be followed by the name of a new file; the value is then True, or its path.
    """
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    text = f"print CSV, a line for each {each}"
    if to_file:
        form.add_argument("--csv", metavar="FILE", type=Path, nargs="?", const=True, help=f"{text}; with FILE, into it")
    else:
        form.add_argument("--csv", action="store_true", help=text)


def add_data(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--data``, images to train on."""
    text = "images: a folder, an archive, a CSV file, hf:NAME or torchvision:NAME (docs/training.md)"
    parser.add_argument("--data", help=text)


def add_place(parser: argparse.ArgumentParser | argparse._ArgumentGroup, what: str) -> None:
    """Add ``--out`` and ``--resume``, the folder of a new and of an interrupted ``what``."""
    article = "an" if what[0] in "aeiou" else "a"
    parser.add_argument("--out", type=Path, help=f"folder of the {what}, new or empty (default: a new one in runs/)")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help=f"resume {article} {what} that was interrupted")


def add_page(parser: argparse.ArgumentParser | argparse._ArgumentGroup, content: str) -> None:
    """Add ``--html``, the file of a page with some content."""
    parser.add_argument("--html", type=Path, metavar="FILE", help=f"write a page with {content} to a new file")


def show_found(
    arguments: argparse.Namespace, view: ModuleType, found: Any, page: Callable[[Any], Any] | None = None
) -> None:
    """Show a result by the options of `add_page` and `add_json`.

    Args:
        arguments: arguments of the command.
        view: module with functions from a result: ``data``, ``text`` and ``page``.
        found: the result.
        page: function from the result to its page, where it is in another module.
    """
    if arguments.html:
        (page or view.page)(found).write(arguments.html)
    if arguments.json:
        print_json(view.data(found))
        return
    show(*view.text(found))
    if arguments.html:
        show(pointer("Written:", str(arguments.html)))


def add_run(parser: argparse.ArgumentParser, what: str = "folder of a search") -> None:
    """Add RUN with its help, and ``--allow-code`` for runs that name Python files."""
    parser.add_argument("folder", metavar="RUN", type=Path, help=what)
    parser.add_argument("--allow-code", action="store_true", help=ALLOW_CODE)


def add_targets(parser: argparse.ArgumentParser, costs: Iterable[str], *, default: str = "") -> None:
    """Add ``--target-macs`` and ``--target``, which `given_targets` reads."""
    parser.add_argument(
        "--target-macs", type=argument(quantity), help=f"short for --target macs=…, such as 180M{default}"
    )
    parser.add_argument(
        "--target",
        type=argument(lambda text: None if text.strip() == "none" else cost_target(text)),
        action="append",
        default=[],
        metavar="COST=VALUE",
        help=f"cost to aim at; can be given more than once: {', '.join(costs)}, or a cost column of a table; none: the "
        "most accurate network, whatever it costs",
    )


def given_targets(arguments: argparse.Namespace) -> dict[str, float] | None:
    """Targets of ``--target-macs`` and ``--target`` by cost: {} for ``--target none``, None if none is given.

    Raises:
        MnasError: one is given twice, or none is combined with a target.
    """
    pairs: list[tuple[str, float] | None] = [*arguments.target]
    if arguments.target_macs is not None:
        pairs.insert(0, ("macs", arguments.target_macs))
    if None in pairs and len(pairs) > 1:
        raise MnasError("target: none cannot be combined with another target; remove one")
    targets: dict[str, float] = {}
    for name, value in (pair for pair in pairs if pair is not None):
        if name in targets:
            raise MnasError(f"target: {name} is given twice; remove one")
        targets[name] = value
    return targets if pairs else None


def _defaults(source: Callable[..., Any]) -> dict[str, Any]:
    """Default of each field or argument; `dataclasses.MISSING` if it has none."""
    parameters = inspect.signature(source).parameters.values()
    return {p.name: dataclasses.MISSING if p.default is p.empty else p.default for p in parameters}


def _without_none(hint: Any) -> tuple[Any, bool]:
    """The first type of a union other than None, and whether None is in the union; other types unchanged."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    members = typing.get_args(hint)
    return next(member for member in members if member is not type(None)), type(None) in members


def _reader(hint: Any, *, or_none: bool) -> Callable[[str], Any]:
    """A function that reads the text of an option; with ``or_none``, "none" is read as None."""
    read = typing.get_args(hint)[1] if typing.get_origin(hint) is typing.Annotated else _READERS[hint]

    def reader(text: str) -> Any:
        return None if or_none and text.strip() == "none" else read(text)

    return argument(reader)
