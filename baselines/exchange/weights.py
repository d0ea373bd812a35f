"""Loading and saving weights under the layer names of other projects (`baselines.exchange.namings`)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.exchange.checkpoints import (
    WEIGHTS_OF,
    Candidate,
    candidates,
    chosen,
    read_tensors,
    taken,
    without_counters,
    without_wrappers,
)
from baselines.exchange.growth import grown, grown_text
from baselines.exchange.namings import NAMINGS
from baselines.files import write_new
from baselines.notices import say
from baselines.registry import load
from search_spaces.architecture import RGB, Architecture
from search_spaces.errors import MnasError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["NAMINGS", "load_weights", "save_weights", "unwrapped"]

# Namings with which a layer has the same name however many layers its stages have.
BY_STAGE = ("mnas", "timm", "torchvision")
_USE_OWN_WEIGHTS = "use weights of exactly this network (mnas train --from-smaller takes those of a smaller one too)"


def load_weights(
    network: nn.Module,
    file: Path,
    *,
    keep_classifier: bool = False,
    weights_of: str | None = None,
    tell: Callable[[str], None] = say,
) -> str:
    """Load the weights in a file; the naming is detected, and so are wrappers and prefixes of the names.

    Args:
        network: network of `search_spaces.network.build_network`, or part of one (`build_features`, or without its
            classifier), or any other module, whose weights then must have the module's own names. Wrapped ones are
            unwrapped (`unwrapped`). It is unchanged if this raises.
        file: safetensors, or a .pth with a state dict, however nested. Code in a .pth is never executed.
        keep_classifier: whether to keep the network's classifier, for example for another number of classes.
        weights_of: ``ema`` for averaged weights or ``raw`` for those of the last step, where a file holds both; by
            default the averaged ones.
        tell: function that is called with a line about what was chosen, left aside or assumed, if anything was.

    Returns:
        The detected naming, a key of `NAMINGS`; ``its own`` for any other module.

    Raises:
        MnasError: the file cannot be read, holds more than tensors, or does not fit; the message names the first layer
            that does not fit, with both shapes.
    """
    if weights_of is not None and weights_of not in WEIGHTS_OF:
        raise unknown_name("weights_of", weights_of, WEIGHTS_OF)
    network = unwrapped(network)
    architecture = _architecture_of(network)
    tensors = read_tensors(file)
    fits = _fitting(network, architecture, tensors, file)
    candidate = chosen([candidate for candidate, _, _ in fits], weights_of, file)
    naming, names = next((naming, names) for fit, naming, names in fits if fit is candidate)
    ours = _renamed(candidate, naming, names, file)
    # Names of this network, which may have compiled parts.
    expected = {without_wrappers(name): tensor for name, tensor in network.state_dict().items()}
    ours, not_here = _without_absent_layers(ours, expected)
    adapted = _with_channels(ours, architecture)
    ours = _completed(ours, expected, naming, file, keep_classifier=keep_classifier)
    network.load_state_dict({name: ours[without_wrappers(name)] for name in network.state_dict()})
    said = [*taken(candidate, [fit for fit, _, _ in fits], tensors, file), *(f"{file}: {line}" for line in adapted)]
    if not_here:
        said.append(f"{file}: left aside, because this part of the network has no such layers: {', '.join(not_here)}")
    for line in (*said, *_assumed(architecture, naming, file)):
        tell(line)
    return naming


def load_smaller(
    network: nn.Module,
    file: Path,
    *,
    smaller: Architecture | None = None,
    keep_classifier: bool = False,
    weights_of: str | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = say,
) -> None:
    """Load weights of a smaller network of the same stages, with fewer channels or layers (`exchange.growth`).

    Args:
        network: network of `search_spaces.network.build_network` with initial weights, which added blocks keep.
        file, keep_classifier, weights_of, tell: as for `load_weights`.
        smaller: architecture of the smaller network, if it is known.
        seed: random seed of how copies of a channel share its weight.

    Raises:
        MnasError: the file cannot be read, or holds no weights of a smaller network of this kind.
    """
    architecture = _architecture_of(network)
    if architecture is None:
        raise MnasError("from_smaller: only a network of a spec can start from a smaller one")
    tensors = read_tensors(file)
    fits = _fitting(network, architecture, tensors, file, BY_STAGE)
    candidate = chosen([candidate for candidate, _, _ in fits], weights_of, file)
    naming, names = next((naming, names) for fit, naming, names in fits if fit is candidate)
    ours = _renamed(candidate, naming, names, file)
    for name, tensor in ours.items():
        if not tensor.is_floating_point() and not name.endswith(".num_batches_tracked"):
            raise _not_floating_point(file, name, tensor)
    if keep_classifier:
        ours = {name: tensor for name, tensor in ours.items() if not name.startswith("classifier.")}
    adapted = _with_channels(ours, architecture)
    try:
        found = grown(ours, network.state_dict(), architecture, seed)
    except MnasError as error:
        raise MnasError(f"{file}: {str(error).removeprefix('weights: ')}") from None
    network.load_state_dict(found.weights)
    notes = [*adapted, grown_text(found, smaller, architecture, fresh_classifier=keep_classifier)]
    for line in (*taken(candidate, [fit for fit, _, _ in fits], tensors, file), *(f"{file}: {note}" for note in notes)):
        tell(line)


def _with_channels(ours: dict[str, Tensor], architecture: Architecture | None) -> list[str]:
    """Adapt the stem's weights for RGB to other channels, and say so: summed for grey, else repeated.

    Source: timm's adapt_input_conv (models/_manipulate.py): repeated weights are scaled by 3 over the channels.
    """
    import torch

    name = "stem.0.weight"
    channels = RGB if architecture is None else architecture.in_channels
    weight = ours.get(name)
    if weight is None or channels == RGB or weight.ndim != 4 or weight.shape[1] != RGB:
        return []
    if channels == 1:
        ours[name] = weight.sum(1, keepdim=True)
        return ["the stem's weights for RGB are summed for 1 channel, as in timm"]
    ours[name] = weight[:, torch.arange(channels) % RGB] * (RGB / channels)
    how = f"repeated for {channels} channels and scaled by 3/{channels}"
    return [f"the stem's weights for RGB are {how}, as in timm"]


def _without_absent_layers(
    ours: dict[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of layers that the network has, and the names of what it lacks: stages, head or classifier.

    All names are those of the architecture's layers; the network may be a part of that.
    """
    layers = {name.rpartition(".")[0] for name in expected}
    kept = {name: tensor for name, tensor in ours.items() if name.rpartition(".")[0] in layers}
    absent = {tuple(name.split(".")[: 2 if name.startswith("stages.") else 1]) for name in ours if name not in kept}
    order = ("stem", "stages", "head", "classifier")
    in_order = sorted(absent, key=lambda words: (order.index(words[0]), *map(int, words[1:])))
    return kept, [".".join(words) for words in in_order]


