"""The result of a search as text: its hints are commands that work, or Python where only Python works."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

import nas
from nas.__main__ import main
from nas.evaluators.base import Evaluator, Metrics, Network
from nas.views.search import text
from search_spaces import ChoiceSpace, MnasError, Space, load_space


class Even(Evaluator):
    """Every network is equally accurate."""

    name = "even"
    meaning = "the same for all"

    def check(self, architecture: Network) -> None:
        pass

    def evaluate(self, architectures: Sequence[Network], seed: int = 0) -> list[Metrics]:
        return [Metrics(0.5) for _ in architectures]


MEMBERS = [{"layer": value} for value in "abc"]
CHOICES = ChoiceSpace("tiny", {"layer": "abc"}, MEMBERS, {"latency_ms": (1.0, 2.0, 3.0)})


@pytest.mark.parametrize("space", [load_space("efficientnet"), CHOICES], ids=lambda space: space.name)
def test_hints_for_a_run_with_objects(workplace: Path, capsys: pytest.CaptureFixture[str], space: Space) -> None:
    given = {"space": space, "evaluator": Even(), "controller": "random", "trials": 3, "out": "run"}
    found = nas.search(targets={}, **given)  # type: ignore[arg-type]
    hints = dict(str(part).split(": ", 1) for part in text(found) if str(part).startswith(("Next:", "Report:")))
    assert "Report" not in hints
    if space is CHOICES:
        assert hints["Next"] == "found.front('latency_ms')"
        assert [trial.costs for trial in found.front("latency_ms")] == [(1.0,)]
        with pytest.raises(MnasError, match="the space 'tiny' has no architectures"):
            found.compare()
    else:
        assert hints["Next"] == 'found.freeze("NAME")'
    assert main(["runs", "run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "object:" not in shown
    assert "Accuracy of a search with Even" in shown
    assert "defined by a Python object, which is known only where the search was started" in shown


def test_hints_for_a_run_with_names_work(workplace: Path) -> None:
    found = nas.search(targets={}, controller="random", trials=12, out="my run")
    hints = dict(str(part).split(": ", 1) for part in text(found) if str(part).startswith(("Next:", "Report:")))
    for hint in hints.values():
        assert main(shlex.split(hint)[1:]) == 0
    assert Path("report.html").exists()
    assert Path("specs/NAME.yaml").exists()
