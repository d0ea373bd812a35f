"""Why student reproductions of compound scaling disagree with the paper: their setting beside ours, cause by cause.

    mnas ablate efficientnet_b0 --data IMAGES --target macs=4x --resolution 20 --width 0.375 … --out ABLATION
    python benchmarks/reproductions.py --ablation ABLATION --side 36 --out FOLDER

Typical of them (CIFAR, one step of scaling): depth, width and resolution alone at the full budget beside a compound
network at half of it; images enlarged, so that resolution adds no information; one seed. ABLATION has none of these.
Here the same baseline is trained at SIDE pixels, more than the images have, with the recipe and the first seed of the
ablation: depth, width and resolution alone and the compound rule at the ablation's budget, and the compound rule at
half of it. The table takes one cause away after the other. Trainings are resumed by the same command.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from baselines.spec import BaselineSpec, Provenance
from baselines.training.folder import read_training
from nas.studies.contestants import Contestant, paired_difference
from nas.studies.trained_comparison import (
    COMPARISON,
    ComparisonOptions,
    Plan,
    create_comparison,
    read_comparison,
    run_comparison,
)
from scaling.budget import Budget
from scaling.studies.ablation import Ablation, read_result
from scaling.studies.variants import SINGLE, variants_of

COMPOUND = "efficientnet"


def enlarged(found: Ablation, side: int, folder: Path, workers: int) -> dict[str, Contestant]:
    """Train the networks of the students' setting; those of the result are named by their rules."""
    plan = read_comparison(found.folder)
    path = next(path for name, seed, path in plan.folders(found.folder) if name == found.baseline.name and seed == 0)
    spec, settings = read_training(path)
    assert isinstance(spec, BaselineSpec)
    base = BaselineSpec(spec.name, replace(spec.architecture, resolution=side), Provenance("a side above the images'"))
    target = found.plan.budget
    specs, *_ = variants_of(base, (*SINGLE, COMPOUND), target)
    half = Budget(target.cost, target.value / 2, relative=target.relative)
    (small,), *_ = variants_of(base, (COMPOUND,), half)
    where = {"workers": workers}
    nets = [*specs, replace(small, name=f"{small.name}_half")]
    if not folder.exists():
        recipe = settings.recipe
        options = ComparisonOptions(recipe="proxy", epochs=recipe.epochs, batch=recipe.batch)
        if options.chosen_recipe() != recipe:
            raise SystemExit(
                "the ablation must use --recipe proxy, and no other option of a recipe but --epochs and --batch"
            )
        names = tuple(net.name for net in nets)
        data = COMPARISON.images(folder, settings.data, options, where)
        create_comparison(folder, Plan(names, seeds=1), nets, data, options, where)
    compared = run_comparison(folder, where)
    return {one.name.removeprefix(f"{base.name}_"): one for one in compared.contestants}


def first_seed(one: Contestant) -> Contestant:
    """A network with its first training only."""
    return replace(one, hits=one.hits[:1], val_hits=None if one.val_hits is None else one.val_hits[:1])


def table(found: Ablation, theirs: dict[str, Contestant], side: int) -> None:
    """Print the compound network's distance from each single dimension, setting by setting."""
    ours = {found.variant(one.name).rule: one for one in found.comparison.contestants[:-1]}
    once = {rule: first_seed(one) for rule, one in ours.items()}
    settings = (
        (f"theirs: compound at half the MACs, {side} px, one seed", theirs[f"{COMPOUND}_half"], theirs),
        (f"equal MACs, {side} px, one seed", theirs[COMPOUND], theirs),
        ("equal MACs, sides that the images have, one seed", once[COMPOUND], once),
        (f"equal MACs, sides that the images have, {found.plan.seeds} seeds", ours[COMPOUND], ours),
    )
    print(f"Compound ({COMPOUND}) minus each single dimension, points of top-1 on test, at {found.plan.target}")
    print("| setting | compound | minus depth | minus width | minus resolution |")
    print("|---|---|---|---|---|")
    for name, compound, rivals in settings:
        cells = []
        for rule in SINGLE:
            found_difference = paired_difference(compound, rivals[rule])
            text = f"{100 * found_difference.mean:+.2f}"
            if found_difference.interval is not None:
                low, high = found_difference.interval
                text += f" ({100 * low:+.2f} to {100 * high:+.2f})"
            cells.append(text)
        print(f"| {name} | {100 * compound.mean:.2f} % | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ablation", type=Path, required=True, help="folder of a complete mnas ablate")
    parser.add_argument("--side", type=int, default=36, help="side of the enlarged baseline in pixels")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings, new or to be resumed")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    found = read_result(arguments.ablation)
    missing = {*SINGLE, COMPOUND} - {variant.rule for variant in found.variants}
    if missing:
        parser.error(f"the ablation lacks the rules {', '.join(sorted(missing))}")
    table(found, enlarged(found, arguments.side, arguments.out, arguments.workers), arguments.side)


if __name__ == "__main__":
    main()
