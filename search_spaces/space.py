"""`SearchSpace`: which architectures can be chosen, as a table of choices.

A space is a template architecture and, for each stage, the values that each field may take. A field with several values
is a *choice* with a label such as ``stage3_kernel_size`` (stages from 1). A *genotype* is a dict from label to value,
the sample of NNI; controllers work on *indices*, a row of integers, one for each choice, because rows can be sampled,
costed and modelled a hundred thousand at a time.

Genotypes may differ in a choice that changes nothing: the skip of a stage whose only block changes the channels. The
first of such genotypes, in the order of the values, is their *canonical* form; `SearchSpace.canonical` gives it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import (
    ACTIVATIONS,
    BLOCKS,
    RECIPE_FIELDS,
    Architecture,
    Block,
    Stage,
    check_name,
    stage_blocks,
    strided,
)
from search_spaces.cost import Cost, head_costs, stage_cost, stem_cost, total
from search_spaces.errors import FieldError, shorten, unknown_name

if TYPE_CHECKING:
    from nni.mutable import MutableDict

Value = int | float | str
Genotype = dict[str, Value]
Indices = NDArray[np.int64]

# What ``op`` may name: a kind of block, and the fields that the name settles. MnasNet's ConvOp (arXiv 1807.11626,
# section 4.1) in its four forms are conv, sepconv, mbconv3 and mbconv6.
OPS: dict[str, tuple[type[Block], dict[str, Any]]] = {
    "mbconv": (BLOCKS["mbconv"], {}),
    "conv": (BLOCKS["conv"], {}),
    "sepconv": (BLOCKS["mbconv"], {"expand_ratio": 1}),
    "mbconv3": (BLOCKS["mbconv"], {"expand_ratio": 3}),
    "mbconv6": (BLOCKS["mbconv"], {"expand_ratio": 6}),
}


@dataclass(frozen=True)
class StageChoices:
    """The values that each field of one stage may take; a field with one value is fixed.

    Attributes:
        expand_ratio: of the op ``mbconv``; empty where no op takes it.
        stride: of the stage, fixed.
        op: kinds of the block, keys of `OPS`.
    """

    kernel_size: tuple[int, ...]
    expand_ratio: tuple[int, ...]
    se_ratio: tuple[float, ...]
    out_channels: tuple[int, ...]
    num_layers: tuple[int, ...]
    stride: int
    skip: tuple[str, ...] = ("identity",)
    op: tuple[str, ...] = ("mbconv",)

    def values(self) -> dict[str, tuple[Value, ...]]:
        """Values by field, for all fields but ``stride``, and without those that no op takes."""
        taken = set().union(*(_taken_fields(op) for op in self.op)) | {"op", "out_channels", "num_layers"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in taken}

    def stage(self, chosen: Mapping[str, Any]) -> Stage:
        """The stage that has the chosen value in each field; what its op does not take is left aside."""
        block, settled = OPS[chosen["op"]]
        taken = {name: chosen[name] for name in _taken_fields(chosen["op"])}
        return Stage(block(**settled, **taken), chosen["out_channels"], chosen["num_layers"], self.stride)


def _taken_fields(op: str) -> set[str]:
    """The fields of a block that its op leaves open."""
    block, settled = OPS[op]
    return {field.name for field in fields(block)} - set(settled)


@dataclass(frozen=True)
class Choice:
    """One decision of a space.

    Attributes:
        label: name of the decision in a genotype.
        stage: index of the stage, from 0; None for a choice of the whole network.
        field: field of the stage (or of the architecture) that is decided.
        values: what it may be, in order.
    """

    label: str
    stage: int | None
    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class StageOptions:
    """The different stages that one stage can be when it is given certain channels; arrays of one length.

    Attributes:
        codes: as of `SearchSpace.stage_codes`.
        macs: of each.
        out: which of the stage's channels each gives, from 0.
    """

    codes: Indices
    macs: Indices
    out: Indices


class SearchSpace:
    """A set of architectures: one template, and choices for its stages.

    Args:
        name: what a person calls the space.
        template: gives everything outside the stages (stem, head, resolution, classes, regularisation).
        stages: the choices, one entry a stage.
        activation: what the whole network may have; the template's where it is empty.

    Raises:
        FieldError: there is no stage, or a stage has an unknown op, a field without a value, twice the same value, or a
            value that breaks its rule.
    """

    def __init__(
        self, name: str, template: Architecture, stages: Sequence[StageChoices], activation: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.activation = activation or (template.activation,)
        self.template = replace(template, activation=self.activation[0])
        self.stages = tuple(stages)
        self.decisions = tuple(self._decisions())
        self.labels = tuple(choice.label for choice in self.decisions)
        self.cardinalities: Indices = np.array([len(choice.values) for choice in self.decisions], dtype=np.int64)
        self._tables = tuple(_StageTable(index, self) for index in range(len(self.stages)))

    def _decisions(self) -> Iterator[Choice]:
        if not self.stages:
            raise FieldError("stages", "() is not one or more stages")
        for index, stage in enumerate(self.stages):
            for op in _checked_values(f"stages[{index}].op", stage.op):
                if op not in OPS:
                    raise FieldError(f"stages[{index}].op", str(unknown_name("op", str(op), OPS)))
            for field, values in stage.values().items():
                if len(_checked_values(f"stages[{index}].{field}", values)) > 1:
                    yield Choice(f"stage{index + 1}_{field}", index, field, values)
        for value in _checked_values("activation", self.activation):
            check_name("activation", value, ACTIVATIONS)
        if len(self.activation) > 1:
            yield Choice("activation", None, "activation", self.activation)

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {len(self.decisions)} choices, {self.size:.4g} architectures)"

    @property
    def size(self) -> int:
        """How many genotypes there are; see `num_networks`."""
        return math.prod(int(count) for count in self.cardinalities)

    @cached_property
    def num_networks(self) -> int:
        """How many different networks there are: canonical genotypes, exactly."""
        ways = [1]  # to reach each option for the channels that the next stage is given
        for table, forms in zip(self._tables, self._canonical_codes, strict=True):
            reached = [0] * len(table.channel_values)
            for option, count in enumerate(ways):
                canonical = np.flatnonzero(forms[option] == np.arange(len(table.stages)))
                for channels, new in enumerate(np.bincount(table.channel_option[canonical]).tolist()):
                    reached[channels] += count * new
            ways = reached
        return sum(ways) * len(self.activation)

    @cached_property
    def choices(self) -> MutableDict:
        """The choices as NNI has them: a ``MutableDict`` of ``nni.choice``, by label."""
        from search_spaces.nni_import import import_nni

        nni = import_nni("nni.mutable")
        return nni.MutableDict({c.label: nni.Categorical(list(c.values), label=c.label) for c in self.decisions})

    # --- sampling and conversion ----------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator, count: int) -> list[Genotype]:
        """``count`` genotypes, each choice uniform and independent."""
        return self.genotypes(self.sample_indices(rng, count))

    def sample_indices(self, rng: np.random.Generator, count: int) -> Indices:
        """As `sample`, as indices of shape (count, choices)."""
        return rng.integers(0, self.cardinalities, size=(count, len(self.cardinalities)), dtype=np.int64)

    def genotypes(self, indices: Indices) -> list[Genotype]:
        """Genotypes of indices of shape (count, choices)."""
        values = [choice.values for choice in self.decisions]
        return [
            {label: options[i] for label, options, i in zip(self.labels, values, row, strict=True)}
            for row in indices.tolist()
        ]

    def indices(self, genotypes: Sequence[Mapping[str, Value]]) -> Indices:
        """Indices of shape (count, choices) of genotypes.

        Raises:
            FieldError: a label is missing or unknown, or a value is none of its choice; ``path`` is the label.
        """
        rows = np.empty((len(genotypes), len(self.decisions)), dtype=np.int64)
        for row, genotype in zip(rows, genotypes, strict=True):
            if len(genotype) != len(self.labels):
                for label in genotype:
                    if label not in self.labels:
                        raise FieldError(str(label), f"is no choice of the space {self.name!r}")
            for column, choice in enumerate(self.decisions):
                if choice.label not in genotype:
                    raise FieldError(choice.label, f"missing; choose from {choice.values}")
                value = genotype[choice.label]
                if value not in choice.values:
                    raise FieldError(choice.label, f"{shorten(value)} is none of {choice.values}")
                row[column] = choice.values.index(value)
        return rows

    def __contains__(self, genotype: object) -> bool:
        if not isinstance(genotype, Mapping):
            return False
        try:
            self.indices([genotype])
        except FieldError:
            return False
        return True

    # --- canonical forms ------------------------------------------------------------------------------------------

    def canonical(self, indices: Indices) -> Indices:
        """The canonical row of each row: rows of one network become one row. Shape (count, choices)."""
        codes = self.stage_codes(indices)
        result = indices.copy()
        channels = np.zeros(len(indices), dtype=np.int64)
        for column, (table, forms) in enumerate(zip(self._tables, self._canonical_codes, strict=True)):
            result[:, table.columns] = table.rows[forms[channels, codes[:, column]]]
            channels = table.channel_option[codes[:, column]]
        return result

    @cached_property
    def _canonical_codes(self) -> list[Indices]:
        """For each stage the code of the first equal option: (options for input channels, options of the stage)."""
        result = []
        for index, in_channels, resolution in self._stage_inputs():
            forms = np.empty((len(in_channels), len(self._tables[index].stages)), dtype=np.int64)
            for option, channels in enumerate(in_channels):
                first: dict[object, int] = {}
                for code, stage in enumerate(self._tables[index].stages):
                    forms[option, code] = first.setdefault(_what_is_built(stage, channels, resolution), code)
            result.append(forms)
        return result

    def canonical_options(self) -> list[list[StageOptions]]:
        """For each stage and each option for its input channels, what different stages there are; last, the heads.

        The stem's MACs are in those of the first stage. A head has no code and gives no channels: both are 0.
        """
        result = []
        for table, forms, costs in zip(self._tables, self._canonical_codes, self._cost_tables, strict=False):
            own = np.arange(len(table.stages))
            codes = [np.flatnonzero(row == own) for row in forms]
            result.append(
                [
                    StageOptions(kept, row[kept, 0], table.channel_option[kept])
                    for kept, row in zip(codes, costs, strict=True)
                ]
            )
        zero = np.zeros(1, dtype=np.int64)
        result.append([StageOptions(zero, row[:, 0], zero) for row in self._cost_tables[-1]])
        return result

    def channel_options(self, stage: int) -> int:
        """How many different channels the stage at an index (from 0) may give."""
        return len(self._tables[stage].channel_values)

    def write_stage(self, row: Indices, stage: int, code: int) -> None:
        """Set the choices of one stage in a row of indices, by the code of `stage_codes`."""
        row[self._tables[stage].columns] = self._tables[stage].rows[code]

    def _stage_inputs(self) -> Iterator[tuple[int, tuple[int, ...], int]]:
        """Index, possible input channels and input resolution of each stage."""
        channels: tuple[int, ...] = (self.template.stem.out_channels,)
        resolution = strided(self.template.resolution, self.template.stem.stride)
        for index, choices in enumerate(self.stages):
            yield index, channels, resolution
            channels, resolution = choices.out_channels, strided(resolution, choices.stride)

    # --- architectures --------------------------------------------------------------------------------------------

    def decode(self, genotype: Mapping[str, Value]) -> Architecture:
        """The architecture of a genotype. Raises `FieldError` where the genotype is not of this space."""
        return self.decode_indices(self.indices([genotype]))[0]

    def decode_indices(self, indices: Indices) -> list[Architecture]:
        """The architectures of indices of shape (count, choices); equal stages are one object."""
        codes = self.stage_codes(indices).tolist()
        tables = [table.stages for table in self._tables]
        # The choice of an activation, where there is one, comes last.
        which = indices[:, -1].tolist() if len(self.activation) > 1 else [0] * len(indices)
        return [
            replace(
                self.template,
                stages=tuple(table[code] for table, code in zip(tables, row, strict=True)),
                activation=self.activation[activation],
            )
            for row, activation in zip(codes, which, strict=True)
        ]

    def encode(self, architecture: Architecture) -> Genotype:
        """The canonical genotype of an architecture; how it is trained (`RECIPE_FIELDS`) does not matter.

        Raises:
            FieldError: it lies outside the space; the message names the field, its value and what the space has.
        """
        for field in fields(Architecture):
            if field.name not in ("stages", "activation", *RECIPE_FIELDS):
                value, expected = getattr(architecture, field.name), getattr(self.template, field.name)
                if value != expected:
                    raise FieldError(field.name, f"{shorten(value)} lies outside the space {self.name!r} ({expected})")
        if architecture.activation not in self.activation:
            problem = f"{architecture.activation} lies outside the space {self.name!r} ({', '.join(self.activation)})"
            raise FieldError("activation", problem)
        if len(architecture.stages) != len(self.stages):
            problem = f"{len(architecture.stages)} stages lie outside the space {self.name!r} ({len(self.stages)})"
            raise FieldError("stages", problem)
        codes = [self.stage_code(index, stage) for index, stage in enumerate(architecture.stages)]
        row = [i for table, code in zip(self._tables, codes, strict=True) for i in table.rows[code].tolist()]
        if len(self.activation) > 1:
            row.append(self.activation.index(architecture.activation))
        return self.genotypes(self.canonical(np.array([row], dtype=np.int64)))[0]

    def converter(self, other: SearchSpace) -> Callable[[Indices], Indices]:
        """What turns rows of this space into rows of another space that has all its networks.

        Raises:
            FieldError: the other space lacks one; the message names the field.
        """
        if other is self:
            return lambda indices: indices
        other.encode(replace(self.template, stages=tuple(table.stages[0] for table in self._tables)))
        codes = [
            np.array([other.stage_code(index, stage) for stage in table.stages])
            for index, table in enumerate(self._tables)
        ]
        for activation in self.activation:
            if activation not in other.activation:
                raise FieldError("activation", f"{activation} lies outside the space {other.name!r}")

        def convert(indices: Indices) -> Indices:
            rows = np.zeros((len(indices), len(other.decisions)), dtype=np.int64)
            own = self.stage_codes(indices)
            for stage, table in enumerate(other._tables):
                rows[:, table.columns] = table.rows[codes[stage][own[:, stage]]]
            return rows

        return convert

    def stage_code(self, index: int, stage: Stage) -> int:
        """Which of the options of the stage at ``index`` (from 0) ``stage`` is; see `stage_codes`.

        Raises:
            FieldError: it is none of them; the message names the field.
        """
        code = self._tables[index].code_of.get(stage)
        if code is not None:
            return code
        choices = self.stages[index]
        if not any(isinstance(stage.block, OPS[op][0]) for op in choices.op):
            raise FieldError(f"stages[{index}].op", f"the space {self.name!r} has {', '.join(choices.op)} there")
        given = {**vars(stage.block), **vars(stage)}
        for field, values in {**choices.values(), "stride": (choices.stride,)}.items():
            if field in given and given[field] not in values:
                options = ", ".join(map(str, values))
                problem = f"{shorten(given[field])} lies outside the space {self.name!r} ({options})"
                raise FieldError(f"stages[{index}].{field}", problem)
        problem = (
            f"the ops of the space {self.name!r} there ({', '.join(choices.op)}) do not give {shorten(stage.block)}"
        )
        raise FieldError(f"stages[{index}].op", problem)

    def stage_codes(self, indices: Indices) -> Indices:
        """For each row of indices and each stage, one integer that stands for the stage's choices together.

        Shape (count, stages). Codes of a stage run from 0 to `stage_sizes` − 1.
        """
        codes = np.empty((len(indices), len(self._tables)), dtype=np.int64)
        for column, table in enumerate(self._tables):
            codes[:, column] = indices[:, table.columns] @ table.radix
        return codes

    @property
    def stage_sizes(self) -> tuple[int, ...]:
        """How many options each stage has."""
        return tuple(len(table.stages) for table in self._tables)

    def stage_options(self, index: int) -> Indices:
        """Rows that go through the options of one stage in the order of its codes, all else at its first value.

        Shape (options of the stage, choices of the space).
        """
        table = self._tables[index]
        rows = np.zeros((len(table.rows), len(self.decisions)), dtype=np.int64)
        rows[:, table.columns] = table.rows
        return rows

    def steps(self, indices: Indices) -> NDArray[np.float64]:
        """Each choice as steps: column j of a choice is 1 where its value is at or above its value number j + 1.

        Shape (count, sum of (values − 1)). The natural inputs of a model over ordered choices: the weight of a column
        is what one step more is worth.
        """
        columns = [indices[:, [i]] >= np.arange(1, count) for i, count in enumerate(self.cardinalities)]
        return np.concatenate([np.empty((len(indices), 0)), *columns], axis=1)

    # --- cost -----------------------------------------------------------------------------------------------------

    def costs(self, indices: Indices) -> tuple[Indices, Indices]:
        """Exact MACs and parameters of each row: two integer arrays of shape (count,)."""
        summed = self._summed_costs(indices)
        return summed[:, 0], summed[:, 1]

    def exact_costs(self, indices: Indices) -> list[Cost]:
        """What `search_spaces.cost.architecture_cost` gives of each row, a hundred times as fast."""
        return [Cost(*row) for row in self._summed_costs(indices).tolist()]

    def _summed_costs(self, indices: Indices) -> Indices:
        """Cost of each row, in the order of the fields of `Cost`: shape (count, fields).

        A stage's cost depends on its own choices and on the channels that the stage before gives, so each stage has a
        table over both, filled once by `search_spaces.cost`.
        """
        codes = self.stage_codes(indices)
        result = np.zeros((len(indices), len(fields(Cost))), dtype=np.int64)
        channels = np.zeros(len(indices), dtype=np.int64)
        for column, table in enumerate(self._tables):
            result += self._cost_tables[column][channels, codes[:, column]]
            channels = table.channel_option[codes[:, column]]
        result += self._cost_tables[-1][channels, 0]
        return result

    @cached_property
    def _cost_tables(self) -> list[Indices]:
        """For each stage, and last the head: (options for input channels, options of the stage, fields of `Cost`)."""
        template = self.template
        tables = [
            _cost_table(in_channels, self._tables[index].stages, resolution)
            for index, in_channels, resolution in self._stage_inputs()
        ]
        tables[0] += _numbers(stem_cost(template.stem, template.resolution).cost)
        head, classes, in_channels = template.head, template.num_classes, self.stages[-1].out_channels
        resolution = template.resolution
        for stride in (template.stem.stride, *(stage.stride for stage in self.stages)):
            resolution = strided(resolution, stride)
        heads = [total(layer.cost for layer in head_costs(head, n, resolution, classes)) for n in in_channels]
        tables.append(np.array([[_numbers(cost)] for cost in heads]))
        return tables

    @property
    def macs_range(self) -> tuple[int, int]:
        """MACs of the smallest and of the largest architecture of the space, exactly."""
        return self.cost_range("macs")

    def cost_range(self, name: str) -> tuple[int, int]:
        """The smallest and the largest ``macs``, ``params`` or ``activations`` of the space, exactly."""
        column = [field.name for field in fields(Cost)].index(name)
        low = high = np.zeros(1, dtype=np.int64)
        for table, costs in zip(self._tables, self._cost_tables, strict=False):
            own = costs[:, :, column]
            lows, highs = (low[:, None] + own).min(axis=0), (high[:, None] + own).max(axis=0)
            options = range(int(table.channel_option.max()) + 1)
            low = np.array([lows[table.channel_option == option].min() for option in options])
            high = np.array([highs[table.channel_option == option].max() for option in options])
        head = self._cost_tables[-1][:, 0, column]
        return int((low + head).min()), int((high + head).max())


class _StageTable:
    """All options of one stage, in the order of their codes."""

    def __init__(self, index: int, space: SearchSpace) -> None:
        choices = space.stages[index]
        self.columns = [i for i, decision in enumerate(space.decisions) if decision.stage == index]
        counts = [len(space.decisions[column].values) for column in self.columns]
        self.radix: Indices = np.array([math.prod(counts[i + 1 :]) for i in range(len(counts))], dtype=np.int64)
        rows = list(product(*map(range, counts)))  # one empty row where nothing of the stage is chosen
        self.rows: Indices = np.array(rows, dtype=np.int64).reshape(len(rows), len(counts))
        by_field = choices.values()
        try:
            self.stages = [
                choices.stage(dict(zip(by_field, option, strict=True))) for option in product(*by_field.values())
            ]
        except FieldError as error:
            raise error.inside(f"stages[{index}]") from None
        self.code_of: dict[Stage, int] = {}
        for code, stage in enumerate(self.stages):
            self.code_of.setdefault(stage, code)
        self.channel_values = choices.out_channels
        channels = {value: option for option, value in enumerate(choices.out_channels)}
        self.channel_option: Indices = np.array([channels[stage.out_channels] for stage in self.stages])


def _checked_values(path: str, values: object) -> tuple[Any, ...]:
    if not isinstance(values, tuple) or not values or len(set(values)) != len(values):
        raise FieldError(path, f"{shorten(values)} is not a tuple of one or more different values")
    return values


def _what_is_built(stage: Stage, in_channels: int, resolution: int) -> tuple[object, ...]:
    """Equal for stages that build the same layers, whatever their fields say."""
    blocks = islice(stage_blocks(stage, in_channels, resolution), 2)  # all blocks but the first are equal
    shapes = [
        (type(b.block), b.block.kernel_size, b.hidden_channels, b.squeeze_channels, b.out_channels, b.stride, b.skip)
        for b in blocks
    ]
    return stage.num_layers, *shapes


def _cost_table(in_channels: Sequence[int], stages: Sequence[Stage], resolution: int) -> Indices:
    return np.array(
        [[_numbers(stage_cost(stage, channels, resolution)) for stage in stages] for channels in in_channels]
    )


def _numbers(cost: Cost) -> tuple[int, ...]:
    return cost.macs, cost.params, cost.activations
