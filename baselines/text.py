"""Reading and writing numbers as people type them: suffixes, units, percent."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from search_spaces.errors import MnasError, shorten

# What a cell of a spreadsheet begins with if it is run as a formula, and what then says that it is a text.
FORMULA = ("=", "+", "-", "@", "'")
_SUFFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]\+?(\d{1,2}))?([kmgb]?)", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d*)?|\.\d+)([smh]?)")


def as_written(cell: str) -> str:
    """A cell of `baselines.views.terminal.write_csv` as it was, without the apostrophe that tells spreadsheets so."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA else cell


def quantity(text: str) -> int:
    """A positive integer with an optional suffix: ``400M`` is 400,000,000, ``1.8G`` is 1,800,000,000.

    Raises:
        MnasError: the text is not such a number.
    """
    value = _scaled(text)
    if value is not None and 1 <= value < 1e18:
        return round(value)
    raise MnasError(f"{shorten(text)}: expected a positive number, such as 400M, 1.8G or 400000000")


def cost_target(text: str) -> tuple[str, float]:
    """A cost and its target: ``a100-throughput=9000``, ``macs=400M``, ``zcu102-latency=2.5``.

    Raises:
        MnasError: the text is not COST=VALUE.
    """
    name, equals, number = text.strip().partition("=")
    value = _scaled(number)
    if not equals or not name.strip() or value is None:
        raise MnasError(f"{shorten(text)}: expected COST=VALUE, such as params=5M or zcu102-latency=2.5")
    return name.strip(), value


def _scaled(text: str) -> float | None:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    digits, power, suffix = match.groups()
    return float(digits) * 10.0 ** int(power or 0) * _SUFFIXES[suffix.upper()]


def duration(text: str) -> float:
    """Seconds from a text with or without a unit: ``90``, ``90s``, ``10m``, ``2h``.

    Raises:
        MnasError: the text is not a time above 0.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds > 0:
        return seconds
    raise MnasError(f"{shorten(text)}: expected a time, such as 90, 90s, 10m or 2h")


def integer(text: str) -> int:
    """An integer of up to 18 digits. Raises `MnasError` for anything else."""
    if re.fullmatch(r"-?\d{1,18}", text.strip()):
        return int(text)
    raise MnasError(f"{shorten(text)}: expected an integer")


def non_negative_int(text: str) -> int:
    """An integer from 0 to 999,999,999. Raises `MnasError` for anything else."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return int(text)
    raise MnasError(f"{shorten(text)}: expected an integer from 0 to 999999999")


def positive_int(text: str) -> int:
    """An integer from 1 to 999,999,999. Raises `MnasError` for anything else."""
    if re.fullmatch(r"\d{1,9}", text.strip()) and int(text):
        return int(text)
    raise MnasError(f"{shorten(text)}: expected an integer from 1 to 999999999")


# The value of a resolution that stands for each network's own.
OWN: Final = "own"


def side(text: str) -> int | Literal["own"]:
    """A side in pixels, or `OWN`. Raises `MnasError` for anything else."""
    if text.strip() == OWN:
        return OWN
    if re.fullmatch(r"\d{1,9}", text.strip()) and int(text):
        return int(text)
    raise MnasError(f"{shorten(text)}: expected a number of pixels, such as 32, or {OWN}")


def number(text: str) -> float:
    """A finite number. Raises `MnasError` for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MnasError(f"{shorten(text)}: expected a finite number")
    return value


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas, or FROM:TO:STEP: ``1,1.1,1.2`` or ``1:1.4:0.05``.

    Raises:
        MnasError: the text is neither, or has more than a thousand numbers.
    """
    if ":" not in text:
        return tuple(number(part) for part in text.split(","))
    parts = [number(part) for part in text.split(":")]
    if len(parts) != 3 or parts[2] <= 0 or not 0 <= (parts[1] - parts[0]) / parts[2] < 1000:
        raise MnasError(f"{shorten(text)}: expected FROM:TO:STEP, such as 1:1.4:0.05")
    low, high, step = parts
    return tuple(round(low + step * place, 9) for place in range(math.floor((high - low) / step + 1e-9) + 1))


def integers(text: str) -> tuple[int, ...]:
    """As `numbers`, but integers only: ``24,28,32`` or ``24:32:4``."""
    found = numbers(text)
    if any(value != int(value) for value in found):
        raise MnasError(f"{shorten(text)}: expected integers, such as 24,28,32 or 24:32:4")
    return tuple(map(int, found))


