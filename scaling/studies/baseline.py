"""The baseline of a study of scaling: a network adapted to the images, with a side that leaves room to grow."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from baselines.spec import BaselineSpec
from baselines.subjects import Network, spec_of
from baselines.text import OWN, Side
from baselines.training.data.sources import ImageData
from baselines.training.settings import TrainingOptions, trained_subject
from nas.studies.trained_comparison import ComparisonOptions

# A baseline that is larger than the images starts at this share of their side, in multiples of 4 px, so that resolution
# has something to add.
START = 3 / 4


@dataclass(frozen=True)
class StudyOptions(TrainingOptions):
    """Options of all trainings of a study of scaling.

    Attributes:
        resolution: side of the baseline in pixels; own for that of its spec, or three quarters of the images' side if
            that is less; none for that of the images.
        width: factor on all channels of the baseline.
    """

    resolution: Side | None = OWN


def as_they_are(options: StudyOptions) -> ComparisonOptions:
    """The options with which networks made from the adapted baseline are trained: at their own sides and widths."""
    values = {field.name: getattr(options, field.name) for field in fields(TrainingOptions)}
    return ComparisonOptions(**{**values, "resolution": OWN, "width": 1.0, "activation": None})


def adapted_baseline(network: Network, data: ImageData, options: StudyOptions) -> tuple[BaselineSpec, tuple[str, ...]]:
    """The baseline as it is scaled and trained, and notes on it.

    Args:
        network: network to scale.
        data: images of the study.
        options: options of all trainings.

    Raises:
        MnasError: the network has no architecture, or an option breaks its rule.
    """
    subject = spec_of(network)
    own, images = subject.architecture.resolution, data.sides[1] if data.sides else 0
    notes: tuple[str, ...] = ()
    if options.resolution == OWN and 0 < images < own:
        # Below `search_spaces.adaptation.SMALL_SIDE` the stem has no stride.
        least = subject.architecture.total_stride // subject.architecture.stem.stride
        side = max(least, round(START * images / 4) * 4)
        options = replace(options, resolution=side)
        why = "which leaves resolution something to add" if side < images else "the least that its strides allow"
        about = f"{subject.name} has {own} px and the images have {images}, so it starts at {side} px"
        notes = (f"{about}, {why}; --resolution chooses another side",)
    adapted = trained_subject(subject, data, options)
    assert isinstance(adapted, BaselineSpec)
    return adapted, notes
