"""A family trained on images: every member, and comparators, with the same recipe; the form of the paper's Table 8.

It is a trained comparison (`nas.studies.trained_comparison`) whose networks are the members, at their own resolutions,
and comparators of torchvision at the side of the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.arguments import fields_of, made, typed
from baselines.comparators import Comparator, Subject, load_comparator
from baselines.files import new_folder
from baselines.subjects import Network
from baselines.text import Count, Names
from baselines.training.data.sources import ImageData
from nas.executors.base import Execution
from nas.studies.trained_comparison import (
    EQUAL,
    Plan,
    TrainedComparison,
    create_comparison,
    run_comparison,
)
from nas.studies.trained_comparison import read_result as read_trained
from nas.studies.trainings import StudyKind
from scaling.families import FamilyMembers, Member, family_of
from scaling.studies.baseline import StudyOptions, adapted_baseline, as_they_are
from search_spaces import MnasError
from search_spaces.architecture import check_int, check_name

FAMILY = StudyKind("trained family", "family.json", ("family",))


@dataclass(frozen=True)
class FamilyPlan(FamilyMembers):
    """Which members are trained, and how.

    Attributes:
        comparators: networks of torchvision to train beside the family, such as torchvision:resnet50.
        seeds: number of trainings of each network, with seeds from 0.
        equal: what all trainings have in common: epochs, or macs (of the whole training, as near as epochs allow).

    Raises:
        MnasError: a value breaks its rule.
    """

    comparators: Names = ()
    seeds: Count = 3
    equal: str = "epochs"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("seeds", self.seeds, 1, 1000)
        check_name("equal", self.equal, EQUAL)


@dataclass(frozen=True)
class StoredFamily:
    """What the folder of a trained family holds beside the comparison."""

    plan: FamilyPlan
    baseline: str
    members: tuple[Member, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainedFamily:
    """A family with its trainings.

    Attributes:
        folder: folder of the trainings.
        plan: members and trainings.
        baseline: name of the baseline.
        members: members, in order.
        comparison: the trained comparison: comparators, then members, the first member last, as the reference.
        notes: sentences on the baseline.
    """

    folder: Path
    plan: FamilyPlan
    baseline: str
    members: tuple[Member, ...]
    comparison: TrainedComparison
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"TrainedFamily({str(self.folder)!r}, {len(self.members)} members of {self.baseline})"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from scaling.views.trained_family import text

        return as_html(*text(self))


def create_family(
    folder: Path,
    network: Network,
    source: str,
    plan: FamilyPlan,
    options: StudyOptions,
    execution: Mapping[str, Any] | None = None,
) -> ImageData:
    """Create the folder of a family to train; whatever can be refused is refused first.

    Args:
        folder: folder of the trainings, new or empty.
        network: baseline of the family.
        source: images.
        plan: members and trainings.
        options: options of all trainings. Resolution, width and activation are those of the baseline.
        execution: fields of the execution.

    Returns:
        The images.

    Raises:
        MnasError: as `scaling.families.family`, a comparator is unknown, or as for a comparison.
    """
    data = FAMILY.images(folder, source, options, execution)
    base, notes = adapted_baseline(network, data, options)
    # All members are trained alike: the dropout that presets were published with would be part of the difference.
    grown = family_of(base, plan, dropout=base.architecture.dropout)
    if len(grown.specs) + len(plan.comparators) < 2:
        given = "presets" if plan.presets else "macs"
        raise MnasError(f"{given}: expected two or more networks to compare; add a member or a comparator")
    others = [_comparator(name, data) for name in plan.comparators]
    # The first member is the reference, which is the last of a comparison.
    subjects: list[Subject] = [*others, *grown.specs[1:], grown.specs[0]]
    stored = StoredFamily(plan, base.name, grown.members, notes)
    comparison = Plan(tuple(subject.name for subject in subjects), plan.seeds, plan.equal)
    create_comparison(folder, comparison, subjects, data, as_they_are(options), execution, kind=FAMILY, stored=stored)
    return data


def _comparator(name: str, data: ImageData) -> Comparator:
    """A network of torchvision at the side of the images, or its own where that is unknown."""
    found = load_comparator(name)
    side = data.sides[1] if data.sides else found.resolution
    return found.adapted(min(side, found.resolution), len(data.classes))


def run_family(folder: Path, execution: Mapping[str, Any] | None = None) -> TrainedFamily:
    """Run the trainings of a family that are not done yet.

    Args:
        folder: folder of the trainings.
        execution: fields of the execution to change, as for a trained comparison.

    Raises:
        KeyboardInterrupt: it was stopped; finished trainings are kept.
        MnasError: a training failed, or the folder holds no trained family.
    """
    return _result(FAMILY.read(StoredFamily, folder), run_comparison(folder, execution, kind=FAMILY))


def read_result(folder: Path) -> TrainedFamily:
    """The result of a completely trained family; nothing is trained. Raises `MnasError` if trainings are missing."""
    return _result(FAMILY.read(StoredFamily, folder), read_trained(folder, FAMILY))


def _result(stored: StoredFamily, compared: TrainedComparison) -> TrainedFamily:
    return TrainedFamily(compared.folder, stored.plan, stored.baseline, stored.members, compared, stored.notes)


@typed
def train_family(
    network: Network,
    *,
    data: str | Path,
    plan: FamilyPlan | Mapping[str, Any],
    options: StudyOptions | Mapping[str, Any] | None = None,
    execution: Execution | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
) -> TrainedFamily:
    """Train a family and its comparators on images.

    Args:
        network: baseline: name, spec file or folder; or a spec or an architecture.
        data: images, as for `mnas train`.
        plan: members, comparators and seeds, or some of them, such as ``{"presets": "b0..b4"}``.
        options: options of all trainings, or some of them; resolution and width are those of the baseline.
        execution: where and how trainings run, or some fields of it.
        out: folder of the trainings, new or empty; a new one in runs/ by default.

    Raises:
        MnasError: a value breaks its rule, or a training fails.
        KeyboardInterrupt: it was stopped; `scaling.resume` resumes it.
    """
    folder, where = Path(out) if out is not None else new_folder("family"), fields_of(execution)
    create_family(folder, network, str(data), made(FamilyPlan, plan), made(StudyOptions, options), where)
    return run_family(folder, where)
