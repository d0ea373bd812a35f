"""Errors that a person can act on: one line with the field, the value, the rule and the next step.

MnasError (ValueError)       invalid input of any kind; the command exits with 2
└── FieldError               an invalid field of a structure, with its path, e.g. ``stages[3].kernel_size``
"""

from __future__ import annotations

import difflib
import re
import reprlib
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence


class MnasError(ValueError):
    """The caller's input cannot be used. The message is one line that says what to do."""


class FieldError(MnasError):
    """One field of a structure breaks its rule.

    Attributes:
        path: path of the field, outermost first, e.g. ``stages[3].kernel_size``.
        problem: value and rule, e.g. ``4 is not an odd integer from 1 to 15``.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        # Pickle the two arguments, not the joined message: errors return from worker processes.
        return FieldError, (self.path, self.problem)

    def inside(self, prefix: str) -> FieldError:
        """Return this error with its path inside an outer structure, under ``prefix``."""
        separator = "" if not self.path or self.path.startswith("[") else "."
        return FieldError(f"{prefix}{separator}{self.path}", self.problem)


def unknown_name(kind: str, name: object, known: Iterable[str]) -> MnasError:
    """Return the error for a name that is not in ``known``, with the nearest name as a suggestion."""
    names = sorted(known)
    near = _nearest(name, names) if isinstance(name, str) else None
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return MnasError(f"unknown {kind} {shorten(name)}; {hint}")


# Characters that are easily confused or swapped when typing a name.
_CONFUSED_CHARACTERS = str.maketrans("ol-.", "01__")


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the name that ends in ``_name``, else the most similar one; None where none is similar."""
    normalised = {known: known.lower().translate(_CONFUSED_CHARACTERS) for known in names}
    typed = name.lower().translate(_CONFUSED_CHARACTERS)
    for known, text in normalised.items():
        if typed and text.endswith(f"_{typed}"):
            return known
    ratios = {known: difflib.SequenceMatcher(None, typed, text).ratio() for known, text in normalised.items()}
    best = max(names, key=lambda known: ratios[known], default=None)
    return best if best is not None and ratios[best] >= 0.5 else None


def not_installed(field: str, library: str, extra: str) -> MnasError:
    """Return the error for a missing library of an optional extra, with the command that installs the whole extra."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = [entry.partition(";") for entry in requires("mnas") or ()]
    except PackageNotFoundError:  # used from a checkout
        requirements = []
    needed = [name.strip() for name, _, marker in requirements if re.search(rf"extra == [\"']{extra}[\"']", marker)]
    # The Python that runs this, which need not be the first on the path.
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    command = shlex.join([python, "-m", "pip", "install", *(needed or [library])])
    return MnasError(f"{field}: {library} is not installed; install it with: {command}")


def printable(text: str) -> str:
    """Return untrusted text with a space for each line break, escape and other character that is not printable."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def one_line(text: str, limit: int = 500) -> str:
    """Return untrusted text as one line of at most ``limit`` printable characters, without control sequences."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class ForeignError(Exception):
    """Code that others wrote failed, or returned nonsense; the message says how."""


def reason_of(error: BaseException, limit: int = 500) -> str:
    """Kind and first line of an error that anybody's code raised; its text may be long, empty, or fail itself."""
    try:
        text = str(error)[: 4 * limit]
    except Exception:
        text = "its text cannot be read"
    first = next((line for line in text.splitlines() if line.strip()), "")
    return one_line(f"{type(error).__name__}: {first}" if first else type(error).__name__, limit)


def shorten(value: object, limit: int = 60) -> str:
    """Return the ``repr`` of an untrusted value, on one line and cut to ``limit`` characters."""
    # `reprlib` visits only what it prints: with aliases, a small YAML file would unfold to gigabytes.
    brief = reprlib.Repr()
    brief.maxlevel = 3
    brief.maxstring = brief.maxother = 4 * limit
    try:
        text = brief.repr(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        text = f"<{type(value).__name__} too long to print>"
    except Exception:  # it may be anybody's object
        text = f"<{type(value).__name__} that cannot be printed>"
    return text if len(text) <= limit else text[: limit - 1] + "…"
