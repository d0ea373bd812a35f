"""Spaces, evaluators and controllers of a person's own, by a name that is none of ours.

- ``FILE.py`` or ``FILE.py:NAME``: a Python file, and what it is called there (``space``, ``evaluator`` or
  ``controller`` where no name is given).
- a name that an installed package declares as an entry point of the group ``mnas.spaces``, ``mnas.evaluators`` or
  ``mnas.controllers``.

A Python file is code, and runs. So it does only where a person named it: a run's journal that names one is not opened
until the person says that the code may run (`allow_code`).
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from search_spaces.errors import MnasError, shorten, unknown_name

# Modules of Python files are called so.
MODULE_PREFIX = "mnas_plugin_"
KINDS = ("space", "evaluator", "controller")
_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[A-Za-z_]\w*))?")


def is_code(name: str) -> bool:
    """Whether a name stands for something in a Python file."""
    return _FILE.fullmatch(name) is not None


def refuse_code(names: Iterable[object], where: str) -> None:
    """Raise `MnasError` where one of the names, which somebody else may have written, stands for a Python file."""
    for name in names:
        if isinstance(name, str) and is_code(name):
            raise MnasError(f"{where}: names the Python file {name}, which would run; say --allow-code if you trust it")


def load_plugin(kind: str, name: str, known: Iterable[str]) -> object:
    """What a name stands for.

    Args:
        kind: ``space``, ``evaluator`` or ``controller``.
        name: as a person gave it.
        known: names of the project's own, for the message.

    Raises:
        MnasError: there is no such thing, or it cannot be loaded; the message says which line failed.
    """
    match = _FILE.fullmatch(name)
    if match:
        module = _run_file(str(Path(match["file"]).resolve()), kind)
        attribute = match["name"] or kind
        if not hasattr(module, attribute):
            raise MnasError(f"{kind}: {match['file']} defines no {attribute!r}; name what it does define: FILE.py:NAME")
        return getattr(module, attribute)
    declared = {entry.name: entry for entry in entry_points(group=f"mnas.{kind}s")}
    if name not in declared:
        raise unknown_name(kind, name, (*known, *declared))
    try:
        return declared[name].load()
    except Exception as error:  # a package may fail in any way
        raise MnasError(f"{kind}: {name} cannot be loaded ({_reason(error)}); mend or uninstall its package") from None


def defined(name: str) -> list[tuple[str | None, str, object]]:
    """What a plug-in's name stands for: kind (None where the name does not say), name and thing, one or several.

    A bare ``FILE.py`` stands for what it defines as ``space``, ``evaluator`` and ``controller``.

    Raises:
        MnasError: as `load_plugin`.
    """
    match = _FILE.fullmatch(name)
    if match and not match["name"]:
        module = _run_file(str(Path(name).resolve()), "check")
        return [(kind, f"{name}:{kind}", getattr(module, kind)) for kind in KINDS if hasattr(module, kind)]
    if match:
        return [(None, name, load_plugin("check", name, ()))]
    kinds = [kind for kind in KINDS if name in {entry.name for entry in entry_points(group=f"mnas.{kind}s")}]
    if not kinds:
        raise MnasError(f"check: {shorten(name)} is no Python file and no installed plug-in; give FILE.py")
    return [(kind, name, load_plugin(kind, name, ())) for kind in kinds]


def made(found: object, kind: str, name: str) -> object:
    """What a class or function gives when it is called without arguments, or the thing itself.

    Raises:
        MnasError: the call fails; the message says which line of a Python file did.
    """
    if not callable(found):
        return found
    try:
        return found()
    except Exception as error:  # a person's code may fail in any way
        raise MnasError(f"{kind}: {name}: {_line(error, name)}{_reason(error)}; mend the file") from None


def _line(error: BaseException, file: str) -> str:
    """Where in a file an error arose, as the beginning of a message; empty where elsewhere."""
    path = str(Path(file.split(".py", maxsplit=1)[0] + ".py").resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"line {lines[-1]}: " if lines else ""


@cache
def _run_file(path: str, kind: str) -> ModuleType:
    """The module of a Python file, run once."""
    if not Path(path).is_file():
        raise MnasError(f"{kind}: there is no file {path}; check the path")
    name = f"{MODULE_PREFIX}{re.sub(r'[^A-Za-z0-9]', '_', path)}"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a person's file may fail in any way
        del sys.modules[name]
        raise MnasError(f"{kind}: {path}: {_line(error, path)}{_reason(error)}; mend the file") from None
    return module


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {shorten(str(error))}"
