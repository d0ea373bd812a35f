"""The tensors of a checkpoint: wrappers, prefixes, counters, and raw beside averaged weights.

A file is one flat table of tensors, however deeply its dictionaries are nested: ``state_dict``, ``module.`` and
``model_ema.module.`` are all prefixes. A network is found wherever its first layer is found.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import MnasError, shorten

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_OF = ("ema", "raw")
# Words for averaged weights in the names of dictionaries: model_ema, state_dict_ema, ema, swa_model, params_averaged.
_AVERAGED = re.compile(r"(^|_)(ema|EMA|swa|SWA|averaged?|avg)(_|[0-9A-Z]|$)|E(MA|ma)(?![a-z])")
# Written by torch.optim.swa_utils.AveragedModel beside its weights.
_AVERAGE_COUNTER = "n_averaged"
# Written by Lightning's WeightAveraging, whose state_dict is the average, beside current_model_state.
_LIGHTNINGS_COUNTER = f"averaging_state.{_AVERAGE_COUNTER}"
# Modules that torch.compile, FSDP and activation checkpointing put around any part of a network.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# Buffers that are no weights: thop adds two to every module.
_COUNTERS = ("total_ops", "total_params", _AVERAGE_COUNTER)
_DEEPEST = 8


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file that may be a network's.

    Attributes:
        prefix: beginning of their names in the file, with its dot; removed in `tensors`.
        tensors: tensors by name.
        averaged: whether they are a moving average.
    """

    prefix: str
    tensors: dict[str, Tensor]
    averaged: bool

    @property
    def title(self) -> str:
        """The dictionary that holds them, for messages."""
        return shorten(self.prefix.rstrip(".")) if self.prefix else "the top level"

    @property
    def kind(self) -> str:
        """Averaged or raw, for messages."""
        return "averaged" if self.averaged else "raw"


def candidates(tensors: Mapping[str, Tensor], namings: Iterable[tuple[str, Mapping[str, str]]]) -> list[Candidate]:
    """Everything in a file that may be the network, one for each place where a first layer is found.

    Args:
        tensors: all tensors of the file, from `read_tensors`.
        namings: for each naming, the name of the network's first tensor, and a table with the names of its modules.
    """
    prefixes = {prefix for first, table in namings for prefix in _prefixes(tensors, first, table)}
    longest_first = sorted(prefixes or {""}, key=_by_length, reverse=True)
    groups: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in longest_first}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in longest_first if name.startswith(prefix)), None)
        if prefix is not None:
            groups[prefix][name.removeprefix(prefix)] = tensor
    return [
        Candidate(prefix, groups[prefix], _is_averaged(prefix, tensors))
        for prefix in sorted(groups, key=_by_length)
        if groups[prefix]
    ]


def _prefixes(tensors: Mapping[str, Tensor], first: str, table: Mapping[str, str]) -> list[str]:
    """Everything that stands before the name of the first tensor."""
    found: list[str] = []
    for name in sorted((name for name in tensors if f".{name}".endswith(f".{first}")), key=_by_length):
        # A later layer may end like the first: layers.9.1.layers.0 like layers.0.
        if not any(name.startswith(prefix) and _module(name[len(prefix) :]) in table for prefix in found):
            found.append(name[: len(name) - len(first)])
    return found


def _by_length(text: str) -> tuple[int, str]:
    return len(text), text


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _is_averaged(prefix: str, tensors: Mapping[str, Tensor]) -> bool:
    words = prefix.split(".")[:-1]
    if "current_model_state" in words:  # Lightning's WeightAveraging keeps the raw weights there
        return False
    if any(_AVERAGED.search(word) for word in words):
        return True
    places = ["", *("".join(f"{word}." for word in words[:end]) for end in range(1, len(words) + 1))]
    beside = any(f"{place}{_AVERAGE_COUNTER}" in tensors for place in places)
    return beside or _LIGHTNINGS_COUNTER in tensors


def chosen(found: list[Candidate], which: str | None, file: Path) -> Candidate:
    """The candidate to use: by default the averaged weights where there are some.

    Args:
        found: candidates that fit the network, one or more.
        which: ``ema`` or ``raw``; None for the default.
        file: file, for messages.

    Raises:
        MnasError: the file holds no such weights, or several that differ.
    """
    averaged = [candidate for candidate in found if candidate.averaged]
    raw = [candidate for candidate in found if not candidate.averaged]
    members = {None: averaged or raw, "ema": averaged, "raw": raw}[which]
    if not members:
        held = ", ".join(candidate.title for candidate in found)
        raise MnasError(
            f"{file}: weights_of: {which} was asked for, but it holds only {found[0].kind} weights ({held}); "
            "remove --weights-of"
        )
    for other in members[1:]:
        if not _equal(members[0].tensors, other.tensors):
            titles = " and ".join((members[0].title, other.title))
            raise MnasError(f"{file}: {titles} both fit the network and differ; save only one of them")
    return members[0]


