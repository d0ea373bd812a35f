"""Where files of strangers come in: of each kind a whole example, and what reads it as far as the project ever does."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from baselines import load
from baselines.commands.options import documented
from baselines.exchange.formats import FORMATS, export_architecture, import_architecture
from baselines.spec import read_spec
from baselines.training.recipe import RECIPES, Recipe
from baselines.training.recipe_files import read_recipe, recipe_text
from nas.__main__ import main
from nas.evaluators.table import TableEvaluator
from nas.executors.base import Failure
from nas.journal import Journal
from nas.journal_format import FILE_NAME
from nas.objective import make_objective
from nas.record import STUDY_FILE
from nas.search_loop import SearchSettings, run_search
from nas.studies.journal import StudyJournal
from nas.studies.rediscovery import RediscoverySettings, read_rediscovery, rediscover, rediscovery_study
from search_spaces import MnasError, load_space
from search_spaces.serialization import from_dict, write_yaml
from tests.trials import write

OBJECTIVE = make_objective("hard", {"macs": 4e8, "params": 5e6})
SETTINGS = SearchSettings("efficientnet", "imagenet", "random", OBJECTIVE, 6, 0)


class Entrance(NamedTuple):
    """One kind of file.

    Attributes:
        name: of the file.
        example: a whole one.
        read: reads the file; raises `MnasError` where it cannot be used, and nothing else.
    """

    name: str
    example: bytes
    read: Callable[[Path], object]


@cache
def entrances() -> dict[str, Entrance]:
    """All kinds, by name."""
    spec = load("efficientnet_b0").as_dict()
    return {
        "spec": Entrance("spec.yaml", write_yaml(spec).encode(), read_spec),
        "recipe": Entrance("recipe.toml", recipe_text(RECIPES["paper"], documented(Recipe)).encode(), read_recipe),
        "configuration": Entrance("settings.json", json.dumps(SETTINGS.as_dict()).encode(), read_configuration),
        "table": Entrance("table.csv", table().encode(), lambda file: TableEvaluator(file, load_space("efficientnet"))),
        "table in JSON": Entrance(
            "table.json", json_table().encode(), lambda file: TableEvaluator(file, load_space("efficientnet"))
        ),
        "table of its own choices": Entrance("own.csv", own_table().encode(), lambda file: TableEvaluator(file, None)),
        "journal": Entrance(FILE_NAME, journal(), read_journal),
        "study": Entrance(STUDY_FILE, study(), read_study),
        **{
            f"format {name}": Entrance(
                "network.json",
                json.dumps(export_architecture(load("efficientnet_b0").architecture, name)).encode(),
                lambda file, name=name: import_architecture(_json(file), name),
            )
            for name in FORMATS
        },
    }


def _json(file: Path) -> Any:
    """What a JSON file holds; the fuzzing is of what comes after."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MnasError(f"{file}: not JSON ({type(error).__name__})") from None


def read_configuration(file: Path) -> SearchSettings:
    """Settings as a journal holds them; such as name a Python file are refused, as they are there."""
    from search_spaces.plugins import refuse_code

    data = _json(file)
    refuse_code(data.values() if isinstance(data, dict) else (), "run")
    return from_dict(SearchSettings, data, "settings")


def read_journal(file: Path) -> object:
    """All that any command reads of a run."""
    for arguments in (["runs", str(file.parent)], ["trials", str(file.parent)]):
        for form in ([], ["--json"], ["--csv"]):
            _command([*arguments, *form])
    with Journal.open(file.parent) as opened:
        list(opened.records())
        found = opened.execution, opened.history(), list(opened.trials()), opened.digest(), opened.best()
        run_search(opened.settings, history=opened.history(), stop=lambda: True)
        return found


def read_study(file: Path) -> object:
    """All that is read of a study: how far it is, its settings, and its results."""
    for form in ([], ["--json"], ["--csv"]):
        _command(["runs", str(file.parent), *form])
    settings = read_rediscovery(file.parent)
    with StudyJournal.open(file.parent) as opened:
        read = rediscovery_study(file.parent, settings).read
        return opened.execution, opened.jobs(), opened.results(read), opened.failures()


def _command(arguments: list[str]) -> None:
    """Run a command, which must end well or say in one line what is wrong, and show nothing that a terminal obeys."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    assert status == 0 or (status == 2 and err.getvalue().count("\n") == 1), (status, err.getvalue())
    assert "\x1b" not in out.getvalue()
    if status == 0 and arguments[-1] == "--json":
        json.loads(out.getvalue())


def rows() -> list[dict[str, Any]]:
    """Rows of a table of four measured networks."""
    genotypes = load_space("efficientnet").sample(np.random.default_rng(0), 4)
    return [{**genotype, "accuracy": 0.5 + place / 100, "seed": 0} for place, genotype in enumerate(genotypes)]


def table() -> str:
    """They in CSV."""
    lines = [",".join(rows()[0]), *(",".join(map(str, row.values())) for row in rows())]
    return "\n".join(lines) + "\n"


def json_table() -> str:
    """They in JSON."""
    return json.dumps(rows())


def own_table() -> str:
    """A table whose header says what can be chosen, in CSV."""
    lines = [f"{'k3_e1' if i % 2 else 'skip'},{3 + i // 2},{0.5 + i / 100},{2.5 + i},{i}" for i in range(8)]
    return "\n".join(["layer1,width,accuracy,latency_ms,note:name", *lines, *lines[:1]]) + "\n"


def journal() -> bytes:
    """A journal of six trials, of which one failed."""
    trials = run_search(SETTINGS)
    trials[3] = replace(trials[3], metrics=None, reward=None, failure=Failure("memory", "none left"))
    with TemporaryDirectory() as place:
        folder = Path(place, "run")
        with Journal.create(folder, SETTINGS) as opened:
            write(opened, trials)
            opened.end("complete")
        with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
            connection.execute("VACUUM")
        return (folder / FILE_NAME).read_bytes()


def study() -> bytes:
    """A rediscovery of two searches, of which one failed."""
    settings = RediscoverySettings(("random",), seeds=2, trials=6)
    with TemporaryDirectory() as place:
        folder = Path(place, "study")
        with redirect_stderr(io.StringIO()):
            rediscover(folder, settings, {"executor": "in-process", "workers": 1})
        with closing(sqlite3.connect(folder / STUDY_FILE)) as connection:
            with connection:
                connection.execute("DELETE FROM results WHERE number = 1")
                connection.execute("INSERT INTO failed_attempts VALUES (1, 1, 1, 'died', 'the worker died', 2.5, 1)")
            connection.execute("VACUUM")
        return (folder / STUDY_FILE).read_bytes()
