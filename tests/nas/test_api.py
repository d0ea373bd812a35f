"""The Python front door: names and objects, in a file, in ``python -c`` and in a notebook."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nas
import nas.api
import scaling
from baselines import load
from nas.__main__ import main
from nas.evaluators.base import Evaluator, Metrics
from nas.evaluators.registry import name_of_evaluator
from nas.journal import Journal
from search_spaces import Architecture, ChoiceSpace, MnasError, StageChoices, StageSpace, architecture_cost, load_space
from tests.processes import ROOT, environment

# A custom space and evaluator, a search, a spec and a comparison: twelve lines.
SCRIPT = """
import dataclasses, baselines, nas, search_spaces as s
b0 = baselines.load("efficientnet_b0").architecture
stages = [s.StageChoices((3, 5), (1, 6), (0.0, 0.25), (16, 24), (1, 2), 2) for _ in range(2)]
space = s.StageSpace("mine", dataclasses.replace(b0, stages=b0.stages[:2]), stages)
class Mine(nas.Evaluator):
    name, meaning = "mine", "share of a million parameters, as top-1"
    def check(self, architecture): pass
    def evaluate(self, architectures, seed=0):
        return [nas.Metrics(min(1.0, s.architecture_cost(a).params / 1e7)) for a in architectures]
