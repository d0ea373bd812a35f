"""Loading and saving weights under the layer names of other projects.

A *naming* maps our layers to a project's names. Ours is that of `search_spaces.network`. The others are timm's,
torchvision's (its EfficientNet, MobileNetV2 and MNASNet differ), and that of lukemelas/EfficientNet-PyTorch, which
ports of TensorFlow's checkpoints use too. Tensors are renamed, never changed.

Weights that come from TensorFlow need ``padding: same`` in the spec; this cannot be seen from the tensors.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.files import write_new
from search_spaces.architecture import Architecture
from search_spaces.cost import layer_costs
from search_spaces.errors import MnasError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

_USE_OWN_WEIGHTS = "use weights of exactly this network"


@dataclass(frozen=True)
class _Place:
    """Position of a layer of a block in the network.

    Attributes:
        kind: name in our block: ``expand``, ``depthwise``, ``se.reduce``, ``se.expand``, ``project`` or ``conv``.
        stage, layer, block: index of the stage, of the block in its stage, and of the block in the network, from 0.
        convolution: index among the block's convolutions that have a batch norm.
        part: index among the block's parts; squeeze-excite is one part.
        expanded: whether the block has an expansion.
    """

    kind: str
    stage: int
    layer: int
    block: int
    convolution: int
    part: int
    expanded: bool


# Names of a convolution and of the batch norm after it (None for layers with a bias).
_Names = tuple[str, str | None]


@dataclass(frozen=True)
class Naming:
    """A project's names for our layers.

    Attributes:
        stem: names of the stem's convolution and batch norm.
        head: function that returns the names of the head's convolution and batch norm.
        classifier: name of the linear layer.
        in_block: function that returns the names of a layer of a block.
    """

    stem: _Names
    head: Callable[[Architecture], _Names]
    classifier: str
    in_block: Callable[[_Place], _Names]

    def names(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        """Pairs of our name and the project's, for all modules with parameters, in order."""
        fixed = {"stem": self.stem, "head": self.head(architecture), "classifier": (self.classifier, None)}
        places = dict(_places(architecture))
        for layer in layer_costs(architecture):
            theirs, norm = fixed[layer.name] if layer.name in fixed else self.in_block(places[layer.name])
            if norm is None:
                yield layer.name, theirs
            else:
                yield f"{layer.name}.0", theirs
                yield f"{layer.name}.1", norm


def _places(architecture: Architecture) -> Iterator[tuple[str, _Place]]:
    kinds: dict[str, list[str]] = {}
    for layer in layer_costs(architecture):
        if layer.name.startswith("stages."):
            _, stage, index, kind = layer.name.split(".", 3)
            kinds.setdefault(f"stages.{stage}.{index}", []).append(kind)
    for number, shape in enumerate(architecture.blocks):
        own = kinds[shape.name]
        for position, kind in enumerate(own):
            before = own[:position]
            squeezes = sum(name.startswith("se.") for name in before)
            # The two layers of squeeze-excite are one part, so the second does not advance the index.
            second = 1 if "se.reduce" in before else 0
            yield (
                f"{shape.name}.{kind}",
                _Place(
                    kind=kind,
                    stage=shape.stage,
                    layer=shape.layer,
                    block=number,
                    convolution=len(before) - squeezes,
                    part=len(before) - second,
                    expanded="expand" in own,
                ),
            )


def _own(place: _Place) -> _Names:
    name = f"stages.{place.stage}.{place.layer}.{place.kind}"
    return (name, None) if place.kind.startswith("se.") else (f"{name}.0", f"{name}.1")


def _timm(place: _Place) -> _Names:
    # timm uses its depthwise-separable block for an MBConv without expansion; the last convolution there is "pw".
    name = {
        "expand": "conv_pw",
        "depthwise": "conv_dw",
        "project": "conv_pwl" if place.expanded else "conv_pw",
        "conv": "conv",
        "se.reduce": "se.conv_reduce",
        "se.expand": "se.conv_expand",
    }[place.kind]
    prefix = f"blocks.{place.stage}.{place.layer}"
    norm = None if place.kind.startswith("se.") else f"{prefix}.bn{place.convolution + 1}"
    return f"{prefix}.{name}", norm


