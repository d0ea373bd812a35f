"""`History`: what a search did before, in the order in which it did it; with it a search goes on."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from nas.executors.base import Failure, Outcome
from search_spaces import Genotype


class Batch(NamedTuple):
    """One time that the controller was asked.

    Attributes:
        asked: for how many suggestions.
        given: how many it gave.
        told: of how many completions it had learned, of all since the start.
    """

    asked: int
    given: int
    told: int


class Completion(NamedTuple):
    """What came of a trial; see `nas.trial.Trial`."""

    outcome: Outcome
    reward: float | None
    attempts: int
    seconds: float

    def fields(self) -> dict[str, Any]:
        """The fields of a trial that it fills."""
        failed = isinstance(self.outcome, Failure)
        return {
            "metrics": None if failed else self.outcome,
            "failure": self.outcome if failed else None,
            "reward": self.reward,
            "attempts": self.attempts,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class History:
    """A search up to where it ended or was interrupted.

    Attributes:
        batches: in order.
        genotypes: that became trials, by number.
        completions: by number, in the order in which trials were completed.
        failed_attempts: by number, of trials that are not completed.
        versions: under which it began.
    """

    batches: Sequence[Batch] = ()
    genotypes: Sequence[Genotype] = ()
    completions: Mapping[int, Completion] = field(default_factory=dict)
    failed_attempts: Mapping[int, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def other_versions(self) -> str:
        """What is installed in another version than then, as words."""
        now = versions()
        changed = [(name, then) for name, then in self.versions.items() if now.get(name) != then]
        others = [f"{name} {then} (now {now.get(name)})" for name, then in changed]
        return f"it began with {', '.join(others)}" if others else "the versions are those of then"


def versions() -> dict[str, str]:
    """Versions on which a run's result may depend."""
    found = {"python": platform.python_version()}
    for package in ("mnas", "numpy", "scipy", "torch", "nni", "optuna"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