def _completed(
    ours: dict[str, Tensor], expected: Mapping[str, Tensor], naming: str, file: Path, *, keep_classifier: bool
) -> dict[str, Tensor]:
    """The tensors for all of a network's names. Raises `MnasError` for the first that does not fit."""
    for name in ours:
        if name not in expected:
            raise MnasError(f"{file}: {name} is not a layer of the network; {_USE_OWN_WEIGHTS}")
    if keep_classifier:
        ours = {name: tensor for name, tensor in ours.items() if not name.startswith("classifier.")}
        ours |= {name: tensor for name, tensor in expected.items() if name.startswith("classifier.")}
    # Older checkpoints lack this counter; with a fixed momentum it has no effect.
    for name, tensor in expected.items():
        if name.endswith(".num_batches_tracked"):
            ours.setdefault(name, tensor)
    for name, tensor in expected.items():
        if name not in ours:
            raise MnasError(f"{file}: {name} is missing ({naming} naming); {_USE_OWN_WEIGHTS}")
        if tensor.is_floating_point() and not ours[name].is_floating_point():
            raise _not_floating_point(file, name, ours[name])
        if ours[name].shape != tensor.shape:
            raise MnasError(f"{file}: {_shape_problem(name, tuple(ours[name].shape), tuple(tensor.shape))}")
    return ours


