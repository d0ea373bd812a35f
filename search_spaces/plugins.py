"""Plug-ins: a user's own spaces, evaluators and controllers, by name.

- ``FILE.py`` or ``FILE.py:NAME``: a Python file, and a name that it defines (by default ``space``, ``evaluator`` or
  ``controller``).
- a name that an installed package declares as an entry point of the group ``mnas.spaces``, ``mnas.evaluators`` or
  ``mnas.controllers``.
- ``table:FILE``: an evaluator's table of measurements (`nas.evaluators.table`).
- ``train:DATA?…``: trainings on images (`nas.evaluators.proxy_training`).
- ``object:NAME``: an object that was given in Python; the name is known only in that process.

A Python file is code, so it runs only if the user named it: a journal that names one is not opened until the user
allows the code to run (`allow_code`).
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from search_spaces.errors import MnasError, shorten, unknown_name

# Start of the names of modules made from Python files.
MODULE_PREFIX = "mnas_plugin_"
KINDS = ("space", "evaluator", "controller")
_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[A-Za-z_]\w*))?")
OBJECT = "object:"
TABLE_OF, TRAIN_ON = "table:", "train:"
_NUMBER = re.compile(r"#\d+$")
_objects: dict[tuple[str, str], object] = {}


def name_object(kind: str, given: object, name: str) -> str:
    """A name under which an object is found in this process: objects are numbered, and files name them without.

    Args:
        kind: ``space``, ``evaluator`` or ``controller``.
        given: the object.
        name: name to start from, such as that of its class.
    """
    for number in itertools.count(1):
        full = f"{OBJECT}{name}#{number}"
        if _objects.setdefault((kind, full), given) is given:
            return full
    raise AssertionError("unreachable")


def unnumbered(data: Any) -> Any:
    """Plain data in which names of objects lack the number that tells them apart in this process."""
    if isinstance(data, str):
        return _NUMBER.sub("", data) if data.startswith(OBJECT) else data
    if isinstance(data, Mapping):
        return {key: unnumbered(value) for key, value in data.items()}
    return [unnumbered(value) for value in data] if isinstance(data, list | tuple) else data


def object_named(kind: str, name: str) -> object | None:
    """The object that a name stands for; None if the name does not stand for one.

    Raises:
        MnasError: the object was given in another process.
    """
    if not name.startswith(OBJECT):
        return None
    if (kind, name) not in _objects:
        given = name.removeprefix(OBJECT)
        raise MnasError(
            f"{kind}: {given} was given as a Python object, which a file cannot hold; "
            f"use nas.resume(FOLDER, {kind}=…) or nas.load_run(FOLDER, {kind}=…) with the object"
        )
    return _objects[kind, name]


def is_code(name: str) -> bool:
    """Whether a name stands for something in a Python file."""
    return _FILE.fullmatch(name) is not None


def _parts(name: str) -> tuple[str, str, str] | None:
    """A name that stands for a file, as what precedes the path, the path, and what follows it."""
    if name.startswith(TABLE_OF):
        return TABLE_OF, name.removeprefix(TABLE_OF), ""
    match = _FILE.fullmatch(name)
    return ("", match["file"], f":{match['name']}" if match["name"] else "") if match else None


def file_named(name: str) -> Path | None:
    """The file that a name stands for, code or a table; None if it stands for something else."""
    parts = _parts(name)
    return None if parts is None else Path(parts[1])


def located(name: str) -> str:
    """The name with the absolute path of its file, if it stands for one: a run may be resumed from any folder."""
    parts = _parts(name)
    return name if parts is None else f"{parts[0]}{Path(parts[1]).absolute()}{parts[2]}"


def portable(name: str) -> str:
    """The name as it may be shown to others: of a file without its folder, of an object without its number."""
    parts = _parts(name)
    return str(unnumbered(name)) if parts is None else f"{parts[0]}{Path(parts[1]).name}{parts[2]}"


def code_options(names: Iterable[str]) -> list[str]:
    """The option that a command needs if one of the names stands for something in a Python file."""
    return ["--allow-code"] if any(map(is_code, names)) else []


def refuse_code(names: Iterable[object], where: str) -> None:
    """Raise `MnasError` if one of the names, which somebody else may have written, stands for a Python file."""
    for name in names:
        if isinstance(name, str) and is_code(name):
            raise MnasError(
                f"{where}: names the Python file {name}, which would run; add --allow-code "
                "(in Python: allow_code=True) if you trust it"
            )


def load_plugin(kind: str, name: str, known: Iterable[str]) -> object:
    """The object that a name stands for.

    Args:
        kind: ``space``, ``evaluator`` or ``controller``.
        name: name of the plug-in.
        known: built-in names, for the message.

    Raises:
        MnasError: it is not found or cannot be loaded; the message says which line failed.
    """
    match = _FILE.fullmatch(name)
    if match:
        module = _run_file(str(Path(match["file"]).resolve()), kind)
        attribute = match["name"] or kind
        if not hasattr(module, attribute):
            raise MnasError(f"{kind}: {match['file']} defines no {attribute!r}; name what it defines: FILE.py:NAME")
        return getattr(module, attribute)
    declared = {entry.name: entry for entry in entry_points(group=f"mnas.{kind}s")}
    if name not in declared:
        raise unknown_name(kind, name, (*known, *declared))
    try:
        return declared[name].load()
    except Exception as error:  # a package may fail in any way
        raise MnasError(f"{kind}: {name} cannot be loaded ({_reason(error)}); fix or uninstall its package") from None


def defined(name: str) -> list[tuple[str | None, str, object]]:
    """The objects that a plug-in's name stands for, each as kind (None if the name leaves it open), name and object.

    A bare ``FILE.py`` stands for what it defines as ``space``, ``evaluator`` and ``controller``.

    Raises:
        MnasError: as in `load_plugin`.
    """
    match = _FILE.fullmatch(name)
    if match and not match["name"]:
        module = _run_file(str(Path(name).resolve()), "check")
        return [(kind, f"{name}:{kind}", getattr(module, kind)) for kind in KINDS if hasattr(module, kind)]
    if match:
        return [(None, name, load_plugin("check", name, ()))]
    kinds = [kind for kind in KINDS if name in {entry.name for entry in entry_points(group=f"mnas.{kind}s")}]
    if not kinds:
        raise MnasError(f"check: {shorten(name)} is neither a Python file nor an installed plug-in; use FILE.py")
    return [(kind, name, load_plugin(kind, name, ())) for kind in kinds]


def made(found: object, kind: str, name: str) -> object:
    """The result of a class or function called without arguments; any other object as it is.

    Raises:
        MnasError: the call fails; the message says which line of a Python file failed.
    """
    if not callable(found):
        return found
    try:
        return found()
    except Exception as error:  # a user's code may fail in any way
        raise MnasError(f"{kind}: {name}: {_line(error, name)}{_reason(error)}; fix the file") from None


def _line(error: BaseException, file: str) -> str:
    """The line of a file where an error arose, as the start of a message; empty if it arose elsewhere."""
    path = str(Path(file.split(".py", maxsplit=1)[0] + ".py").resolve())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"line {lines[-1]}: " if lines else ""


@cache
def _run_file(path: str, kind: str) -> ModuleType:
    """The module of a Python file, run once."""
    if not Path(path).is_file():
        raise MnasError(f"{kind}: {path} not found; check the path")
    name = f"{MODULE_PREFIX}{re.sub(r'[^A-Za-z0-9]', '_', path)}"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickling look up their module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may fail in any way
        del sys.modules[name]
        raise MnasError(f"{kind}: {path}: {_line(error, path)}{_reason(error)}; fix the file") from None
    return module


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {shorten(str(error))}"