found = nas.search(target_macs=100e6, space=space, evaluator=Mine(), controller="random", trials=20, out="run")
spec = found.freeze("mine")
print(spec.digest, nas.compare([spec, "efficientnet_b0"], evaluator=Mine()).differences[0].macs_ratio < 1)
"""


LIMITED = {"time_limit": 5.0, "executor": "in-process"}


class Params(Evaluator):
    """Accuracy that grows with the parameters."""

    name = "params"
    meaning = "share of ten million parameters, as top-1"

    def check(self, architecture: Architecture) -> None:
        pass

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return [Metrics(min(1.0, architecture_cost(one).params / 1e7)) for one in architectures]


@pytest.fixture
def small(b0: Architecture) -> StageSpace:
    stages = [StageChoices((3, 5), (1, 6), (0.0, 0.25), (16, 24), (1, 2), 2) for _ in range(2)]
    return StageSpace("small", replace(b0, stages=b0.stages[:2]), stages)


def test_the_script_is_short() -> None:
    assert len(SCRIPT.strip().splitlines()) <= 12


def test_a_script_with_classes_of_its_own_runs_as_a_file_and_in_python_c(workplace: Path) -> None:
    Path("script.py").write_text(SCRIPT)
    printed = []
    for name, command in (("file", ["script.py"]), ("c", ["-c", SCRIPT])):
        Path(name).mkdir()
        arguments = [sys.executable, *(str(workplace / one) if one.endswith(".py") else one for one in command)]
        done = subprocess.run(arguments, cwd=name, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
        assert Path(name, "specs", "mine.yaml").is_file()
    assert printed[0] == printed[1]
    assert printed[0].endswith("True\n")


def test_the_script_runs_in_a_notebook_and_results_show_as_html(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook()
    cells = (SCRIPT, "found", "nas.compare([spec, 'mobilenet_v2'])")
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(workplace))
    for cell, word in zip(notebook.cells[1:], ("Found", "mine"), strict=True):
        (output,) = [one for one in cell.outputs if one.output_type == "execute_result"]
        assert word in output.data["text/html"]
        assert output.data["text/plain"].startswith(("Found(", "Comparison("))


def test_names_and_objects_give_the_same_trials(workplace: Path) -> None:
    from nas.controllers.random import RandomController
    from nas.evaluators.imagenet import ImageNetPredictor

    by_name = nas.search(200e6, controller="random", trials=30, out="a")
    given = {"space": load_space("efficientnet"), "evaluator": ImageNetPredictor(), "controller": RandomController}
    by_object = nas.search(targets={"macs": 200e6}, trials=30, out="b", **given)  # type: ignore[arg-type]
    assert [trial.genotype for trial in by_name.trials] == [trial.genotype for trial in by_object.trials]
    assert by_name.best.reward == by_object.best.reward
    # Built-in objects are named as such, so that the run needs no object to be resumed.
    assert by_object.settings.evaluator == "imagenet"
    assert by_object.settings.controller == "random"
    assert nas.load_run("b").best == by_object.best


def test_command_and_function_have_the_same_defaults(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--trials", "20", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert json.loads(json.dumps(nas.search(trials=20).settings.as_dict())) == settings


def test_a_run_with_objects_is_resumed_with_them(workplace: Path, small: StageSpace) -> None:
    whole = nas.search(100e6, space=small, evaluator=Params(), controller="bayesian", trials=24, out="whole")
    nas.search(100e6, space=small, evaluator=Params(), controller="bayesian", trials=8, out="cut")
    code = "import nas; nas.resume('cut', trials=24)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "space: small was given as a Python object" in last
    assert "nas.resume(FOLDER, space=…)" in last
    again = nas.resume("cut", trials=24, space=small, evaluator=Params())
    assert again.best.genotype == whole.best.genotype
    assert [trial.reward for trial in again.trials] == [trial.reward for trial in whole.trials]
    assert nas.load_run("cut", space=small, evaluator=Params).done == 24


def test_objects_of_one_name_stay_apart(workplace: Path, small: StageSpace) -> None:
    """The second class of the same name must not be used for the first."""

    class Twice(Params):
        pass

    first = Twice()

    class Twice(Params):  # type: ignore[no-redef]
        def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
            return [Metrics(0.25) for _ in architectures]

    one = nas.search(100e6, space=small, evaluator=first, controller="random", trials=5, out="one")
    two = nas.search(100e6, space=small, evaluator=Twice(), controller="random", trials=5, out="two")
    assert one.settings.evaluator != two.settings.evaluator
    assert {trial.metrics for trial in two.trials} == {Metrics(0.25)}
    assert one.evaluator is first


class Constant(Evaluator):
    """Gives every network the same accuracy."""

    name, meaning = "constant", "a constant"

    def __init__(self, accuracy: float = 0.5) -> None:
        self.accuracy = accuracy

    def check(self, network: object) -> None:
        pass

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return [Metrics(self.accuracy) for _ in architectures]


def test_objects_of_runs_stay_apart(workplace: Path, small: StageSpace) -> None:
    """Two runs with evaluators of one class, opened side by side, in this process and as if in another."""
    one = nas.search(100e6, space=small, evaluator=Constant(0.3), controller="random", trials=3, out="one")
    nas.search(100e6, space=small, evaluator=Constant(0.8), controller="random", trials=3, out="two")
    other = Constant(0.8)
    two = nas.load_run("two", space=small, evaluator=other)
    assert two.evaluator is other
    assert (one.evaluator.accuracy, two.evaluator.accuracy) == (0.3, 0.8)  # type: ignore[attr-defined]
    with pytest.raises(MnasError, match=r"was given as a Python object.*nas.resume\(FOLDER, (space|evaluator)=…\)"):
        nas.resume("two", trials=5)  # which of the objects of this process is it?
    longer = nas.resume("one", trials=5, space=small, evaluator=Constant(0.3))
    assert {trial.metrics for trial in longer.trials} == {Metrics(0.3)}
    assert one.freeze("kept").provenance.search.evaluator == "object:Constant"  # type: ignore[union-attr]


def test_equal_searches_with_objects_have_the_same_digest(workplace: Path, small: StageSpace) -> None:
    for out in ("a", "b"):
        nas.search(100e6, space=small, evaluator=Constant, controller="random", trials=3, out=out)
    digests = {out: nas.load_run(out, space=small, evaluator=Constant) for out in ("a", "b")}
    assert digests["a"].settings != digests["b"].settings  # two objects in this process
    with Journal.open(Path("a"), names={"space": small_name(small), "evaluator": name_of_evaluator(Constant)}) as a:
        first = a.digest()
    with Journal.open(Path("b"), names={"space": small_name(small), "evaluator": name_of_evaluator(Constant)}) as b:
        assert b.digest() == first


def small_name(space: StageSpace) -> str:
    from search_spaces.registry import name_of_space

    return name_of_space(space)


def test_networks_of_one_name(workplace: Path) -> None:
    """Two runs whose specs have the same name are told apart by their folders; a network given twice is refused."""
    with pytest.raises(MnasError, match="compare: efficientnet_b0 is given twice; remove one"):
        nas.compare(["efficientnet_b0", "mobilenet_v2", "efficientnet_b0"])
    compared = nas.compare(["efficientnet_b0", "mobilenet_v2"], reference="efficientnet_b0")
    assert [judged.name for judged in compared.judged] == ["mobilenet_v2", "efficientnet_b0"]
    nas.search(200e6, controller="random", trials=3, seed=1, out="a")
    nas.search(200e6, controller="random", trials=3, seed=2, out="b")
    assert [judged.name for judged in nas.compare(["a", "b"]).judged] == ["a", "b"]


def test_arguments_of_other_types(workplace: Path) -> None:
    found = nas.search(controller="random", trials=np.int64(3), seed=np.int64(1), out="run")
    for call in (
        lambda: found.freeze("x", trial=found.best),  # type: ignore[arg-type]
        lambda: found.freeze("x", trial=1.0),  # type: ignore[arg-type]
        lambda: found.freeze(None),  # type: ignore[arg-type]
        lambda: nas.search(targets={1: 1}),  # type: ignore[dict-item]
    ):
        with pytest.raises(TypeError, match="expected"):
            call()
    assert not Path("specs").exists()
    with pytest.raises(MnasError, match="compare: the space has choices and no architectures"):
        nas.compare(["efficientnet_b0", "mobilenet_v2"], space=ChoiceSpace("own", {"a": (1, 2)}), evaluator=Constant())
    with pytest.raises(MnasError, match="name: '' is not a valid name"):
        scaling.scale("efficientnet_b0", phi=1, name="")


def test_a_needless_object_is_refused(workplace: Path) -> None:
    nas.search(controller="random", trials=3, out="run")
    with pytest.raises(MnasError, match="evaluator: the run uses imagenet, which needs no object; remove evaluator"):
        nas.load_run("run", evaluator=Constant())


def test_a_table_needs_an_evaluator_of_a_table() -> None:
    with pytest.raises(MnasError, match="evaluator: constant cannot be combined with the space table"):
        nas.search(space="table", evaluator=Constant(), trials=3)


def test_what_a_users_evaluator_may_do_wrong(workplace: Path, small: StageSpace) -> None:
    class Needy(Constant):
        def __init__(self, wanted: int) -> None:
            super().__init__()

    class Picky(Constant):
        def check(self, network: object) -> None:
            raise KeyError("of its own")

    class Wrong(Constant):
        def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
            return [0.5 for _ in architectures]  # type: ignore[misc]

    with pytest.raises(MnasError, match=r"evaluator: .*Needy: TypeError"):
        nas.search(100e6, space=small, evaluator=Needy, trials=3)
    with pytest.raises(MnasError, match=r"constant: check failed \(KeyError"):
        nas.search(100e6, space=small, evaluator=Picky(), trials=3)
    found = nas.compare(["efficientnet_b0", "efficientnet_b1"], evaluator=Wrong())
    assert all("a result is a float and not Metrics" in str(judged.refusal) for judged in found.judged)
    assert not list(Path().glob("runs/*"))


@pytest.mark.parametrize("fields", [{"wrkers": 2}, {"time_limit": "10m"}, {"gpus": "1"}, {"executor": 3}])
def test_a_wrong_execution_is_one_line(workplace: Path, fields: dict[str, object]) -> None:
    nas.search(controller="random", trials=3, out="run")
    for call in (lambda: nas.search(trials=3, execution=fields), lambda: nas.resume("run", execution=fields)):
        with pytest.raises(MnasError) as error:
            call()
        assert "\n" not in str(error.value)
        assert next(iter(fields)) in str(error.value)


def test_workers_take_objects_that_they_can_import_and_refuse_others(workplace: Path, small: StageSpace) -> None:
    from tests.conformance.faulty_evaluator import Faulty

    b0 = load("efficientnet_b0").architecture
    stages = [StageChoices((3, 5), (1,), (0.0,), (16,), (1, 2), 2)]
    tiny = StageSpace("tiny", replace(b0, stages=b0.stages[:1], num_classes=1), stages)
    found = nas.search(80e6, space=tiny, evaluator=Faulty(), controller="random", trials=4, workers=2, out="run")
    assert {trial.metrics for trial in found.trials} == {Metrics(0.224)}

    class Local(Params):
        pass

    with pytest.raises(MnasError, match="Local is defined where other processes cannot import it; put it into a file"):
        nas.search(100e6, space=small, evaluator=Local(), workers=2, trials=5, out="other")
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (lambda: nas.search(20e6), ["search", "--target-macs", "20M"]),
        (lambda: nas.search(space="efficentnet"), ["search", "--space", "efficentnet"]),
        (lambda: nas.search(evaluator="imagnet"), ["search", "--evaluator", "imagnet"]),
        (lambda: nas.search(controller="bayesain"), ["search", "--controller", "bayesain"]),
        (lambda: nas.search(objective="sotf"), ["search", "--objective", "sotf"]),
        (lambda: nas.search(exponent=0.07), ["search", "--exponent", "0.07"]),
        (lambda: nas.search(trials=0), ["search", "--trials", "0"]),
        (lambda: nas.search(execution={"executor": "proceses"}), ["search", "--executor", "proceses"]),
        (
            lambda: nas.search(execution=LIMITED),
            ["search", "--time-limit", "5", "--executor", "in-process"],
        ),
        (lambda: nas.resume("absent"), ["search", "--resume", "absent"]),
        (lambda: nas.compare(["efficientnet_b0"]), ["compare", "efficientnet_b0"]),
        (lambda: nas.compare(["efficientnet_b0", "b9"]), ["compare", "efficientnet_b0", "b9"]),
        (lambda: scaling.scale("efficientnet_b0"), ["scale", "efficientnet_b0"]),
        (lambda: scaling.scale("efficientnet_b0", preset="b33"), ["scale", "efficientnet_b0", "--preset", "b33"]),
        (lambda: scaling.scale("efficientnet_b0", width=0.0), ["scale", "efficientnet_b0", "--width", "0"]),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_what_the_command_refuses_the_function_refuses(
    call: typing.Callable[[], object], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MnasError) as caught:
        call()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    if arguments[-2:] == ["--trials", "0"]:  # which the command refuses as it reads the option
        assert "0" in said
    else:
        assert said == f"mnas: {caught.value}\n"
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "call",
    [
        lambda: nas.search(space=3),  # type: ignore[arg-type]
        lambda: nas.search(evaluator=len),  # type: ignore[arg-type]
        lambda: nas.search(controller=3),  # type: ignore[arg-type]
        lambda: nas.compare([3, "efficientnet_b0"]),  # type: ignore[list-item]
        lambda: scaling.scale(3),  # type: ignore[arg-type]
    ],
)
def test_what_no_annotation_permits_is_a_type_error(call: typing.Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="expected"):
        call()


def test_compare_and_scale_take_architectures(b0: Architecture) -> None:
    scaled = scaling.scale(b0, preset="b1")
    assert architecture_cost(scaled.architecture).params == 7_794_184  # EfficientNet-B1, FACTS
    compared = nas.compare([scaled, b0], reference=b0)
    assert compared.reference.params == 5_288_548
    assert compared.differences[0].params_ratio == pytest.approx(7_794_184 / 5_288_548)
    turned = nas.compare(["efficientnet_b0", "mnasnet_a1"], reference="efficientnet_b0")
    assert [judged.name for judged in turned.judged] == ["mnasnet_a1", "efficientnet_b0"]


def test_help_and_hints_are_complete() -> None:
    """Every argument of the front door is annotated and described, and `dir` shows what is public."""
    from baselines.commands.options import documented

    assert dir(nas) == sorted(nas.__all__)
    for function in (nas.search, nas.resume, nas.load_run, nas.compare, scaling.scale):
        hints = typing.get_type_hints(function)
        described = documented(function)
        for name in inspect.signature(function).parameters:
            assert name in hints, (function, name)
            assert described.get(name), (function, name)
        assert "return" in hints