def _shape_problem(name: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    problem = f"{name} has shape {given}, the network's is {wanted}; "
    if name.startswith("classifier.") and given[1:] == wanted[1:] and given:
        return problem + (
            f"set num_classes: {given[0]} in the spec, or keep the network's classifier "
            "(keep_classifier, --keep-classifier)"
        )
    return problem + _USE_OWN_WEIGHTS


def _not_floating_point(file: Path, name: str, tensor: Tensor) -> MnasError:
    kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device.type}"
    return MnasError(f"{file}: {name}: expected dense floating-point numbers, not {kind}; use trained weights")


def save_weights(network: nn.Module, file: Path, naming: str = "mnas") -> None:
    """Write a network's weights under the names of another project.

    Args:
        network: network of `search_spaces.network.build_network`; any other module keeps its own names. Wrapped ones
            are unwrapped (`unwrapped`).
        file: file that ends in .safetensors, or in .pth or .pt for torch.
        naming: key of `NAMINGS`.

    Raises:
        MnasError: the naming or the ending is unknown, the naming cannot express a layer, or the file already exists or
            cannot be written; nothing is written then.
    """
    if naming not in NAMINGS:
        raise unknown_name("naming", naming, NAMINGS)
    network = unwrapped(network)
    architecture = _architecture_of(network)
    modules = {} if architecture is None else _module_names(architecture, naming)
    state = {}
    for name, tensor in network.state_dict().items():
        module, _, leaf = without_wrappers(name).rpartition(".")
        state[f"{modules.get(module, module)}.{leaf}".lstrip(".")] = tensor.detach().cpu().contiguous()
    if file.suffix == ".safetensors":
        from safetensors.torch import save

        content = save(state)
    elif file.suffix in (".pth", ".pt"):
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
    else:
        raise MnasError(f"{file}: expected a file that ends in .safetensors, .pth or .pt")
    write_new(file, lambda target: target.write_bytes(content))


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, ``DataParallel``, ``AveragedModel`` and others that only wrap one."""
    while [name for name, _ in network.named_children()] in (["module"], ["_orig_mod"]):
        network = next(network.children())
    return network


def _architecture_of(network: nn.Module) -> Architecture | None:
    """The architecture that the network was built from; None for a module of another project."""
    from search_spaces.network import FeatureNetwork, Network

    return network.architecture if isinstance(network, Network | FeatureNetwork) else None


def _module_names(architecture: Architecture, naming: str) -> dict[str, str]:
    try:
        names = dict(NAMINGS[naming].names(architecture))
    except KeyError as error:
        raise MnasError(f"naming: {naming} cannot express a layer of kind {error}; use mnas or timm") from None
    if len(set(names.values())) != len(names):
        raise MnasError(f"naming: {naming} would give two layers of this network the same name; use mnas or timm")
    return names


_Fit = tuple[Candidate, str, dict[str, str]]


def _fitting(
    network: nn.Module,
    architecture: Architecture | None,
    tensors: Mapping[str, Tensor],
    file: Path,
    namings: Iterable[str] = tuple(NAMINGS),
) -> list[_Fit]:
    """The parts of a file that may be the network, each with the naming that fits best and our names by theirs.

    Raises:
        MnasError: no part fits.
    """
    tables: dict[str, dict[str, str]] = {}
    if architecture is None:
        own = [without_wrappers(name) for name in network.state_dict()]
        tables["its own"] = {name.rpartition(".")[0]: name.rpartition(".")[0] for name in own}
        firsts = own[:1]
    else:
        for naming in namings:
            with suppress(MnasError):  # it cannot express the network
                tables[naming] = {their: our for our, their in _module_names(architecture, naming).items()}
        firsts = [f"{next(iter(table))}.weight" for table in tables.values()]
    fits: list[_Fit] = []
    for candidate in candidates(tensors, zip(firsts, tables.values(), strict=False)):
        modules_given = [name.rpartition(".")[0] for name in without_counters(candidate.tensors)[0]]
        hits = {naming: sum(name in table for name in modules_given) for naming, table in tables.items()}
        best = max(hits, key=lambda naming: hits[naming])
        if architecture is None or (hits[best] and 2 * hits[best] >= len(modules_given)):
            fits.append((candidate, best, tables[best]))
    if not fits:
        raise MnasError(
            f"{file}: expected layers of this network, named as in one of {', '.join(namings)}, but got names such as "
            f"{next(iter(tensors))!r}; {_USE_OWN_WEIGHTS}"
        )
    return fits


def _renamed(candidate: Candidate, naming: str, names: Mapping[str, str], file: Path) -> dict[str, Tensor]:
    """The candidate's tensors by our names, which ``names`` gives for the modules."""
    import torch

    kept, _ = without_counters(candidate.tensors)
    ours = {}
    for name, tensor in kept.items():
        module, _, leaf = name.rpartition(".")
        if module not in names:
            if any(name.endswith(f".{other}") for other in kept):
                raise MnasError(f"{file}: some names occur twice, such as {name}; save the network's state_dict")
            raise MnasError(f"{file}: {name} is not a layer of the network ({naming} naming); {_USE_OWN_WEIGHTS}")
        plain = tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized
        if not plain or tensor.is_complex():
            raise _not_floating_point(file, name, tensor)
        ours[f"{names[module]}.{leaf}".lstrip(".")] = tensor
    return ours