# Types of options, for `baselines.commands.options`: the value's type, and the function that reads it from a text.
Count = Annotated[int, positive_int]
Quantity = Annotated[int, quantity]
Amount = Annotated[float, quantity]
Side = Annotated[int | Literal["own"], side]
Seconds = Annotated[float, duration]
Names = Annotated[tuple[str, ...], names]
Numbers = Annotated[tuple[float, ...], numbers]
Integers = Annotated[tuple[int, ...], integers]


def millions(value: float) -> str:
    """A rounded count: 812, 128K, 385.8M, 1.827G."""
    for end, size, unit, digits in ((999.5, 1, "", 0), (999_500, 1e3, "K", 0), (999_950_000, 1e6, "M", 1)):
        if value < end:
            return f"{value / size:.{digits}f}{unit}"
    return f"{value / 1e9:.3f}G"


def signed_millions(value: float) -> str:
    """A rounded difference of counts with its sign: ``+128K``, ``-1.2M``, ``+0``."""
    size = millions(abs(value))
    return f"{'-' if value < 0 and size != '0' else '+'}{size}"


# Costs that are counts, which are written with K, M and G; memory is a number of bytes.
COUNTS = ("macs", "params", "activations", "memory")


def short_number(value: float) -> str:
    """A count in the form of a target, with all its digits: 950, 300K, 400M, 1.8G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.12g}{unit}"
    return f"{value:.12g}"


def target_text(cost: str, value: float) -> str:
    """A target as typed in a command: ``macs=400M``, ``params=300K``, ``a100-throughput=9000``."""
    large = cost in COUNTS or value >= 1e6
    return f"{cost}={short_number(value) if large else f'{value:.12g}'}"


def macs_text(macs: int) -> str:
    """MACs, rounded and exact: ``385.8M (385,814,752)``."""
    return f"{millions(macs)} ({macs:,})"


def points(accuracy: float, std: float | None = None) -> str:
    """An accuracy in percent, with its standard deviation if known: ``65.65 ± 0.24 %``."""
    spread = "" if std is None else f" ± {100 * std:.2f}"
    return f"{100 * accuracy:.2f}{spread} %"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, without a negative zero: ``+0.50``, ``-2.13``, ``+0.00``."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def interval_text(ends: tuple[float, float], digits: int = 2) -> str:
    """An interval of values that have no sign: ``[40.12, 41.80]``."""
    return f"[{', '.join(f'{end:.{digits}f}' for end in ends)}]"


def with_interval(difference: float, ends: tuple[float, float] | None) -> str:
    """A difference in points with its interval, if known, both given as fractions: ``+0.50 [-2.13, +3.13]``."""
    texts = [signed(100 * end) for end in ends or ()]
    return f"{signed(100 * difference)} [{', '.join(texts)}]" if texts else signed(100 * difference)


def command(*words: object) -> str:
    """An ``mnas`` command to paste into a shell: its words are quoted where a shell would change them."""
    texts = (f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words)
    return shlex.join(["mnas", *texts])


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``1 seed``, ``3 seeds``, ``2 batches``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}es" if noun.endswith(("s", "sh", "tch", "x")) else f"{count:,} {noun}s"


# Names in a sentence; more are counted.
MOST_NAMES = 12


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names as in a sentence: ``a``, ``a and b``, ``a, b and c``; of more than ``most``, ``a, b and 7 more``."""
    rest = len(names) - most
    *first, last = [*names[:most], f"{rest:,} more"] if rest > 0 else names
    return f"{', '.join(first)} and {last}" if first else last


# Larger units and how many seconds they have; a time below a minute has one unit, above it two.
_LARGE_UNITS = (("d", 86400), ("h", 3600), ("min", 60))
_SMALL_UNITS = (("s", 1.0), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))


def seconds_text(seconds: float) -> str:
    """A readable time: ``59 µs``, ``1.2 ms``, ``3.4 s``, ``2 min 5 s``, ``1 h 10 min``."""
    if round(seconds) >= 60:
        left = round(seconds)
        for place, (unit, size) in enumerate(_LARGE_UNITS):
            if left >= size:
                smaller, small = (*_LARGE_UNITS, ("s", 1))[place + 1]
                rest = left % size // small
                return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    for unit, per_second in _SMALL_UNITS:
        value = seconds * per_second
        value = float(f"{value:.2g}") if value < 10 else round(value)
        if value >= 1:
            return f"{value:g} {unit}"
    return "0 s"
