"""The plan of a search for coefficients in its folder, and its result, which is read at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.text import command
from baselines.training.folder import read_training
from baselines.training.recipe_files import recipe_options
from baselines.training.settings import TrainingSettings
from nas.studies.contestants import Judged
from nas.studies.trainings import StudyKind, judged_in
from scaling.rules import powers
from scaling.studies.candidates import Candidate
from scaling.studies.racing import Race, RacingRule, race
from scaling.studies.standings import Standing, standings
from search_spaces.errors import MnasError

SEARCH = StudyKind("search for coefficients", "scaling-search.json", ("scaling-search",))
# The baseline as it is scaled and trained.
BASELINE_FILE = "baseline.yaml"
# In the journal.
KIND = "scaling-search"


@dataclass(frozen=True)
class SearchPlan:
    """What a search for coefficients tries, as stored in its folder.

    Attributes:
        baseline: network that is scaled, as it is trained.
        constraint: what all candidates on the grid have in common, in words.
        rows: number of rows of the grid.
        matching: number of rows that meet the constraint; several may be the same network.
        rule: rule by which candidates get more seeds.
        candidates: candidates, those on the grid first.
        notes: sentences that a person has to know to read the result.
    """

    baseline: Candidate
    constraint: str
    rows: int
    matching: int
    rule: RacingRule
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()

    def key(self, place: int, seed: int) -> str:
        """The name of the folder of a candidate's training."""
        return f"{self.candidates[place].name}-seed{seed}"


@dataclass(frozen=True)
class Entry:
    """A candidate of a search, and where it stands.

    Attributes:
        candidate: the candidate.
        standing: its standing, on the validation part.
        racing: whether it was never stopped.
        val, test: accuracies on the two parts of each seed so far, as fractions.
    """

    candidate: Candidate
    standing: Standing
    racing: bool
    val: tuple[float, ...]
    test: tuple[float, ...]

    @property
    def may_be_best(self) -> bool:
        """Whether it is the best or cannot be told from it, for other seeds and other images of the same kind."""
        return self.standing.verdict in ("best", "tie")


@dataclass(frozen=True)
class CoefficientSearch:
    """The result of a search for coefficients, complete or not.

    Attributes:
        folder: folder of the search.
        plan: plan of the search.
        settings: settings of the first training; the others differ in the seed.
        race: state of the race.
        entries: candidates, the best first.
        images: numbers of images of the validation and the test part; zeros before the first training is done.
    """

    folder: Path
    plan: SearchPlan
    settings: TrainingSettings
    race: Race
    entries: tuple[Entry, ...]
    images: tuple[int, int]

    @property
    def resume(self) -> str:
        """The command that resumes the search."""
        return SEARCH.resume(self.folder)

    @property
    def grow(self) -> str | None:
        """The command that trains a family of the baseline, grown by the coefficients shown as best.

        None if no family grows by them, for example because they make the baseline smaller, and for a search of an
        earlier version, which did not keep its baseline.
        """
        best, baseline, file = self.best.candidate, self.plan.baseline, self.folder / BASELINE_FILE
        ratios = (best.depth, best.width, best.resolution / baseline.resolution)
        alpha, beta, gamma = (float(f"{ratio:.4g}") for ratio in ratios)
        try:
            powers(alpha, beta, gamma)
        except MnasError:
            return None
        if not file.is_file():
            return None
        growth = best.macs / baseline.macs  # the second member is the best itself, the third grows by as much again
        budgets = ("--macs", f"1x,{growth:.4g}x,{growth**2:.4g}x")
        words = ("--alpha", f"{alpha:g}", "--beta", f"{beta:g}", "--gamma", f"{gamma:g}", *budgets)
        trained = ("--data", self.settings.data, "--resolution", str(baseline.resolution))
        return command("family", str(file), *words, "--train", *trained, *recipe_options(self.settings.recipe))

    @property
    def best(self) -> Entry:
        """The entry shown as best."""
        return self.entries[0]

    @property
    def ties(self) -> tuple[Entry, ...]:
        """The other entries that cannot be told from the best."""
        return tuple(entry for entry in self.entries[1:] if entry.may_be_best)

    @property
    def settled_by_images(self) -> tuple[Entry, ...]:
        """Ties that were stopped: worse on these images with any seed, but perhaps not on other images."""
        return tuple(entry for entry in self.ties if not entry.racing)

    @property
    def spent(self) -> int:
        """Number of trainings so far."""
        return sum(len(entry.val) for entry in self.entries)

    @property
    def full(self) -> int:
        """Number of trainings of all candidates with all seeds."""
        return len(self.entries) * self.plan.rule.seeds

    def where(self, mark: str) -> Entry | None:
        """The entry of a marked rule, such as ``fast``; None if it is not among the candidates."""
        return next((entry for entry in self.entries if mark in entry.candidate.marks), None)

    def __repr__(self) -> str:
        return f"CoefficientSearch({str(self.folder)!r}, best {self.best.candidate.name}, {len(self.ties)} ties)"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from scaling.views.coefficient_search import text

        return as_html(*text(self))


def read_result(folder: Path) -> CoefficientSearch:
    """The result of a search so far; nothing is trained.

    Raises:
        MnasError: the folder holds no search for coefficients, or is damaged.
    """
    plan, found = SEARCH.read(SearchPlan, folder), judged_in(folder, KIND)
    table = accuracies_of(plan, found)
    state = race(table, plan.rule)
    judged = [_in_order(plan, place, found) for place in range(len(plan.candidates))]
    hits = [np.array([one.val for one in trained]) for trained in judged]
    names = [one.name for one in plan.candidates]
    ranked = standings(names, table, plan.rule, hits if all(state.seeds) else None)
    entries = []
    for standing in ranked:
        place = names.index(standing.name)
        val, test = (
            tuple(float(part.mean()) for part in parts)
            for parts in ([_val(one) for one in judged[place]], [one.test for one in judged[place]])
        )
        entries.append(Entry(plan.candidates[place], standing, place in state.racing, val, test))
    first = next(iter(found.values()), None)
    images = (0, 0) if first is None else (len(_val(first)), len(first.test))
    settings = read_training(folder / plan.key(0, 0))[1]
    return CoefficientSearch(folder, plan, settings, state, tuple(entries), images)


def _in_order(plan: SearchPlan, place: int, found: Mapping[str, Judged]) -> list[Judged]:
    """The trainings of a candidate that are done, by seed."""
    keys = (plan.key(place, seed) for seed in range(plan.rule.seeds))
    return [found[key] for key in keys if key in found]


def accuracies_of(plan: SearchPlan, found: Mapping[str, Judged]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Accuracies on the validation part, of shape (candidates, seeds); nan where not trained."""
    table = np.full((len(plan.candidates), plan.rule.seeds), np.nan)
    for place in range(len(plan.candidates)):
        for seed in range(plan.rule.seeds):
            if (judged := found.get(plan.key(place, seed))) is not None:
                table[place, seed] = _val(judged).mean()
    return table


def _val(judged: Judged) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if judged.val is None:
        raise MnasError("resume: its results have no validation part; start a new search")
    return judged.val