def _lukemelas(place: _Place) -> _Names:
    name, norm = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
        "se.reduce": ("_se_reduce", None),
        "se.expand": ("_se_expand", None),
    }[place.kind]
    prefix = f"_blocks.{place.block}"
    return f"{prefix}.{name}", norm and f"{prefix}.{norm}"


def _torchvision(place: _Place) -> _Names:
    prefix = f"features.{place.stage + 1}.{place.layer}.block.{place.part}"
    squeeze = {"se.reduce": "fc1", "se.expand": "fc2"}.get(place.kind)
    return (f"{prefix}.{squeeze}", None) if squeeze else (f"{prefix}.0", f"{prefix}.1")


def _torchvision_mobilenet(place: _Place) -> _Names:
    if place.kind not in ("expand", "depthwise", "project"):
        raise KeyError(place.kind)
    prefix, part = f"features.{place.block + 1}.conv", place.part
    if place.kind == "project":
        return f"{prefix}.{part}", f"{prefix}.{part + 1}"
    return f"{prefix}.{part}.0", f"{prefix}.{part}.1"


def _torchvision_mnasnet(place: _Place) -> _Names:
    if place.kind not in ("expand", "depthwise", "project"):
        raise KeyError(place.kind)
    # The layers of the first stage are in the network itself, after the stem (0 to 2); later stages start at 8.
    if place.stage == 0:
        prefix, first = "layers", 3
    else:
        prefix, first = f"layers.{place.stage + 7}.{place.layer}.layers", 0
    number = first + 3 * place.convolution
    return f"{prefix}.{number}", f"{prefix}.{number + 1}"


NAMINGS: dict[str, Naming] = {
    "mnas": Naming(("stem.0", "stem.1"), lambda net: ("head.0", "head.1"), "classifier", _own),
    "timm": Naming(("conv_stem", "bn1"), lambda net: ("conv_head", "bn2"), "classifier", _timm),
    "lukemelas": Naming(("_conv_stem", "_bn0"), lambda net: ("_conv_head", "_bn1"), "_fc", _lukemelas),
    "torchvision": Naming(
        ("features.0.0", "features.0.1"),
        lambda net: (f"features.{len(net.stages) + 1}.0", f"features.{len(net.stages) + 1}.1"),
        "classifier.1",
        _torchvision,
    ),
    "torchvision-mobilenet": Naming(
        ("features.0.0", "features.0.1"),
        lambda net: (f"features.{net.num_blocks + 1}.0", f"features.{net.num_blocks + 1}.1"),
        "classifier.1",
        _torchvision_mobilenet,
    ),
    "torchvision-mnasnet": Naming(
        ("layers.0", "layers.1"),
        lambda net: (f"layers.{len(net.stages) + 7}", f"layers.{len(net.stages) + 8}"),
        "classifier.1",
        _torchvision_mnasnet,
    ),
}


