"""Errors that a person can act on: one line with the field, the value, the rule and the next step.

MnasError (ValueError)       anything the caller gave that cannot be used; the command exits with 2
└── FieldError               one field of a structure: knows its path, e.g. ``stages[3].kernel_size``
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class MnasError(ValueError):
    """Something that the caller gave cannot be used. The message is one line for a person to act on."""


class FieldError(MnasError):
    """One field of a structure breaks its rule.

    Attributes:
        path: where the field lies, outermost first, e.g. ``stages[3].kernel_size``.
        problem: the value and the rule, e.g. ``4 is not an odd number from 1 to 15``.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        # Pickled as made: errors come back from the processes of a study.
        return FieldError, (self.path, self.problem)

    def inside(self, prefix: str) -> FieldError:
        """The same error seen from a structure that holds this one under ``prefix``."""
        separator = "" if not self.path or self.path.startswith("[") else "."
        return FieldError(f"{prefix}{separator}{self.path}", self.problem)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> MnasError:
    """The error for a name that is not among ``known``, with the nearest one suggested."""
    names = sorted(known)
    lower = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    hint = f"did you mean {lower[near[0]]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return MnasError(f"unknown {kind} {shorten(name)}; {hint}")


def one_line(text: str, limit: int = 500) -> str:
    """Text from outside as one line that a terminal does not obey, cut to ``limit`` characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shorten(value: object, limit: int = 60) -> str:
    """``repr`` of a value that came from outside, on one line and cut to ``limit`` characters."""
    # `reprlib` walks a structure no further than it prints: with aliases, a small YAML file unfolds to gigabytes.
    brief = reprlib.Repr()
    brief.maxlevel = 3
    brief.maxstring = brief.maxother = 4 * limit
    try:
        text = brief.repr(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        text = f"<{type(value).__name__} too long to print>"
    return text if len(text) <= limit else text[: limit - 1] + "…"