@dataclass(frozen=True)
class _Origin:
    """What networks of a project have that their tensors do not show."""

    networks: str
    bn_eps: float
    padding: str

    def __str__(self) -> str:
        return f"{self.networks} have {self.bn_eps:g} and {self.padding}"


# Compared with every network of timm 1.0 and torchvision 0.28 whose names and shapes are those of one of our specs.
_SYMMETRIC = _Origin("torchvision's networks", 1e-5, "symmetric")
_ORIGINS: dict[str, tuple[_Origin, ...]] = {
    "timm": (_Origin("timm's tf_ networks", 1e-3, "same"), _Origin("timm's others", 1e-5, "symmetric")),
    "torchvision": (_Origin("torchvision's B0 to B4", 1e-5, "symmetric"), _Origin("its B5 to B7", 1e-3, "symmetric")),
    "torchvision-mobilenet": (_SYMMETRIC,),
    "torchvision-mnasnet": (_SYMMETRIC,),
    "lukemelas": (_Origin("its networks", 1e-3, "same"),),
}
# Blocks of B4; torchvision's larger networks have the other epsilon.
_BLOCKS_OF_B4 = 32
# Networks of timm with the names and shapes of a spec, but another computation.
_STRANGERS = {
    "mnasnet_small": "timm's mnasnet_small has a skip in its first stage, this network has none; for weights from "
    "there, set skip: identity in stages[0]",
    "efficientnet_b0": "timm's efficientnet_blur_b0 has the same names and shapes but blurs before each stride; "
    "weights from there cannot be used",
}


def _assumed(architecture: Architecture | None, naming: str, file: Path) -> list[str]:
    """What to say of weights by another project's names: what the tensors do not show and this network may lack."""
    if architecture is None or naming not in _ORIGINS:
        return []
    origins = _ORIGINS[naming]
    if naming == "torchvision":
        origins = (origins[architecture.num_blocks > _BLOCKS_OF_B4],)
    own = f"bn_eps: {architecture.bn_eps:g} and padding: {architecture.padding}"
    known = any((origin.bn_eps, origin.padding) == (architecture.bn_eps, architecture.padding) for origin in origins)
    lines = []
    if not known or len(origins) > 1:
        theirs = ", ".join(map(str, origins))
        lines.append(f"{file}: this network has {own}, but names do not show these, and {theirs}: check the spec")
    for name, difference in _STRANGERS.items() if naming == "timm" else ():
        other = load(name).architecture
        if (architecture.stem.out_channels, architecture.stages) == (other.stem.out_channels, other.stages):
            lines.append(f"{file}: {difference}")
    return lines
