"""Networks to compare with: any network of torchvision, and published figures of networks that have no code here."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from baselines.counts import torch_flops
from baselines.exchange.torchvision_import import import_torchvision
from baselines.spec import BaselineSpec, Figure
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
        model: name in torchvision, such as ``resnet50``.
        resolution: side of its images in pixels.
        num_classes: number of classes.
        stem_stride: stride of the first convolution; None for torchvision's.
    """

    model: str
    resolution: int
    num_classes: int = 1000
    stem_stride: int | None = None

    @property
    def name(self) -> str:
        """Name for the commands: ``torchvision:resnet50``."""
        return PREFIX + self.model

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Published figures of the network as it is; none where the paper's Table 2 has no row of it."""
        row, side = _ROWS.get(self.model, ("", 0))
        if (self.resolution, self.num_classes, self.stem_stride) != (side, 1000, None):
            return ()
        point = next(point for point in PUBLISHED_POINTS if point.name == row)
        values = {"top1": point.top1, "top5": point.top5, "params": round(point.params), "macs": round(point.macs or 0)}
        return tuple(Figure(name, value, "published", TABLE_2) for name, value in values.items())

    def build(self) -> nn.Module:
        """The module, with fresh weights."""
        from torch import nn

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # some constructors warn about their own defaults
            models = import_torchvision().models
            # These two have auxiliary outputs by default.
            options = {"aux_logits": False} if self.model in ("googlenet", "inception_v3") else {}
            network: nn.Module = models.get_model(self.model, weights=None, num_classes=self.num_classes, **options)
        if self.stem_stride is not None:
            first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
            first.stride = (self.stem_stride, self.stem_stride)
        return network

    def adapted(self, resolution: int | None = None, num_classes: int | None = None) -> Comparator:
        """The network for another side of the images and another number of classes.

        Small images get a stem stride of 1, as in `search_spaces.adaptation`.

        Raises:
            FieldError: a value breaks its rule.
            MnasError: the network does not run at that resolution.
        """
        side = self.resolution if resolution is None else resolution
        check_int("resolution", side, 1, MAX_RESOLUTION)
        stride = 1 if side < SMALL_SIDE else self.stem_stride
        network = replace(self, resolution=side, num_classes=num_classes or self.num_classes, stem_stride=stride)
        _ = network.counts  # raises if the network does not run at that resolution
        return network

    @cached_property
    def counts(self) -> tuple[int, int]:
        """MACs at `resolution`, from torch's counter, and parameters.

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
                f"{self.name}: does not run at {self.resolution} px ({reason}); use another resolution"
            ) from None
        return flops // 2, sum(parameter.numel() for parameter in network.parameters())


@dataclass(frozen=True)
class Mark:
    """A network's place on the axes of a figure.

    Attributes:
        params, macs: exact.
        top1: published, as a fraction; None where nobody published one.
    """

    name: str
    params: int
    macs: int
    top1: float | None = None


# Any network that can be shown, compared or trained.
Subject = BaselineSpec | Comparator


def load_comparator(name: str) -> Comparator:
    """A network of torchvision, by its name: ``torchvision:resnet50``.

    Raises:
        MnasError: the network is not found (the nearest name is suggested), or torchvision is not installed.
    """
    models = import_torchvision().models
    model = name.removeprefix(PREFIX)
    known = models.list_models(module=models)
    if model not in known:
        raise unknown_name("network of torchvision", model, known)
    weights = models.get_model_weights(model).DEFAULT
    crop = weights.transforms.keywords.get("crop_size")
    if crop is None:
        raise MnasError(f"{name}: its weights state no image size; use another network")
    return Comparator(model, int(crop))


@dataclass(frozen=True)
class PublishedPoint:
    """A row of EfficientNet (arXiv 1905.11946v5) Table 2: accuracies as fractions, parameters and MACs as printed.

    ``macs`` is None if the table has no value.
    """

    name: str
    top1: float
    top5: float
    params: float
    macs: float | None


TABLE_2 = "arXiv 1905.11946v5 Table 2"  # as the specs name it
PUBLISHED_SOURCE = "EfficientNet (arXiv 1905.11946v5) Table 2"
PUBLISHED_POINTS = tuple(
    PublishedPoint(name, round(top1 / 100, 3), round(top5 / 100, 3), params * 1e6, None if macs is None else macs * 1e9)
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

# Networks of torchvision that are rows of that table, and the side of their images: their parameters round to those
# printed, and their MACs differ by at most 5 %. ResNeXt-101 is printed with twice the MACs of torchvision's.
_ROWS = {
    "resnet50": ("ResNet-50", 224),
    "resnet152": ("ResNet-152", 224),
    "densenet169": ("DenseNet-169", 224),
    "inception_v3": ("Inception-v3", 299),
}


def counts_of(network: Architecture | Comparator) -> tuple[int, int]:
    """MACs and parameters of a network."""
    if isinstance(network, Comparator):
        return network.counts
    cost = architecture_cost(network)
    return cost.macs, cost.params
