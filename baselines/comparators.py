"""Networks of other kinds to compare with: any of torchvision's, and published figures of those that have none here."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from baselines.counts import torch_flops
from baselines.registry import load
from baselines.spec import BaselineSpec
from baselines.torchvision_import import import_torchvision
from search_spaces.adaptation import SMALL_SIDE
from search_spaces.architecture import MAX_RESOLUTION, Architecture, check_int
from search_spaces.cost import architecture_cost
from search_spaces.errors import MnasError, unknown_name

if TYPE_CHECKING:
    from torch import nn

PREFIX = "torchvision:"


@dataclass(frozen=True)
class Comparator:
    """A classification network of torchvision, without weights.

    Attributes:
        model: its name there, such as ``resnet50``.
        resolution: side of the images that it is for, in pixels.
        num_classes: that it tells apart.
        stem_stride: of its first convolution; None for its own.
    """

    model: str
    resolution: int
    num_classes: int = 1000
    stem_stride: int | None = None

    @property
    def name(self) -> str:
        """As a person gives it: ``torchvision:resnet50``."""
        return PREFIX + self.model

    def build(self) -> nn.Module:
        """The module, with fresh weights."""
        from torch import nn

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of some constructors, about their own defaults
            models = import_torchvision().models
            # Two of them have more answers than one unless they are told not to.
            options = {"aux_logits": False} if self.model in ("googlenet", "inception_v3") else {}
            made: nn.Module = models.get_model(self.model, weights=None, num_classes=self.num_classes, **options)
        if self.stem_stride is not None:
            first = next(module for module in made.modules() if isinstance(module, nn.Conv2d))
            first.stride = (self.stem_stride, self.stem_stride)
        return made

    def adapted(self, resolution: int | None = None, num_classes: int | None = None) -> Comparator:
        """The network for images of another side and for other classes, as `search_spaces.adaptation` adapts ours.

        Raises:
            FieldError: a value is out of its range.
            MnasError: the network does not run at that resolution.
        """
        side = self.resolution if resolution is None else resolution
        check_int("resolution", side, 1, MAX_RESOLUTION)
        small = 1 if side < SMALL_SIDE else self.stem_stride
        found = replace(self, resolution=side, num_classes=num_classes or self.num_classes, stem_stride=small)
        _ = found.counts
        return found

    @cached_property
    def counts(self) -> tuple[int, int]:
        """MACs at `resolution`, by torch's counter, and parameters.

        Raises:
            MnasError: the network does not run at that resolution.
        """
        import torch

        check_int("resolution", self.resolution, 1, MAX_RESOLUTION)
        with torch.device("meta"):
            network = self.build().eval()
        try:
            flops = sum(torch_flops(network, self.resolution).values())
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise MnasError(
                f"{self.name}: does not run at {self.resolution} px ({reason}); choose another size"
            ) from None
        return flops // 2, sum(parameter.numel() for parameter in network.parameters())


@dataclass(frozen=True)
class Mark:
    """A network's place on the axes of a figure: its exact parameters and MACs."""

    name: str
    params: int
    macs: int


def load_any(name: str) -> BaselineSpec | Comparator:
    """A baseline, a spec file, or (``torchvision:NAME``) a network of torchvision.

    Raises:
        MnasError: there is none (with the nearest name), or torchvision is missing.
    """
    if not name.startswith(PREFIX):
        return load(name)
    models = import_torchvision().models
    model = name.removeprefix(PREFIX)
    known = models.list_models(module=models)
    if model not in known:
        raise unknown_name("network of torchvision", model, known)
    weights = models.get_model_weights(model).DEFAULT
    crop = weights.transforms.keywords.get("crop_size")
    if crop is None:
        raise MnasError(f"{name}: its weights name no size of image; compare another network")
    return Comparator(model, int(crop))


@dataclass(frozen=True)
class PublishedPoint:
    """A row of EfficientNet (arXiv 1905.11946v5) Table 2: fractions, parameters and MACs as printed there.

    MACs are None where the table has none.
    """

    name: str
    top1: float
    top5: float
    params: float
    macs: float | None


PUBLISHED_SOURCE = "EfficientNet (arXiv 1905.11946v5) Table 2"
PUBLISHED_POINTS = tuple(
    PublishedPoint(name, top1 / 100, top5 / 100, params * 1e6, None if macs is None else macs * 1e9)
    for name, top1, top5, params, macs in (
        ("ResNet-50", 76.0, 93.0, 26, 4.1),
        ("DenseNet-169", 76.2, 93.2, 14, 3.5),
        ("ResNet-152", 77.8, 93.8, 60, 11),
        ("DenseNet-264", 77.9, 93.9, 34, 6.0),
        ("Inception-v3", 78.8, 94.4, 24, 5.7),
        ("Xception", 79.0, 94.5, 23, 8.4),
        ("Inception-v4", 80.0, 95.0, 48, 13),
        ("Inception-ResNet-v2", 80.1, 95.1, 56, 13),
        ("ResNeXt-101", 80.9, 95.6, 84, 32),
        ("PolyNet", 81.3, 95.8, 92, 35),
        ("SENet", 82.7, 96.2, 146, 42),
        ("NASNet-A", 82.7, 96.2, 89, 24),
        ("AmoebaNet-A", 82.8, 96.1, 87, 23),
        ("PNASNet", 82.9, 96.2, 86, 23),
        ("AmoebaNet-C", 83.5, 96.5, 155, 41),
        ("GPipe", 84.3, 97.0, 557, None),
    )
)


def counts_of(network: Architecture | Comparator) -> tuple[int, int]:
    """MACs and parameters of a network."""
    if isinstance(network, Comparator):
        return network.counts
    cost = architecture_cost(network)
    return cost.macs, cost.params
