"""Whether networks can be compared: those that become the same are refused, and what is unfair is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import combinations

from baselines.comparators import Subject
from baselines.spec import BaselineSpec
from baselines.text import counted, listed
from baselines.training.recipe import Recipe
from baselines.training.settings import TrainingOptions, TrainingSettings, enlargement, network_of
from search_spaces.architecture import RECIPE_FIELDS, Architecture
from search_spaces.errors import MnasError


def check_distinct(subjects: Sequence[Subject], trained: Sequence[Subject], options: TrainingOptions) -> None:
    """Raise `MnasError` if two networks are trained as the same network: they would tie at exactly 0.

    Networks that differ only in dropout or the like are different, unless the recipe replaces those values.

    Args:
        subjects: networks as they were given.
        trained: the same networks as they are trained.
        options: options of all trainings.
    """
    recipe = options.chosen_recipe()
    pairs = list(zip(subjects, trained, strict=True))
    for (first, one), (second, other) in combinations(pairs, 2):
        if _as_trained(one, recipe) != _as_trained(other, recipe):
            continue
        names = f"{first.name} and {second.name}"
        if not isinstance(first, BaselineSpec) or not isinstance(second, BaselineSpec):
            raise MnasError(f"compare: {names} are the same network; remove one")
        reasons = list(_reasons(first.architecture, second.architecture, options, network_of(one).resolution))
        if not reasons:
            raise MnasError(f"compare: {names} are the same network; remove one")
        why = ", and ".join(reason for reason, _ in reasons)
        steps = [step for _, step in reasons if step]
        next_step = f"{', '.join(steps)}, or remove one" if steps else "remove one"
        raise MnasError(f"compare: {names} become the same network: {why}; {next_step}")


def _as_trained(subject: Subject, recipe: Recipe) -> object:
    network = network_of(subject)
    return recipe.applied(network) if isinstance(network, Architecture) else network


def _reasons(
    first: Architecture, second: Architecture, options: TrainingOptions, side: int
) -> Iterator[tuple[str, str]]:
    """Why the differences of two networks are gone, and how to keep each; "" where there is no way."""
    gone = {item.name for item in fields(Architecture) if getattr(first, item.name) != getattr(second, item.name)}
    if "resolution" in gone:
        asked = f"--resolution {side} trains both" if options.resolution else "both are trained"
        yield f"{asked} at {side} px", "use --resolution own"
    if "activation" in gone:
        yield f"--activation {options.activation} replaces that of both", "remove --activation"
    if first.stem.stride != second.stem.stride:
        yield f"the stem's stride is 1 at {side} px", "use a larger --resolution"
    if [stage.stride for stage in first.stages] != [stage.stride for stage in second.stages]:
        yield f"the first stages have stride 1 at {side} px", "use a larger --resolution"
    if gone & {"stem", "stages", "head"} and options.width != 1:
        yield f"--width {options.width:g} rounds both to the same channels", "use another --width"
    if replaced := gone & set(RECIPE_FIELDS):
        yield f"the recipe {options.recipe} sets the {_listed(replaced)} of both", "use another --recipe"
    if "num_classes" in gone:
        yield "both get the classes of the images", ""


def _listed(names: set[str]) -> str:
    return " and ".join(sorted(name.replace("_", "-") for name in names))


def comparison_notes(names: Sequence[str], subjects: Sequence[Subject], settings: TrainingSettings) -> Iterator[str]:
    """What a person has to know to read the result: which networks see enlarged images, which epochs are judged."""
    recipe = settings.recipe
    if recipe.patience:
        waited = counted(recipe.patience, "epoch")
        yield f"a training ends early after {waited} without a higher accuracy on its validation part"
    if recipe.keep == "best":
        yield "weights are those of the best epoch on the validation part, whose accuracies are therefore optimistic"
    yield from enlarged_notes(dict(zip(names, subjects, strict=True)), settings.sides)


def enlarged_notes(subjects: Mapping[str, Subject], sides: tuple[int, ...]) -> list[str]:
    """A sentence on the networks whose sides are larger than those of most images; none if there are none.

    Args:
        subjects: networks as they are trained, by their names.
        sides: smallest, median and largest side of the images; empty if unknown.
    """
    own = {name: network_of(subject).resolution for name, subject in subjects.items()}
    large = {name: text for name, side in own.items() if (text := enlargement(name, side, sides))}
    if len(large) < 2:
        return [*large.values()]
    each = listed([f"{name} ({own[name]} px)" for name in large])
    return [f"{each} are larger than most images (median {sides[1]} px): enlarged images carry no new information"]
