"""Convert an `Architecture` to and from plain data and YAML, and check a file before anything is built from it.

Files are untrusted. So YAML is read with ``SafeLoader`` (tags never construct objects), duplicate keys and aliases are
refused, sizes are bounded, and unknown or missing fields are reported with their path.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
import stat
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from search_spaces.architecture import BLOCKS, RGB, Architecture, Stage
from search_spaces.errors import FieldError, MnasError, shorten, unknown_name

MAX_FILE_BYTES = 1_000_000

T = TypeVar("T")

_FIELDS = tuple(field.name for field in dataclasses.fields(Architecture))

# 1e-3 is a number in YAML 1.2 and in most languages, but PyYAML implements YAML 1.1, which requires a dot.
_EXPONENT_FLOAT = re.compile(r"[-+]?\d+[eE][-+]?\d+$")
_FLOAT_TAG = "tag:yaml.org,2002:float"

# By the plain type of a field: the types that a file may hold, and the rule in words. The dataclasses check ranges.
_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "an integer"),
    float: ((int, float), "a number"),
    str: ((str,), "a string"),
}


def architecture_to_dict(architecture: Architecture) -> dict[str, Any]:
    """Return an architecture as plain data: every field of every part, stages as flat rows with the block's ``op``."""
    fields = {name: getattr(architecture, name) for name in _FIELDS}
    fields |= {name: to_dict(part) for name, part in fields.items() if dataclasses.is_dataclass(part)}
    fields["stages"] = [dict(_stage_to_dict(stage)) for stage in architecture.stages]
    if architecture.in_channels == RGB:  # as in files, and digests, from before there was a choice
        del fields["in_channels"]
    return {name: value for name, value in fields.items() if value is not None}


def architecture_from_dict(data: object) -> Architecture:
    """Return the architecture that `architecture_to_dict` wrote.

    Raises:
        FieldError: a field is missing, unknown, of the wrong type or breaks its rule; ``path`` names it.
    """
    fields = dict(require_mapping(data, ""))
    stages = fields.get("stages")
    if not isinstance(stages, list):
        raise FieldError("stages", f"{shorten(stages)} is not a list of stages")
    fields["stages"] = tuple(_stage_from_dict(stage, f"stages[{index}]") for index, stage in enumerate(stages))
    return from_dict(Architecture, fields)


def digest(architecture: Architecture) -> str:
    """Return 16 hex digits that are equal for equal architectures: the start of the SHA-256 of the canonical JSON."""
    canonical = json.dumps(architecture_to_dict(architecture), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=10_000)  # a space's architectures share their stages
def _stage_to_dict(stage: Stage) -> dict[str, Any]:
    op = next(name for name, block in BLOCKS.items() if type(stage.block) is block)
    outer = {"out_channels": stage.out_channels, "num_layers": stage.num_layers, "stride": stage.stride}
    return {"op": op, **to_dict(stage.block), **outer}


def _stage_from_dict(data: object, path: str) -> Stage:
    fields = dict(require_mapping(data, path))
    if "op" not in fields:
        raise FieldError(f"{path}.op", f"missing; known: {', '.join(BLOCKS)}")
    op = fields.pop("op")
    if not isinstance(op, str) or op not in BLOCKS:
        raise FieldError(f"{path}.op", str(unknown_name("op", str(op), BLOCKS)))
    outer_names = [field.name for field in dataclasses.fields(Stage) if field.name != "block"]
    inner = {name: value for name, value in fields.items() if name not in outer_names}
    outer = {name: value for name, value in fields.items() if name in outer_names}
    return from_dict(Stage, {**outer, "block": from_dict(BLOCKS[op], inner, path)}, path)


def to_dict(value: Any) -> dict[str, Any]:
    """Return a dataclass as plain data, without the fields that are None."""
    return {name: item for name, item in dataclasses.asdict(value).items() if item is not None}


def from_dict(cls: type[T], data: object, path: str = "") -> T:
    """Return a dataclass from plain data, including nested dataclasses; the reverse of `to_dict`.

    This function checks that no field is unknown or missing, and converts lists and mappings as the annotations say.
    The dataclass checks its own values.

    Raises:
        FieldError: a field is unknown, missing, of the wrong type or breaks its rule; ``path`` names it.
    """
    fields = require_mapping(data, path)
    known = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in fields:
        if name not in known:
            raise FieldError(_field_path(path, str(name)), str(unknown_name("field", str(name), known)))
    for name, field in known.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in fields:
            raise FieldError(_field_path(path, name), "missing; give it a value")
    hints = typing.get_type_hints(cls)
    values = {name: _convert(hints[name], value, _field_path(path, name)) for name, value in fields.items()}
    try:
        return cls(**values)
    except FieldError as error:
        raise (error.inside(path) if path else error) from None


def require_mapping(data: object, path: str) -> Mapping[str, Any]:
    """Return ``data`` if it is a mapping with text keys; otherwise raise `FieldError`."""
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise FieldError(path or "document", f"{shorten(data)} is not a mapping of fields")
    return data


