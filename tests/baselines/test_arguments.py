"""Arguments of another type than the annotation names are refused; all others reach the function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from baselines.arguments import freeze_lists, typed
from baselines.text import Count, Numbers, names
from search_spaces import MnasError


@typed
def example(
    number: float,
    *,
    count: Count = 1,
    place: str | Path | None = None,
    kind: str | type[ValueError] = "",
    names: Sequence[str] = (),
    fields: Mapping[str, Any] | None = None,
    call: Callable[[], int] | None = None,
) -> float:
    """Return the number."""
    return number


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": 2, "place": Path()},
        {"count": np.int64(3), "place": None, "kind": UnicodeError},
        {"names": ["a"], "fields": {}, "call": int},
    ],
)
@pytest.mark.parametrize("number", [1, 1.5, np.float32(2), np.int64(3)])
def test_what_the_annotations_permit(number: float, arguments: dict[str, Any]) -> None:
    assert example(number, **arguments) == number


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": "1"}, "number: expected float, got str"),
        ({"number": True}, "number: expected float, got bool"),
        ({"count": 1.0}, "count: expected int, got float"),
        ({"place": 3}, "place: expected str or Path or None, got int"),
        ({"kind": KeyError}, "kind: expected str or a class of ValueError, got type"),
        ({"names": "abc"}, "names: expected Sequence, got str"),
        ({"fields": [1]}, "fields: expected Mapping or None, got list"),
        ({"call": 1}, "call: expected Callable or None, got int"),
    ],
)
def test_what_they_do_not(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        example(**{"number": 1.0, **arguments})


@typed
def listed(parts: Annotated[Sequence[str], names], others: Annotated[Sequence[str], names] = ()) -> tuple[str, ...]:
    return (*parts, *others)


@dataclass(frozen=True)
class Lists:
    factors: Numbers | None = None
    settings: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        freeze_lists(self)


def test_a_text_for_a_list_is_read_as_on_the_command_line() -> None:
    assert listed("a,b") == listed(["a", "b"]) == listed("a", others="b") == ("a", "b")
    with pytest.raises(TypeError, match="parts: expected Sequence, got int"):
        listed(3)  # type: ignore[arg-type]


def test_lists_of_a_dataclass_are_tuples_and_texts_are_read() -> None:
    assert Lists("1:1.4:0.2").factors == Lists([1, 1.2, 1.4]).factors == (1, 1.2, 1.4)  # type: ignore[arg-type]
    assert Lists(settings="mixup=0.2").settings == ("mixup=0.2",)  # type: ignore[arg-type]
    assert Lists(name="a,b").name == "a,b"
    assert hash(Lists([1.0])) == hash(Lists((1.0,)))  # type: ignore[arg-type]
    with pytest.raises(MnasError, match="factors: '1:2': expected FROM:TO:STEP"):
        Lists("1:2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="factors: expected a list or a text, got int"):
        Lists(3)  # type: ignore[arg-type]


def test_the_function_stays_itself() -> None:
    assert (example.__name__, example.__doc__) == ("example", "Return the number.")
    assert list(inspect.signature(example).parameters)[:3] == ["number", "count", "place"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        example(1.0, other=2)  # type: ignore[call-arg]
