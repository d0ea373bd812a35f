"""`BaselineSpec`: a named architecture with where it comes from and what is known about it, as a YAML file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.console import short_number
from baselines.files import write_new_text
from search_spaces import Architecture, architecture_from_dict, architecture_to_dict, digest
from search_spaces.architecture import check_number
from search_spaces.errors import FieldError, MnasError, shorten
from search_spaces.serialization import from_dict, read_yaml, require_mapping, to_dict, write_yaml

SCHEMA = 1
FIGURE_KINDS = ("published", "predicted", "measured")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Figure:
    """One figure that somebody stated about a network.

    Attributes:
        metric: ``top1`` or ``top5`` (fractions), ``params`` or ``macs`` (as printed by the source, so rounded).
        value: in the unit of the metric.
        kind: ``published`` by others, ``predicted`` by a model, ``measured`` here.
        source: paper and table, or the model that predicted it.
        std: standard deviation of the value, where it is known.
    """

    metric: str
    value: float
    kind: str
    source: str
    std: float | None = None

    def __post_init__(self) -> None:
        _check_text("metric", self.metric)
        _check_text("source", self.source)
        if self.kind not in FIGURE_KINDS:
            raise FieldError("kind", f"{shorten(self.kind)} is none of {', '.join(FIGURE_KINDS)}")
        for name, number in (("value", self.value), ("std", self.std)):
            if number is not None and not _is_finite(number):
                raise FieldError(name, f"{shorten(number)} is not a finite number from 0 up")


@dataclass(frozen=True)
class Target:
    """What a search aimed at.

    Attributes:
        cost: by name, such as ``macs``.
        value: of it, in its own unit.
    """

    cost: str
    value: float

    def __post_init__(self) -> None:
        check_number(f"target {self.cost}", self.value, 1e-9, 1e18)
        object.__setattr__(self, "value", float(self.value))

    def text(self) -> str:
        """As a person writes it: ``macs=400M``."""
        return f"{self.cost}={short_number(self.value)}"


@dataclass(frozen=True)
class SearchRecord:
    """The search that found a network: with these settings and the same version it finds it again.

    Attributes:
        space, evaluator, controller, objective: by name.
        targets: of the objective.
        exponents: of the objective, below and above the target.
        seed, trials: of the run, and how many trials it had when the network was frozen.
        trial: number of the trial that is the network.
        reward: of that trial.
        journal_digest: SHA-256 (16 digits) of the run's settings and trials.
    """

    space: str
    evaluator: str
    controller: str
    objective: str
    targets: tuple[Target, ...]
    exponents: tuple[float, ...]
    seed: int
    trials: int
    trial: int
    reward: float
    journal_digest: str


@dataclass(frozen=True)
class ScalingRecord:
    """The scaling that made a network from another.

    Attributes:
        parent, parent_digest: name and digest of the architecture that was scaled.
        rule: ``preset b3`` (released coefficients), ``phi 2`` (the paper's rule) or ``w1.2 d1.4 r300`` (own).
        width, depth: coefficients of channels and of layers.
        resolution: side of the input image in pixels.
    """

    parent: str
    parent_digest: str
    rule: str
    width: float
    depth: float
    resolution: int


@dataclass(frozen=True)
class Provenance:
    """Where an architecture comes from.

    Attributes:
        source: paper and table, or the command that made it.
        search: of a network that was found here.
        scaling: of a network that was scaled here.
    """

    source: str
    search: SearchRecord | None = None
    scaling: ScalingRecord | None = None

    def __post_init__(self) -> None:
        _check_text("source", self.source)


@dataclass(frozen=True)
class BaselineSpec:
    """A named, frozen network.

    Raises:
        FieldError: the name is not a plain word; other fields check themselves.
    """

    name: str
    architecture: Architecture
    provenance: Provenance
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        if not is_name(self.name):
            rule = "is not a name of up to 64 letters, digits, '_', '.' and '-' that begins with a letter or digit"
            raise FieldError("name", f"{shorten(self.name)} {rule}")

    @property
    def digest(self) -> str:
        """Digest of the architecture alone: equal for equal networks under any name."""
        return digest(self.architecture)


def is_name(value: object) -> bool:
    """Whether a value can be the name of a spec, and so of its file."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def spec_to_dict(spec: BaselineSpec) -> dict[str, Any]:
    """Plain data of a spec, in the order of a spec file."""
    provenance = spec.provenance
    records = {"search": provenance.search, "scaling": provenance.scaling}
    return {
        "schema": SCHEMA,
        "name": spec.name,
        "architecture": architecture_to_dict(spec.architecture),
        "provenance": {
            "source": provenance.source,
            **{name: to_dict(record) for name, record in records.items() if record is not None},
        },
        "figures": [to_dict(figure) for figure in spec.figures],
    }


def spec_from_dict(data: object) -> BaselineSpec:
    """The spec that `spec_to_dict` wrote. Raises `FieldError` with the path of the field that is wrong."""
    fields = dict(require_mapping(data, ""))
    if "schema" not in fields:
        raise FieldError("schema", f"missing; this version reads schema {SCHEMA}")
    schema = fields.pop("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise FieldError("schema", f"{shorten(schema)} is unknown; this version reads schema {SCHEMA}")
    if "architecture" in fields:
        try:
            fields["architecture"] = architecture_from_dict(fields["architecture"])
        except FieldError as error:
            raise error.inside("architecture") from None
    return from_dict(BaselineSpec, fields)


def read_spec(file: Path) -> BaselineSpec:
    """Read a spec file.

    Raises:
        MnasError: the file is no spec; the message names file, field, value and rule.
    """
    data = read_yaml(file)
    try:
        return spec_from_dict(data)
    except FieldError as error:
        raise MnasError(f"{file}: {error}") from None


def write_spec(spec: BaselineSpec, file: Path) -> bool:
    """Write a spec file, whole or not at all.

    Returns:
        False where the file held this very spec already, so that nothing was written.

    Raises:
        MnasError: the file holds something else, or cannot be written; nothing is changed then.
    """
    text = write_yaml(spec_to_dict(spec))
    try:
        if file.exists() and file.read_text(encoding="utf-8") == text:
            return False
        if file.exists():
            raise MnasError(f"{file}: is there already and differs; choose another name or remove it")
        file.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise MnasError(f"{file}: cannot be written ({reason}); choose another place") from None
    write_new_text(file, text)
    return True


def _check_text(name: str, value: object) -> None:
    # What a terminal would obey or YAML would fold (control characters, line separators) is not printable.
    if not isinstance(value, str) or not value.strip() or len(value) > 500 or not value.isprintable():
        raise FieldError(name, f"{shorten(value)} is not one line of 1 to 500 printable characters")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
