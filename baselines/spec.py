"""`BaselineSpec`: a named architecture with its provenance and known figures, stored as a YAML file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.files import write_new_text
from baselines.text import target_text
from search_spaces import Architecture, architecture_cost, architecture_from_dict, architecture_to_dict, digest
from search_spaces.architecture import check_number
from search_spaces.errors import FieldError, MnasError, shorten
from search_spaces.serialization import from_dict, read_text, read_yaml, require_mapping, to_dict, write_yaml

SCHEMA = 1
FIGURE_KINDS = ("published", "predicted", "measured")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Figure:
    """One known figure of a network.

    Attributes:
        metric: ``top1`` or ``top5`` (fractions), ``params`` or ``macs`` (as printed by the source, so rounded).
        value: value in the unit of the metric.
        kind: ``published`` by others, ``predicted`` by a model, or ``measured`` here.
        source: paper and table, or the model that predicted it.
        std: standard deviation of the value, if known.
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
            raise FieldError("kind", f"{shorten(self.kind)}: expected one of {', '.join(FIGURE_KINDS)}")
        for name, number in (("value", self.value), ("std", self.std)):
            if number is not None and not _is_finite_and_non_negative(number):
                raise FieldError(name, f"{shorten(number)}: expected a finite number of 0 or more")


@dataclass(frozen=True)
class Target:
    """Target of a search.

    Attributes:
        cost: name of the cost, such as ``macs``.
        value: target in the unit of the cost.
    """

    cost: str
    value: float

    def __post_init__(self) -> None:
        check_number(f"target {self.cost}", self.value, 1e-9, 1e18)
        object.__setattr__(self, "value", float(self.value))

    def text(self) -> str:
        """The target as typed in a command: ``macs=400M``."""
        return target_text(self.cost, self.value)


@dataclass(frozen=True)
class SearchRecord:
    """The search that found a network. The same settings and version find it again.

    Attributes:
        space, evaluator, controller, objective: names of the parts of the search.
        targets: targets of the objective.
        exponents: exponents of the objective, below and above the target.
        seed: random seed of the run.
        trials: number of trials in the run when the network was frozen.
        trial: number of the trial that found the network.
        reward: reward of that trial.
        journal_digest: first 16 hex digits of the SHA-256 of the run's settings and trials.
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
    """The scaling that made a network from another one.

    Attributes:
        parent, parent_digest: name and digest of the architecture that was scaled.
        rule: way of scaling in words: ``preset b3`` (released coefficients), ``w1.2 d1.4 r300`` (given factors), or a
            rule with its phi, factor or target, and its rounding: ``fast, macs=1G, layers rounded, channels to 8``.
            Files of older versions have ``phi 2`` for the paper's rule.
        width, depth: factors on channels and on layers.
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
    """Provenance of an architecture.

    Attributes:
        source: paper and table, or the command that made it.
        search: record of the search, if one found it here.
        scaling: record of the scaling, if it was scaled here.
    """

    source: str
    search: SearchRecord | None = None
    scaling: ScalingRecord | None = None

    def __post_init__(self) -> None:
        _check_text("source", self.source)


@dataclass(frozen=True)
class BaselineSpec:
    """A named, frozen network.

    Attributes:
        name: name of the spec and its file.
        architecture: architecture of the network.
        provenance: where the architecture comes from.
        figures: known figures of the network.

    Raises:
        FieldError: the name has other characters than `is_name` allows.
    """

    name: str
    architecture: Architecture
    provenance: Provenance
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        if not is_name(self.name):
            rule = "expected up to 64 letters, digits, '_', '.' and '-', starting with a letter or digit"
            raise FieldError("name", f"{shorten(self.name)}: {rule}")

    @property
    def digest(self) -> str:
        """Digest of the architecture alone: equal architectures have equal digests, whatever their names."""
        return digest(self.architecture)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, in the order of a spec file, which `spec_from_dict` reads."""
        records = {"search": self.provenance.search, "scaling": self.provenance.scaling}
        return {
            "schema": SCHEMA,
            "name": self.name,
            "architecture": architecture_to_dict(self.architecture),
            "provenance": {
                "source": self.provenance.source,
                **{name: to_dict(record) for name, record in records.items() if record is not None},
            },
            "figures": [to_dict(figure) for figure in self.figures],
        }

    def __repr__(self) -> str:
        net = self.architecture
        return f"BaselineSpec({self.name}, {architecture_cost(net).macs:,} MACs at {net.resolution} px)"

    def _repr_html_(self) -> str:
        from baselines.views.spec import text
        from baselines.views.terminal import as_html

        return as_html(*text(self))


def is_name(value: object) -> bool:
    """Whether a value can be the name of a spec and of its file."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def spec_from_dict(data: object) -> BaselineSpec:
    """The spec in the output of `BaselineSpec.as_dict`. Raises `FieldError` with the path of a wrong field."""
    fields = dict(require_mapping(data, ""))
    if "schema" not in fields:
        raise FieldError("schema", f"missing; set it to {SCHEMA}, the schema of this version")
    schema = fields.pop("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise FieldError("schema", f"{shorten(schema)}: expected {SCHEMA}, the schema of this version")
    if "architecture" in fields:
        try:
            fields["architecture"] = architecture_from_dict(fields["architecture"])
        except FieldError as error:
            raise error.inside("architecture") from None
    return from_dict(BaselineSpec, fields)


def read_spec(file: Path) -> BaselineSpec:
    """Read a spec file.

    Raises:
        MnasError: the file is not a spec; the message names file, field, value and rule.
    """
    data = read_yaml(file)
    try:
        return spec_from_dict(data)
    except FieldError as error:
        raise MnasError(f"{file}: {error}") from None


def write_spec(spec: BaselineSpec, file: Path) -> bool:
    """Write a spec file, completely or not at all.

    Returns:
        Whether the file was written; False if it already held exactly this spec.

    Raises:
        MnasError: the file already exists with other content, or cannot be written; nothing is changed then.
    """
    text = write_yaml(spec.as_dict())
    try:
        if file.exists() and read_text(file) == text:
            return False
        if file.exists():
            raise MnasError(f"{file}: already exists with other content; choose another name or remove it")
        file.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it already exists and is not text"
        raise MnasError(f"{file}: cannot be written ({reason}); choose another name") from None
    write_new_text(file, text)
    return True


def _check_text(name: str, value: object) -> None:
    # `isprintable` excludes control characters and line separators, which a terminal would obey or YAML would fold.
    if not isinstance(value, str) or not value.strip() or len(value) > 500 or not value.isprintable():
        raise FieldError(name, f"{shorten(value)}: expected one line of 1 to 500 printable characters")


def _is_finite_and_non_negative(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
