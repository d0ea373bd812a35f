"""An evaluator that cannot judge the networks of a space is refused in one line that says what can."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.__main__ import main
from nas.evaluators.registry import check_judges, load_evaluator
from search_spaces import load_space

OWN = """
from dataclasses import replace
from nas.evaluators.base import Evaluator, Metrics
from search_spaces import FieldError, StageSpace, load_space

def space():
    b0 = load_space("efficientnet")
    return StageSpace("own", replace(b0.template, resolution=64), b0.stages)

class Picky(Evaluator):
    name = "picky"
    meaning = "nothing"

    def check(self, architecture):
        raise FieldError("stem", "is not to its taste")

    def evaluate(self, architectures, seed=0):
        return []

evaluator = Picky
"""
WORKS = "use --evaluator train --data IMAGES, or --evaluator table:FILE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space", "mnasnet"], f"imagenet judges networks of the space efficientnet only, not of mnasnet; {WORKS}"),
        (["--space", "mnasnet:b0"], "imagenet judges networks of the space efficientnet only, not of mnasnet:b0; use"),
        (["--space", "own.py"], f"imagenet judges networks of the space efficientnet only, not of own.py; {WORKS}"),
        (
            ["--evaluator", "own.py"],
            f"picky does not judge networks of the space efficientnet (stem: is not to its taste); {WORKS}",
        ),
    ],
)
def test_what_works_for_the_space_is_said(
    workplace: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    (workplace / "own.py").write_text(OWN)
    assert main(["search", *options, "--out", "run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mnas: evaluator: {message}")
    assert err.count("\n") == 1
    assert not Path("run").exists()


def test_an_evaluator_for_the_space_passes() -> None:
    check_judges(load_evaluator("imagenet"), load_space("efficientnet"))
