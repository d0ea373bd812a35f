"""Helpers of the formats: words of block strings, and checks that name the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from search_spaces.architecture import ACTIVATIONS, Architecture, Block, Stage
from search_spaces.errors import FieldError, shorten

# Other names of activations: of timm's and TensorFlow's code, and of torch.
_SAME_ACTIVATION = {
    "silu": "swish",
    "SiLU": "swish",
    "Swish": "swish",
    "swish_native": "swish",
    "hardswish": "hard_swish",
    "hswish": "hard_swish",
    "h_swish": "hard_swish",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "GELU": "gelu",
    "Mish": "mish",
    "Hardswish": "hard_swish",
}


def activation_of(path: str, name: str) -> str:
    """Our name of an activation. Raises `FieldError` if it is unknown."""
    ours = _SAME_ACTIVATION.get(name, name)
    if ours not in ACTIVATIONS:
        known = ", ".join([*ACTIVATIONS, *(other for other in _SAME_ACTIVATION if other.islower())])
        raise FieldError(path, f"{shorten(name)}: expected one of {known}")
    return ours


def words_of(
    path: str, text: str, *, required: str, optional: tuple[str, ...], flags: tuple[str, ...]
) -> dict[str, str]:
    """The words of a block string, by key: letters with a value, such as ``k3`` or ``se0.25``, and flags without one.

    Args:
        path: path of the block string, for errors.
        text: block string.
        required: keys that must be given, one letter each.
        optional: keys that may be given.
        flags: words without a value.

    Raises:
        FieldError: a word is unknown, missing or given twice.
    """
    words: dict[str, str] = {}
    for word in text.split("_"):
        match = re.fullmatch(r"([a-z]+)([0-9][0-9.e-]{0,20})?", word)
        key, value = match.groups(default="") if match else ("", "")
        known = key in flags if not value else key in (*required, *optional)
        if not known:
            names = ", ".join([*required, *optional, *flags])
            raise FieldError(path, f"{shorten(word)} in {shorten(text)} is unknown; known: {names}")
        if key in words:
            raise FieldError(path, f"{key} is given twice in {shorten(text)}; remove one")
        words[key] = value
    for key in required:
        if key not in words:
            raise FieldError(path, f"{key} is missing in {shorten(text)}; add it")
    return words


def integer_of(path: str, key: str, text: str) -> int:
    """The integer after a key. Raises `FieldError` for anything else."""
    if not re.fullmatch(r"\d{1,9}", text):
        raise FieldError(path, f"{key}{text}: expected a whole number after {key.strip()}")
    return int(text)


def number_of(path: str, key: str, text: str) -> float:
    """The number after a key. Raises `FieldError` for anything else."""
    try:
        return float(text)
    except ValueError:
        raise FieldError(path, f"{key}{text}: expected a number after {key}") from None


def channels_of(net: Architecture) -> dict[str, int]:
    """Output channels of the stem and the stages, by the path of the field."""
    stages = {f"stages[{index}].out_channels": stage.out_channels for index, stage in enumerate(net.stages)}
    return {"stem.out_channels": net.stem.out_channels, **stages}


def check_eights(project: str, channels: Mapping[str, int]) -> None:
    """Refuse channels that the project's code would round to multiples of 8."""
    for path, count in channels.items():
        if count % 8:
            problem = f"{count} is not a multiple of 8, and {project} would round it; use another format"
            raise FieldError(path, problem)


def check_input(path: str, given: int, channels: int) -> None:
    """Refuse input channels that differ from the output channels of the part before."""
    if given != channels:
        raise FieldError(path, f"{given} input channels must equal the {channels} output channels of the part before")


def stage_of(path: str, block: Block, channels: str, layers: str, stride: str) -> Stage:
    """A stage from the values of its words. Raises `FieldError` with the path if one breaks its rule."""
    stage: Stage = checked(
        path,
        Stage,
        block=block,
        out_channels=integer_of(path, "channels ", channels),
        num_layers=integer_of(path, "r", layers),
        stride=integer_of(path, "s", stride),
    )
    return stage


def checked(path: str, cls: Callable[..., Any], **values: Any) -> Any:
    """An instance of a class. Raises its `FieldError` with ``path`` in front."""
    try:
        return cls(**values)
    except FieldError as error:
        raise error.inside(path) from None