def _equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    import torch

    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def taken(candidate: Candidate, found: list[Candidate], tensors: Mapping[str, Tensor], file: Path) -> list[str]:
    """What to say of the choice of weights; nothing where a file holds only a plain state dict.

    Args:
        candidate: the candidate that was taken.
        found: all candidates that fit the network.
        tensors: all tensors of the file.
        file: file.
    """
    parts = []
    others = [other for other in found if other.averaged != candidate.averaged]
    if others:
        which = WEIGHTS_OF[candidate.averaged]
        parts.append(f"not the {others[0].kind} ones in {others[0].title} (--weights-of {which} takes those)")
    rest = [
        name.removeprefix(_common(candidate.prefix, name))
        for name in tensors
        if not name.startswith(candidate.prefix) and not any(name.startswith(other.prefix) for other in others)
    ]
    counters = without_counters(candidate.tensors)[1]
    left = list(dict.fromkeys(name.split(".")[0] for name in rest))
    if counters:
        left.append("counters that are no weights")
    if left:
        parts.append(f"left aside: {', '.join(left[:4])}{' …' if len(left) > 4 else ''}")
    if not (parts or candidate.prefix):
        return []
    kind = "averaged " if candidate.averaged else "raw " if others else ""
    return [f"{file}: {kind}weights taken from {candidate.title}{''.join(f'; {part}' for part in parts)}"]


def _common(prefix: str, name: str) -> str:
    """The dictionaries that a prefix and a name share."""
    shared = ""
    for word in prefix.split(".")[:-1]:
        if not name.startswith(f"{shared}{word}."):
            break
        shared += f"{word}."
    return shared


def without_wrappers(name: str) -> str:
    """The name of a tensor without the wrappers that may surround any part of a network."""
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)


def without_counters(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """The tensors without counters that tools leave in a network, and the number of those."""
    kept = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in _COUNTERS}
    return kept, len(tensors) - len(kept)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a file by name; those of nested dictionaries by their path, joined by dots.

    Args:
        file: safetensors, or a file of torch.save. Code in it is never executed.

    Raises:
        MnasError: the file cannot be read, holds more than tensors and plain values, or holds no tensors.
    """
    data = _read(file)
    if not isinstance(data, Mapping):
        raise MnasError(f"{file}: not a state dict (names and tensors); save the network's state_dict")
    found: dict[str, Tensor] = {}
    for name, tensor in _flat("", data, _DEEPEST):
        short = without_wrappers(name)
        if short in found:
            raise MnasError(f"{file}: some names occur twice, such as {shorten(short)}; save the network's state_dict")
        found[short] = tensor
    if not found:
        problem = "contains no tensors" if not data else "not a state dict (names and tensors)"
        raise MnasError(f"{file}: {problem}; save the network's state_dict")
    return found


def _flat(path: str, data: Mapping[Any, Any], depth: int) -> Iterator[tuple[str, Tensor]]:
    import torch

    for key, value in data.items():
        if isinstance(value, torch.Tensor):
            yield f"{path}{key}", value
        elif isinstance(value, Mapping) and depth:
            yield from _flat(f"{path}{key}.", value, depth - 1)
        elif isinstance(value, int) and key == _AVERAGE_COUNTER:
            yield f"{path}{key}", torch.tensor(value)


def _read(file: Path) -> Any:
    """The content of a file."""
    import torch

    if file.exists() and not file.is_file():
        raise MnasError(f"{file}: not a file but a folder, device or pipe; check the path")
    try:
        if file.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(file)
            except SafetensorError as error:
                raise MnasError(f"{file}: not a complete safetensors file ({error}); download it again") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of unusual pickles; those that it cannot read raise
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise MnasError(
            f"{file}: holds more than tensors (pickled objects, which are never executed), or is damaged; "
            "save only its state_dict"
        ) from None
    except OSError as error:
        raise MnasError(f"{file}: cannot be read ({error.strerror or error}); check the path") from None
    except MnasError:
        raise
    except Exception:  # torch raises many kinds of errors for a damaged file
        raise MnasError(f"{file}: not a complete file of torch.save; download it again") from None