def _convert(hint: Any, value: Any, path: str) -> Any:
    if isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint):
        if value is None:
            return None
        hint = next(argument for argument in typing.get_args(hint) if argument is not type(None))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and not isinstance(value, hint):
        return from_dict(hint, value, path)
    if typing.get_origin(hint) is tuple and not isinstance(value, tuple):
        if not isinstance(value, list):
            raise FieldError(path, f"{shorten(value)} is not a list")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, element, f"{path}[{index}]") for index, element in enumerate(value))
    if hint in _PLAIN:
        kinds, rule = _PLAIN[hint]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise FieldError(path, f"{shorten(value)} is not {rule}")
    return value


def _field_path(path: str, name: str) -> str:
    safe = name if name.isprintable() and len(name) <= 60 else shorten(name)  # it is untrusted
    return f"{path}.{safe}" if path else safe


def read_yaml(file: Path) -> Any:
    """Return the plain data of a YAML file.

    Raises:
        MnasError: the file is not found, is too large, is not text or not YAML, or has a duplicate key or an alias.
    """
    import yaml

    class StrictLoader(yaml.SafeLoader):
        """SafeLoader that refuses duplicate keys (YAML forbids them; PyYAML keeps the last one) and aliases.

        With aliases, a small file can unfold to gigabytes; no file that is read here needs them.
        """

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()  # type: ignore[no-untyped-call]
                line = event.start_mark.line + 1
                raise MnasError(f"{file}: line {line}: aliases are not supported; replace *{event.anchor} by its value")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    line = key.start_mark.line + 1
                    raise MnasError(f"{file}: line {line}: {shorten(key.value)} is given twice; remove one")
                if isinstance(key, yaml.ScalarNode):
                    seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    StrictLoader.add_implicit_resolver(_FLOAT_TAG, _EXPONENT_FLOAT, list("-+0123456789"))
    text = read_text(file)
    try:
        return yaml.load(text, Loader=StrictLoader)  # a SafeLoader: it constructs only plain data
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise MnasError(f"{file}: {line}not YAML ({problem}); fix or replace the file") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, MnasError):
            raise
        raise MnasError(f"{file}: not a usable YAML file ({shorten(str(error))}); fix or replace it") from None


def read_bytes(file: Path, limit: int, kind: str) -> bytes:
    """Return the content of a file that may come from anybody: what is not a file, or is too large, is not read.

    Args:
        file, limit, kind: as for `read_text`.

    Raises:
        MnasError: the file cannot be read or is too large, or it is a device or a pipe.
    """
    if "\0" in str(file):  # which no path can hold, and `os.open` refuses with an error of its own
        raise MnasError(f"{shorten(str(file))}: not the name of a file; check the path")
    try:
        # Opening a pipe waits for its other end, and a device never ends.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise MnasError(f"{file}: not a file but a device or a pipe; check the path")
            raw = stream.read(limit + 1) if state.st_size <= limit else None
    except OSError as error:
        raise MnasError(f"{file}: cannot be read ({error.strerror}); check the path") from None
    if raw is None or len(raw) > limit:
        raise MnasError(f"{file}: larger than {limit} bytes, so it is not a {kind}; check the path")
    return raw


def digest_of_file(file: Path) -> str:
    """SHA-256 of a file's content, 16 digits. Raises `MnasError` if it cannot be read, or is a device or a pipe."""
    return hashlib.sha256(read_bytes(file, 2**31, "table or Python file")).hexdigest()[:16]


def read_text(file: Path, limit: int = MAX_FILE_BYTES, kind: str = "spec") -> str:
    """Return the text of a UTF-8 file.

    Args:
        file: path of the file.
        limit: largest allowed size in bytes.
        kind: kind of file expected, for the message.

    Raises:
        MnasError: the file cannot be read, is too large or is not UTF-8.
    """
    try:
        return read_bytes(file, limit, kind).decode()
    except UnicodeDecodeError:
        raise MnasError(f"{file}: not a text file in UTF-8; check the path") from None


class _Row(dict[str, Any]):
    """A mapping that is written on one line in YAML."""


def write_yaml(data: Mapping[str, Any]) -> str:
    """Return plain data as YAML, in the given order; nested mappings of plain values take one line each."""
    import yaml

    class TableDumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    TableDumper.add_representer(
        _Row, lambda dumper, row: dumper.represent_mapping("tag:yaml.org,2002:map", row, flow_style=True)
    )

    TableDumper.add_implicit_resolver(_FLOAT_TAG, _EXPONENT_FLOAT, list("-+0123456789"))

    def rows(value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            flat = not any(isinstance(item, Mapping | list | tuple) for item in value.values())
            table = {key: rows(item, depth + 1) for key, item in value.items()}
            return _Row(table) if flat and depth > 1 else table
        if isinstance(value, list | tuple):
            return [rows(item, depth + 1) for item in value]
        return value

    return str(yaml.dump(rows(data, 0), Dumper=TableDumper, sort_keys=False, width=120, allow_unicode=True))
