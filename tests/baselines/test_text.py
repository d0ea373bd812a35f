"""Numbers, times, counts and commands as a person reads them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from baselines.text import (
    command,
    cost_target,
    counted,
    interval_text,
    listed,
    millions,
    seconds_text,
    side,
    signed,
    signed_millions,
    target_text,
    with_interval,
)
from search_spaces import MnasError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (3e-9, "3 ns"),
        (5.88e-05, "59 µs"),
        (0.00123, "1.2 ms"),
        (0.0567, "57 ms"),
        (0.9996, "1 s"),
        (3.42, "3.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3599.6, "1 h"),
        (4200, "1 h 10 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "seed", "0 seeds"),
        (1, "seed", "1 seed"),
        (1000, "image", "1,000 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
    ],
)
def test_counts(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


def test_a_shell_reads_the_words_of_a_command_as_they_are() -> None:
    words = ("compare", Path("my runs/it's"), "--evaluator", "train:a b?epochs=1&width=0.5", "--seed", 3)
    assert shlex.split(command(*words)) == ["mnas", *map(str, words)]
    assert command("show", Path("-x")) == "mnas show ./-x"  # not an option


def test_sides() -> None:
    assert (side("32"), side(" own ")) == (32, "own")
    for text in ("0", "-3", "owned", "3.5", ""):
        with pytest.raises(MnasError, match="expected a number of pixels, such as 32, or own"):
            side(text)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.5, 2, "+0.50"),
        (-2.126, 2, "-2.13"),
        (0.0, 2, "+0.00"),
        (-0.0, 2, "+0.00"),
        (-0.004, 2, "+0.00"),
        (-0.4, 0, "+0"),
    ],
)
def test_zero_is_not_negative(value: float, digits: int, text: str) -> None:
    assert signed(value, digits) == text


def test_intervals() -> None:
    assert interval_text((40.123, 41.8)) == "[40.12, 41.80]"
    assert interval_text((88.6, 97.2), 0) == "[89, 97]"
    assert with_interval(0.005, (-0.0213, 0.0313)) == "+0.50 [-2.13, +3.13]"
    assert with_interval(-1e-9, (-1e-9, 1e-9)) == "+0.00 [+0.00, +0.00]"
    assert with_interval(-1e-9, None) == "+0.00"


def test_names_in_a_sentence() -> None:
    letters = [*"abcdefghijklmno"]
    assert [listed(letters[:count]) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert listed(letters[:12]) == "a, b, c, d, e, f, g, h, i, j, k and l"
    assert listed(letters) == "a, b, c, d, e, f, g, h, i, j, k, l and 3 more"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (812, "812"), (999, "999"), (1000, "1K"), (127_600, "128K"), (999_600, "1.0M"), (385_814_752, "385.8M")],
)
def test_rounded_counts(value: int, text: str) -> None:
    assert millions(value) == text
    assert signed_millions(-value) == (f"-{text}" if value else "+0")


@pytest.mark.parametrize(
    ("cost", "value", "text"),
    [
        ("params", 300_000, "params=300K"),
        ("macs", 1234, "macs=1.234K"),
        ("macs", 999, "macs=999"),
        ("macs", 400e6, "macs=400M"),
        ("activations", 1.8e9, "activations=1.8G"),
        ("a100-throughput", 9000, "a100-throughput=9000"),
        ("zcu102-latency", 2.5, "zcu102-latency=2.5"),
    ],
)
def test_targets_are_read_as_they_are_written(cost: str, value: float, text: str) -> None:
    assert target_text(cost, value) == text
    assert cost_target(text) == cost_target(f"{cost}={value:.12g}") == (cost, value)
