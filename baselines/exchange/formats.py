"""Architectures in the formats of other projects: timm, tensorflow/tpu and torchvision.

Each format is a document (plain data, JSON or YAML) whose keys are arguments of the project's own code. A few keys are
ours, because the project hard-codes that value. They are marked in the classes of each format, and default to the
project's value, so a document without them means the same here as there.

An architecture that a format cannot express is refused: every document is read back and compared before it is returned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from baselines.exchange.tensorflow import TensorFlowNetwork, from_tensorflow, to_tensorflow
from baselines.exchange.timm import TimmNetwork, from_timm, to_timm
from baselines.exchange.torchvision import TorchvisionNetwork, from_torchvision, to_torchvision
from baselines.registry import PACKAGED, load
from search_spaces.architecture import Architecture
from search_spaces.errors import FieldError, unknown_name
from search_spaces.serialization import architecture_to_dict, from_dict, to_dict

Network = TimmNetwork | TensorFlowNetwork | TorchvisionNetwork


@dataclass(frozen=True)
class _Format:
    document: type[Any]
    write: Callable[[Architecture], Network]
    read: Callable[[Any], Architecture]


FORMATS: dict[str, _Format] = {
    "timm": _Format(TimmNetwork, to_timm, from_timm),
    "torchvision": _Format(TorchvisionNetwork, to_torchvision, from_torchvision),
    "tf": _Format(TensorFlowNetwork, to_tensorflow, from_tensorflow),
}


def export_architecture(architecture: Architecture, name: str) -> dict[str, Any]:
    """The document of an architecture in a format.

    Raises:
        MnasError: the format is unknown.
        FieldError: the format cannot express the architecture; the field is named.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    document: dict[str, Any] = json.loads(json.dumps(to_dict(FORMATS[name].write(architecture))))
    read_back = import_architecture(document, name)
    if read_back.in_channels != architecture.in_channels:
        problem = f"the format {name} cannot express {architecture.in_channels} input channels, only 3; use timm"
        raise FieldError("in_channels", problem)
    if read_back != architecture:
        ours, theirs = architecture_to_dict(architecture), architecture_to_dict(read_back)
        path, value, other = _first_difference("", ours, theirs)
        raise FieldError(path, f"the format {name} cannot express {value}, only {other}; use another format")
    return document


def import_architecture(document: object, name: str) -> Architecture:
    """The architecture of a document in a format.

    Raises:
        MnasError: the format is unknown.
        FieldError: a field of the document breaks its rule.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name].read(from_dict(FORMATS[name].document, document))


# What pads in each of the two ways.
_PADS = {
    "symmetric": "torchvision and timm's networks without tf_",
    "same": "TensorFlow and timm's tf_ networks",
}


def padding_note(architecture: Architecture) -> str | None:
    """A line if a network is a packaged one with the other padding, which shapes do not show; else None."""
    for file in sorted(PACKAGED.glob("*.yaml")):
        packaged = load(file.stem).architecture
        parts = ("stem", "stages", "head", "activation")
        equal = all(getattr(architecture, name) == getattr(packaged, name) for name in parts)
        if equal and architecture.padding != packaged.padding:
            ours, theirs = (
                f"{padding}, as in {_PADS[padding]}" for padding in (architecture.padding, packaged.padding)
            )
            return (
                f"Padding: {ours}; {file.stem} has {theirs}. Shapes and cost are equal, but weights that were trained "
                "with one see shifted features with the other."
            )
    return None


def _first_difference(path: str, a: Any, b: Any) -> tuple[str, Any, Any]:
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        pairs: Iterable[tuple[str, Any, Any]] = ((f"{path}.{key}".strip("."), a[key], b[key]) for key in a)
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = ((f"{path}[{index}]", x, y) for index, (x, y) in enumerate(zip(a, b, strict=True)))
    else:
        return path, a, b
    return next(_first_difference(inner, x, y) for inner, x, y in pairs if x != y)