def load_weights(network: nn.Module, file: Path, *, keep_classifier: bool = False) -> str:
    """Load the weights in a file; the naming is detected.

    Args:
        network: network of `search_spaces.network.build_network`, or any other module, whose weights then must have the
            module's own names. It is unchanged if this raises.
        file: safetensors, or a .pth with a state dict. Code in a .pth is never executed.
        keep_classifier: whether to keep the network's classifier, for example for another number of classes.

    Returns:
        The detected naming, a key of `NAMINGS`; ``its own`` for any other module.

    Raises:
        MnasError: the file cannot be read, holds more than tensors, or does not fit; the message names the first layer
            that does not fit, with both shapes.
    """
    tensors = _read(file)
    architecture = _architecture_of(network)
    naming, ours = ("its own", tensors) if architecture is None else _renamed(architecture, tensors, file)
    expected = network.state_dict()
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
    network.load_state_dict(ours)
    return naming


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
        network: network of `search_spaces.network.build_network`; any other module keeps its own names.
        file: file that ends in .safetensors, or in .pth or .pt for torch.
        naming: key of `NAMINGS`.

    Raises:
        MnasError: the naming or the ending is unknown, the naming cannot express a layer, or the file already exists or
            cannot be written; nothing is written then.
    """
    if naming not in NAMINGS:
        raise unknown_name("naming", naming, NAMINGS)
    architecture = _architecture_of(network)
    modules = {} if architecture is None else _module_names(architecture, naming)
    state = {}
    for name, tensor in network.state_dict().items():
        module, _, leaf = name.rpartition(".")
        state[f"{modules.get(module, module)}.{leaf}"] = tensor.detach().cpu().contiguous()
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


def _architecture_of(network: nn.Module) -> Architecture | None:
    """The architecture that the network was built from; None for a module of another project."""
    from search_spaces.network import Network

    return network.architecture if isinstance(network, Network) else None


def _module_names(architecture: Architecture, naming: str) -> dict[str, str]:
    try:
        names = dict(NAMINGS[naming].names(architecture))
    except KeyError as error:
        raise MnasError(f"naming: {naming} cannot express a layer of kind {error}; use mnas or timm") from None
    if len(set(names.values())) != len(names):
        raise MnasError(f"naming: {naming} would give two layers of this network the same name; use mnas or timm")
    return names


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name."""
    import torch

    data: Any
    if file.exists() and not file.is_file():
        raise MnasError(f"{file}: not a file but a folder, device or pipe; check the path")
    try:
        if file.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                data = load_file(file)
            except SafetensorError as error:
                raise MnasError(f"{file}: not a complete safetensors file ({error}); download it again") from None
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of unusual pickles; those that it cannot read raise
                data = torch.load(file, map_location="cpu", weights_only=True)
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
    return _checked_tensors(data, file)


def _checked_tensors(data: Any, file: Path) -> dict[str, Tensor]:
    """The state dict in the content of a file, without wrappers."""
    import torch

    for wrapper in ("state_dict", "model"):
        if isinstance(data, Mapping) and isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
    if not isinstance(data, Mapping) or not all(isinstance(value, torch.Tensor) for value in data.values()):
        raise MnasError(f"{file}: not a state dict (names and tensors); save the network's state_dict")
    for name, tensor in data.items():
        plain = tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized
        if not plain or tensor.is_complex():
            raise _not_floating_point(file, name, tensor)
    renamed = {str(name).removeprefix("module."): tensor for name, tensor in data.items()}
    if not renamed:
        raise MnasError(f"{file}: contains no tensors; save the network's state_dict")
    if len(renamed) < len(data):
        raise MnasError(f"{file}: some names occur twice, with and without 'module.'; save the network's state_dict")
    return renamed


def _renamed(architecture: Architecture, tensors: Mapping[str, Tensor], file: Path) -> tuple[str, dict[str, Tensor]]:
    """The naming that fits best, and the tensors by our names."""
    best: tuple[int, str, dict[str, str]] = (0, "", {})
    for naming in NAMINGS:
        try:
            our_names = {their: our for our, their in _module_names(architecture, naming).items()}
        except MnasError:
            continue
        hits = sum(name.rpartition(".")[0] in our_names for name in tensors)
        best = max(best, (hits, naming, our_names), key=lambda entry: entry[0])
    hits, naming, our_names = best
    if 2 * hits < len(tensors) or not hits:
        example = next(iter(tensors))
        raise MnasError(
            f"{file}: expected layers of this network, named as in one of {', '.join(NAMINGS)}, but got names such as "
            f"{example!r}; {_USE_OWN_WEIGHTS}"
        )
    ours = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        if module not in our_names:
            raise MnasError(f"{file}: {name} is not a layer of the network ({naming} naming); {_USE_OWN_WEIGHTS}")
        ours[f"{our_names[module]}.{leaf}"] = tensor
    return naming, ours
