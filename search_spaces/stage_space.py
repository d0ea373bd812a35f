"""`StageSpace`: a set of architectures, as a table of stages and the values that each field of a stage may take.

A field with several values is a choice with a label such as ``stage3_kernel_size`` (stages are counted from 1). A
choice may change nothing, such as the skip of a stage whose only block changes the channels. So several genotypes may
build the same layers; they share a canonical form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import islice, product
from typing import Any

import numpy as np

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
from search_spaces.space import Choice, Genotype, Indices, Space, Value

# Values of ``op``: a kind of block, and the fields that the value fixes. MnasNet's ConvOp (arXiv 1807.11626,
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
        expand_ratio: expansion of the op ``mbconv``; empty if no op takes it.
        stride: stride of the stage, fixed.
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
        """Values by field, without ``stride`` and the fields that no op takes."""
        taken = set().union(*(_taken_fields(op) for op in self.op)) | {"op", "out_channels", "num_layers"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in taken}

    def stage(self, chosen: Mapping[str, Any]) -> Stage:
        """The stage with the chosen value in each field; fields that its op does not take are ignored."""
        block, settled = OPS[chosen["op"]]
        taken = {name: chosen[name] for name in _taken_fields(chosen["op"])}
        return Stage(block(**settled, **taken), chosen["out_channels"], chosen["num_layers"], self.stride)


def _taken_fields(op: str) -> set[str]:
    """The fields of a block that its op leaves open."""
    block, settled = OPS[op]
    return {field.name for field in fields(block)} - set(settled)


@dataclass(frozen=True)
class StageChoice(Choice):
    """A choice of one field.

    Attributes:
        stage: index of the stage, from 0; None for a choice of the whole network.
        field: field of the stage (or of the architecture) that is decided.
    """

    stage: int | None
    field: str


@dataclass(frozen=True)
class StageOptions:
    """The different forms of one stage for given input channels; arrays of the same length.

    Attributes:
        codes: codes of the forms, as in `StageSpace.stage_codes`.
        macs: MACs of each form.
        out: index of the output channels of each form among those of the stage.
    """

    codes: Indices
    macs: Indices
    out: Indices


class StageSpace(Space):
    """A set of architectures: one template, and choices for its stages.

    Args:
        name: name of the space.
        template: source of everything outside the stages (stem, head, resolution, classes, regularisation).
        stages: choices, one entry per stage.
        activation: activations that the whole network may have; the template's if empty.

    Raises:
        FieldError: there is no stage, or a stage has an unknown op, a field without a value, the same value twice, or a
            value that breaks its rule.

    Example:
        >>> from dataclasses import replace
        >>> from search_spaces import StageChoices, StageSpace, load_space
        >>> template = load_space("efficientnet").template
        >>> stage = StageChoices(
        ...     kernel_size=(3, 5),
        ...     expand_ratio=(6,),
        ...     se_ratio=(0.25,),
        ...     out_channels=(24, 40),
        ...     num_layers=(1,),
        ...     stride=2,
        ... )
        >>> space = StageSpace("tiny", replace(template, stages=template.stages[:1]), [stage])
        >>> space.labels, space.num_networks
        (('stage1_kernel_size', 'stage1_out_channels'), 4)
        >>> space.decode({"stage1_kernel_size": 5, "stage1_out_channels": 40}).stages[0].out_channels
        40
    """

    decisions: tuple[StageChoice, ...]

    def __init__(
        self, name: str, template: Architecture, stages: Sequence[StageChoices], activation: tuple[str, ...] = ()
    ) -> None:
        self.activation = activation or (template.activation,)
        self.template = replace(template, activation=self.activation[0])
        self.stages = tuple(stages)
        super().__init__(name, tuple(self._decisions()))
        self._tables = tuple(_StageTable(index, self) for index in range(len(self.stages)))

    def _decisions(self) -> Iterator[StageChoice]:
        if not self.stages:
            raise FieldError("stages", "(): expected one or more stages")
        for index, stage in enumerate(self.stages):
            for op in _checked_values(f"stages[{index}].op", stage.op):
                if op not in OPS:
                    raise FieldError(f"stages[{index}].op", str(unknown_name("op", str(op), OPS)))
            for field, values in stage.values().items():
                if len(_checked_values(f"stages[{index}].{field}", values)) > 1:
                    yield StageChoice(f"stage{index + 1}_{field}", values, index, field)
        for value in _checked_values("activation", self.activation):
            check_name("activation", value, ACTIVATIONS)
        if len(self.activation) > 1:
            yield StageChoice("activation", self.activation, None, "activation")

    @property
    def num_networks(self) -> int:
        """Number of different networks: canonical genotypes, exactly."""
        return self._num_networks

    @cached_property
    def _num_networks(self) -> int:
        ways = [1]  # number of ways to reach each option for the input channels of the next stage
        for table, forms in zip(self._tables, self._canonical_codes, strict=True):
            reached = [0] * len(table.channel_values)
            for option, count in enumerate(ways):
                canonical = np.flatnonzero(forms[option] == np.arange(len(table.stages)))
                for channels, new in enumerate(np.bincount(table.channel_option[canonical]).tolist()):
                    reached[channels] += count * new
            ways = reached
        return sum(ways) * len(self.activation)

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
        """The different forms of each stage, for each option for its input channels; last, the heads.

        The stem's MACs are in those of the first stage. A head has neither a code nor output channels: both are 0.
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
        """Number of different output channels of the stage at an index (from 0)."""
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
        """The architecture of a genotype. Raises `FieldError` if the genotype is not in this space."""
        return self.decode_indices(self.indices([genotype]))[0]

    def decode_indices(self, indices: Indices) -> list[Architecture]:
        """The architectures of indices of shape (count, choices); equal stages are one object."""
        codes = self.stage_codes(indices).tolist()
        tables = [table.stages for table in self._tables]
        # The choice of an activation, if there is one, comes last.
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
            FieldError: it lies outside the space; the message names the field, its value and the values of the space.
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

    def converter(self, other: StageSpace) -> Callable[[Indices], Indices]:
        """A function from rows of this space to rows of another space that has all its networks.

        Raises:
            FieldError: the other space lacks a network; the message names the field.
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
        """The code of ``stage`` among the options of the stage at ``index`` (from 0); see `stage_codes`.

        Raises:
            FieldError: it is not among them; the message names the field.
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
        """Number of options of each stage."""
        return tuple(len(table.stages) for table in self._tables)

    def stage_options(self, index: int) -> Indices:
        """Rows with each option of one stage in the order of its codes, and all other choices at their first value.

        Shape (options of the stage, choices of the space).
        """
        table = self._tables[index]
        rows = np.zeros((len(table.rows), len(self.decisions)), dtype=np.int64)
        rows[:, table.columns] = table.rows
        return rows

    # --- cost -----------------------------------------------------------------------------------------------------

    @property
    def cost_names(self) -> tuple[str, ...]:
        """``macs`` and ``params``, both counted exactly."""
        return ("macs", "params")

    def costs(self, indices: Indices) -> tuple[Indices, Indices]:
        """Exact MACs and parameters of each row: two integer arrays of shape (count,)."""
        summed = self._summed_costs(indices)
        return summed[:, 0], summed[:, 1]

    def exact_costs(self, indices: Indices) -> list[Cost]:
        """As `search_spaces.cost.architecture_cost` for each row, but a hundred times as fast."""
        return [Cost(*row) for row in self._summed_costs(indices).tolist()]

    def _summed_costs(self, indices: Indices) -> Indices:
        """Cost of each row, in the order of the fields of `Cost`: shape (count, fields).

        A stage's cost depends on its own choices and on the output channels of the stage before, so each stage has a
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
        stem = stem_cost(template.stem, template.resolution, template.in_channels).cost
        costs = [
            [[stage_cost(stage, channels, resolution) for stage in self._tables[index].stages] for channels in inputs]
            for index, inputs, resolution in self._stage_inputs()
        ]
        costs[0] = [[stem + cost for cost in row] for row in costs[0]]
        head, classes, in_channels = template.head, template.num_classes, self.stages[-1].out_channels
        resolution = template.resolution
        for stride in (template.stem.stride, *(stage.stride for stage in self.stages)):
            resolution = strided(resolution, stride)
        costs.append([[total(layer.cost for layer in head_costs(head, n, resolution, classes))] for n in in_channels])
        for name in (field.name for field in fields(Cost)):
            largest = sum(max(getattr(cost, name) for row in table for cost in row) for table in costs)
            if largest >= 2**63:
                rule = f"a network may have {largest:.3g} {name}, expected less than 2^63"
                raise FieldError("stages", f"{rule}; use fewer channels, layers or pixels")
        return [
            np.array([[(cost.macs, cost.params, cost.activations) for cost in row] for row in table], dtype=np.int64)
            for table in costs
        ]

    @property
    def macs_range(self) -> tuple[int, int]:
        """MACs of the smallest and of the largest architecture of the space, exactly."""
        return self.cost_range("macs")

    def cost_range(self, name: str) -> tuple[int, int]:
        """The smallest and the largest ``macs``, ``params`` or ``activations`` of the space, exactly."""
        names = [field.name for field in fields(Cost)]
        if name not in names:
            raise unknown_name("cost", name, names)
        column = names.index(name)
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

    def __init__(self, index: int, space: StageSpace) -> None:
        choices = space.stages[index]
        self.columns = [i for i, decision in enumerate(space.decisions) if decision.stage == index]
        counts = [len(space.decisions[column].values) for column in self.columns]
        self.radix: Indices = np.array([math.prod(counts[i + 1 :]) for i in range(len(counts))], dtype=np.int64)
        rows = list(product(*map(range, counts)))  # one empty row if the stage has no choice
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
        raise FieldError(path, f"{shorten(values)}: expected a tuple of one or more different values")
    return values


def _what_is_built(stage: Stage, in_channels: int, resolution: int) -> tuple[object, ...]:
    """Equal for stages that build the same layers, whatever their fields say."""
    blocks = islice(stage_blocks(stage, in_channels, resolution), 2)  # all blocks after the first are equal
    shapes = [
        (type(b.block), b.block.kernel_size, b.hidden_channels, b.squeeze_channels, b.out_channels, b.stride, b.skip)
        for b in blocks
    ]
    return stage.num_layers, *shapes
