"""`mnas import`: a network from another project's format, as a spec."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import add_json
from baselines.exchange.formats import FORMATS, import_architecture, padding_note
from baselines.registry import own_file
from baselines.spec import BaselineSpec, Provenance, write_spec
from baselines.views import spec as view
from search_spaces import FieldError, MnasError
from search_spaces.serialization import read_yaml


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Read a network from another project's format (as mnas export writes it), and write it as a spec in specs/."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="JSON or YAML document")
    parser.add_argument("--format", required=True, help=", ".join(FORMATS))
    parser.add_argument("--name", required=True, help="name of the spec, written to specs/NAME.yaml")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Import a network."""
    document = read_yaml(arguments.file)
    try:
        architecture = import_architecture(document, arguments.format)
    except FieldError as error:
        raise MnasError(f"{arguments.file}: {error}") from None
    source = f"mnas import {arguments.file.name} (format {arguments.format})"
    spec = BaselineSpec(arguments.name, architecture, Provenance(source))
    file = own_file(spec.name)
    note = padding_note(architecture)
    view.show_written(
        spec,
        file,
        new=write_spec(spec, file),
        as_json=arguments.json,
        extra=[note] if note else [],
        extra_data={"notes": [note] if note else []},
    )
