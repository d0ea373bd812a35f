"""Is compound scaling better here? Depth, width, resolution and named rules at the same real cost, really trained.

The baseline is adapted to the images first. Each rule then gives a variant of the same real MACs (or activations, or
latency), and all variants and the baseline are trained with the same recipe, data and seeds, each at its own
resolution. It is a trained comparison (`nas.studies.trained_comparison`) whose networks are these variants.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.arguments import fields_of, freeze_lists, made, typed
from baselines.files import file_name, new_folder, write_new
from baselines.subjects import Network
from baselines.text import Names, listed
from baselines.training.data.sources import ImageData
from nas.executors.base import Execution
from nas.studies.contestants import Contestant
from nas.studies.trained_comparison import (
    Plan,
    TrainedComparison,
    create_comparison,
    read_comparison,
    run_comparison,
)
from nas.studies.trained_comparison import read_result as read_trained
from nas.studies.trainings import StudyKind
from scaling.budget import Budget, read_budget
from scaling.studies.baseline import StudyOptions, adapted_baseline, as_they_are
from scaling.studies.racing import RacingRule
from scaling.studies.standings import Standing, half_of_pairs, standings
from scaling.studies.variants import SINGLE, USUAL, Variant, variants_of
from search_spaces import MnasError, architecture_cost
from search_spaces.architecture import check_int, check_name

ABLATION = StudyKind("ablation", "ablation.json", ("ablate",))
# The picture of class activation maps in the folder of an ablation.
MAPS = "maps.png"
DIMENSIONS = {"d": "depth", "w": "width", "r": "resolution"}
EQUAL = ("macs", "activations", "latency")
REGULARISE = ("same", "published")


@dataclass(frozen=True)
class AblationPlan:
    """What is compared, and at which cost.

    Attributes:
        target: cost of the variants, such as macs=2x (twice the baseline's) or macs=50M.
        rules: rules to compare, names separated by commas.
        equal: cost that all variants have in common; for another one than that of the target, they have what the first
            compound rule has of it at the target: macs, activations or latency (default: that of the target).
        seeds: number of trainings of each network, with seeds from 0.
        regularise: same dropout for all networks, or published: more for larger ones, as B0 to B7 have it.

    Raises:
        MnasError: a value breaks its rule.
    """

    target: str = "macs=2x"
    rules: Names = USUAL
    equal: str | None = None
    seeds: int = 5
    regularise: str = "same"

    def __post_init__(self) -> None:
        read_budget(self.target)
        check_int("seeds", self.seeds, 1, 1000)
        check_name("regularise", self.regularise, REGULARISE)
        if self.equal is not None:
            check_name("equal", self.equal, EQUAL)
        freeze_lists(self)
        if len(self.rules) < 2:
            raise MnasError("rules: expected two or more, separated by commas, such as w,efficientnet")

    @property
    def budget(self) -> Budget:
        """The target as a budget."""
        return read_budget(self.target)


@dataclass(frozen=True)
class StoredAblation:
    """What the folder of an ablation holds beside the comparison."""

    plan: AblationPlan
    baseline: str
    variants: tuple[Variant, ...]
    activations: int
    notes: tuple[str, ...] = ()


def create_ablation(
    folder: Path,
    network: Network,
    source: str,
    plan: AblationPlan,
    options: StudyOptions,
    execution: Mapping[str, Any] | None = None,
) -> ImageData:
    """Create the folder of an ablation; whatever can be refused is refused first.

    Args:
        folder: folder of the ablation, new or empty.
        network: baseline to scale.
        source: images.
        plan: rules and budget.
        options: options of all trainings. Resolution and width are those of the *baseline*.
        execution: fields of the execution.

    Returns:
        The images.

    Raises:
        MnasError: a rule does not meet the budget, two rules make the same network, or as for a comparison.
    """
    data = ABLATION.images(folder, source, options, execution)
    base, notes = adapted_baseline(network, data, options)
    if plan.regularise == "published" and options.chosen_recipe().dropout is not None:
        raise MnasError(
            f"regularise: the recipe {options.recipe} sets the same dropout for all networks; use another --recipe"
        )
    specs, found, same = variants_of(
        base, plan.rules, plan.budget, equal=plan.equal, regularise=plan.regularise == "published"
    )
    activations = architecture_cost(base.architecture).activations
    stored = StoredAblation(plan, base.name, tuple(found), activations, (*notes, *same))
    subjects = [*specs, base]
    comparison = Plan(tuple(spec.name for spec in subjects), plan.seeds)
    create_comparison(folder, comparison, subjects, data, as_they_are(options), execution, kind=ABLATION, stored=stored)
    return data


@dataclass(frozen=True)
class Ablation:
    """A complete ablation.

    Attributes:
        folder: folder of the trainings.
        plan: rules and budget.
        variants: the variants, in the order of the rules.
        comparison: trained comparison of the variants with the baseline, which is the reference.
        activations: activations of the baseline.
        notes: sentences on the baseline.
        standings: the variants compared with the best of them on the test part, the best first.
        detectable: mean half of the intervals behind the standings, a fraction: a true difference of this size is
            told from chance about every second time; None for a single seed.
    """

    folder: Path
    plan: AblationPlan
    variants: tuple[Variant, ...]
    comparison: TrainedComparison
    activations: int
    notes: tuple[str, ...]
    standings: tuple[Standing, ...]
    detectable: float | None

    @property
    def baseline(self) -> Contestant:
        """The baseline with its trainings."""
        return self.comparison.contestants[-1]

    def variant(self, name: str) -> Variant:
        """A variant by the name of its spec."""
        return next(variant for variant in self.variants if variant.name == name)

    @property
    def ties(self) -> tuple[str, ...]:
        """Rules of the best variant and of all that cannot be told from it."""
        return tuple(rule for variant in self._tied for rule in variant.rules)

    @property
    def _tied(self) -> list[Variant]:
        return [self.variant(one.name) for one in self.standings if one.verdict in ("best", "tie")]

    @property
    def maps(self) -> str:
        """Name of the picture of class activation maps in the folder."""
        return MAPS

    @property
    def answer(self) -> str:
        """Whether compound scaling is better here, in a sentence or two."""
        asked = {rule for variant in self.variants for rule in variant.rules}
        if not asked & set(SINGLE) or asked <= set(SINGLE):
            return "Not asked: that takes depth, width or resolution alone and at least one compound rule."
        if self.detectable is None:
            return "One seed cannot tell; use --seeds 5 or more."
        best = self.standings[0].name
        single = [rule for rule in self.ties if rule in SINGLE]
        compound = [rule for rule in self.ties if rule not in SINGLE]
        if single and compound:
            first, *others = [listed(variant.rules) for variant in self._tied]
            found = f"{first} is the best"
            if self.variant(best).same:
                found = f"{first} make one network, which is the best"
            more = f", and {listed(others)} cannot be told from it" if others else ""
            return f"This cannot tell: {found}{more}."
        if compound:
            found = f"Yes: {self.words(best)} is the best, and every single dimension that was tried is worse than it."
        else:
            found = f"No: {self.words(best)} is the best, and every compound rule that was tried is worse than it."
        base = next(one for one in self.comparison.differences if one.name == best)
        return found if base.verdict == "better" else f"{found} It is not better than the baseline, though."

    def words(self, name: str) -> str:
        """A variant in words: ``width alone``, or ``about width alone`` if steps made other dimensions move too."""
        variant = self.variant(name)
        if variant.rule not in SINGLE:
            return variant.rule
        others = [growth for rule, growth in zip("dwr", variant.growth, strict=True) if rule != variant.rule]
        about = "" if all(abs(growth - 1) < 1e-9 for growth in others) else "about "
        return f"{about}{DIMENSIONS[variant.rule]} alone"

    def label(self, name: str) -> str:
        """The rules of a variant and what they grow: ``d (depth alone)``, ``dw (depth and width)``."""
        variant = self.variant(name)
        grown = [word for word, growth in zip(DIMENSIONS.values(), variant.ideal, strict=True) if growth != 1]
        what = "all three" if len(grown) == len(DIMENSIONS) else " and ".join(grown)
        return f"{', '.join(variant.rules)} ({self.words(name) if variant.rule in SINGLE else what})"

    def __repr__(self) -> str:
        return f"Ablation({str(self.folder)!r}, {self.plan.target}: {self.answer})"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from scaling.views.ablation import text

        return as_html(*text(self))


def run_ablation(folder: Path, execution: Mapping[str, Any] | None = None) -> Ablation:
    """Run the trainings of an ablation that are not done yet, and compare the variants.

    Args:
        folder: folder of the ablation.
        execution: fields of the execution to change, as for a trained comparison.

    Raises:
        KeyboardInterrupt: it was stopped; finished trainings are kept.
        MnasError: a training failed, or the folder holds no ablation.
    """
    stored = ABLATION.read(StoredAblation, folder)
    compared = run_comparison(folder, execution, kind=ABLATION)
    found = _result(stored, compared)
    if not (folder / MAPS).exists():
        with suppress(MnasError):  # the result does not depend on the picture
            draw_maps(found, folder / MAPS)
    return found


def read_result(folder: Path) -> Ablation:
    """The result of a complete ablation; nothing is trained. Raises `MnasError` if trainings are missing."""
    return _result(ABLATION.read(StoredAblation, folder), read_trained(folder, ABLATION))


def _result(stored: StoredAblation, compared: TrainedComparison) -> Ablation:
    found = compared.contestants[:-1]
    seeds = stored.plan.seeds
    stands: tuple[Standing, ...] = ()
    detectable = None
    if seeds > 1:
        table = np.array([one.accuracies for one in found])
        stands = standings([one.name for one in found], table, _rule(seeds), [one.hits for one in found])
        # Without any spread, nothing can be said about it.
        detectable = half_of_pairs(table, _rule(seeds), [one.hits for one in found]) or None
    else:
        ranked = sorted(found, key=lambda one: -one.mean)
        stands = tuple(Standing(one.name, 1, one.mean, one.mean - ranked[0].mean, None, "unknown") for one in ranked)
    return Ablation(
        compared.folder,
        stored.plan,
        stored.variants,
        compared,
        stored.activations,
        stored.notes,
        stands,
        detectable,
    )


def _rule(seeds: int) -> RacingRule:
    """A race of a single round: all variants get all seeds, and are compared once."""
    return RacingRule(first=seeds, seeds=seeds, budget=1_000_000)


@typed
def ablate(
    network: Network,
    *,
    data: str | Path,
    plan: AblationPlan | Mapping[str, Any] | None = None,
    options: StudyOptions | Mapping[str, Any] | None = None,
    execution: Execution | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
) -> Ablation:
    """Train variants of a baseline that cost the same, and compare them.

    Args:
        network: name of a baseline, spec file or folder; or a spec or an architecture.
        data: images, as for `mnas train`.
        plan: rules, budget and seeds, or some of them, such as ``{"target": "macs=4x"}``.
        options: options of all trainings, or some of them; resolution and width are those of the baseline.
        execution: where and how trainings run, or some fields of it.
        out: folder of the ablation, new or empty; a new one in runs/ by default.

    Raises:
        MnasError: a value breaks its rule, a rule does not meet the budget, or a training fails.
        KeyboardInterrupt: it was stopped; `scaling.resume` resumes it.
    """
    folder, where = Path(out) if out is not None else new_folder("ablate"), fields_of(execution)
    create_ablation(folder, network, str(data), made(AblationPlan, plan), made(StudyOptions, options), where)
    return run_ablation(folder, where)


def draw_maps(found: Ablation, file: Path, images: int = 4) -> None:
    """Write class activation maps of the baseline and all variants, seed 0, side by side (the paper's Figure 7).

    Args:
        found: ablation.
        file: picture to write.
        images: number of test images: the first one of as many classes that have any.
    """
    from PIL import Image

    from baselines.training.cam import Column, cam_grid
    from baselines.training.folder import load_training_data, trained_network
    from search_spaces.network import Network as Built

    names = {found.baseline.name: "baseline", **{variant.name: variant.rule for variant in found.variants}}
    folders = {name: folder for name, seed, folder in read_comparison(found.folder).folders(found.folder) if seed == 0}
    columns = []
    for name, shown in names.items():
        _, settings, network = trained_network(folders[name])
        assert isinstance(network, Built)
        columns.append(Column(shown, network, settings.classes, settings.fit))
    data = load_training_data(settings)
    labels = np.asarray(data.test.labels)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for label in np.unique(labels)[:images].tolist():
            path = Path(folder) / f"{file_name(data.classes[label])}.png"
            Image.fromarray(data.test.images[int(np.flatnonzero(labels == label)[0])]).save(path)
            files.append(path)
        write_new(file, cam_grid(columns, files).save)
