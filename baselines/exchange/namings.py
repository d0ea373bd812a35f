"""Layer names of other projects.

A *naming* maps our layers to a project's names. Ours is that of `search_spaces.network`. The others are timm's,
torchvision's (its EfficientNet, MobileNetV2 and MNASNet differ), and that of lukemelas/EfficientNet-PyTorch, which
ports of TensorFlow's checkpoints use too. Tensors are renamed, never changed.

Weights that come from TensorFlow need ``padding: same`` in the spec; this cannot be seen from the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from search_spaces.architecture import Architecture
from search_spaces.cost import layer_costs


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
