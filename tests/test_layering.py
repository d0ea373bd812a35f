"""The layout is tested: who may import whom, no cycles, and what must not be imported at start."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from fnmatch import fnmatch
from itertools import combinations
from pathlib import Path

import pytest

from nas.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
# From the bottom up: a package imports only what stands before it.
PACKAGES = ("search_spaces", "baselines", "nas", "scaling")
ALLOWED = {package: set(PACKAGES[:place]) for place, package in enumerate(PACKAGES)}
# Names stand to the left of this column in the README's tree.
TREE_WIDTH = 26
# Tests of a module are in the file that mirrors its path. A suite that tests several modules stands for them here.
SUITES = {
    "tests/conformance/test_spaces.py": ("search_spaces.efficientnet", "search_spaces.registry"),
    "tests/conformance/test_controllers.py": ("nas.controllers.*",),
    "tests/conformance/test_evaluators.py": ("nas.evaluators.base",),
    "tests/conformance/test_executors.py": ("nas.executors.*", "nas.evaluators.work"),
    # Every command is called as a person calls it; what it prints is what the views make.
    "tests/test_command.py": ("*.commands.*", "baselines.comparators", "nas.views.*", "scaling.views.*"),
    "tests/test_layering.py": ("search_spaces.lazily",),
    "tests/search_spaces/test_network.py": ("search_spaces.layers",),
    "tests/baselines/exchange/test_formats.py": ("baselines.exchange.*",),
    "tests/baselines/exchange/test_weights.py": ("baselines.exchange.namings",),
    "tests/baselines/views/test_terminal.py": ("baselines.views.spec", "baselines.views.latency"),
    "tests/baselines/views/test_published.py": ("baselines.views.stages",),
    "tests/baselines/training/data/test_sources.py": ("baselines.training.data.*",),
    "tests/baselines/training/test_launch.py": (
        "baselines.training.folder",
        "baselines.training.predict",
        "baselines.training.settings",
        "baselines.views.training",
        "baselines.scalars",
    ),
    "tests/baselines/training/test_classify.py": ("baselines.views.predictions",),
    "tests/baselines/training/test_export.py": ("baselines.views.export",),
    "tests/baselines/training/test_loop.py": (
        "baselines.training.batches",
        "baselines.training.checkpoint",
        "baselines.training.optimizer",
    ),
    "tests/baselines/training/test_memory_plan.py": ("baselines.memory",),
    "tests/nas/test_plugins.py": ("search_spaces.plugins", "search_spaces.nni_import", "nas.check"),
    "tests/nas/test_api.py": ("nas.found",),
    "tests/nas/test_journal.py": ("nas.journal_format",),
    "tests/nas/test_resume.py": ("nas.trial",),
    "tests/nas/test_faults.py": ("nas.monitor",),
    "tests/nas/test_search_loop.py": ("nas.proposer",),
    "tests/nas/evaluators/test_imagenet.py": ("nas.predictors.accel_nasbench", "nas.predictors.*imagenet"),
    "tests/nas/costs/test_metrics.py": ("nas.predictors.*hardware",),
    "tests/nas/evaluators/test_table.py": ("nas.evaluators.table_file",),
    "tests/nas/studies/test_engine.py": ("nas.studies.journal", "nas.studies.progress", "nas.studies.searches"),
    "tests/nas/studies/test_trained_comparison.py": ("nas.studies.trainings",),
    "tests/scaling/test_api.py": ("scaling.specs",),
    "tests/nas/studies/test_contestants.py": ("baselines.statistics",),
    "tests/scaling/test_budget.py": ("scaling.nearest", "scaling.ray"),
    "tests/scaling/test_compound.py": ("scaling.published", "scaling.released"),
    "tests/scaling/views/test_explanation.py": ("scaling.views.growth_figure",),
    "tests/scaling/studies/test_racing.py": ("scaling.studies.standings",),
    "tests/scaling/test_coefficients.py": ("scaling.studies.candidates",),
    "tests/scaling/test_explanation.py": ("scaling.advice", "scaling.sizes"),
    "tests/scaling/studies/test_ablation.py": ("scaling.studies.baseline",),
    "tests/scaling/studies/test_coefficient_search.py": ("scaling.studies.search_result",),
}
# The command mounts the commands of every package.
MOUNTS = {("nas.__main__", "scaling")}


def modules() -> dict[str, Path]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(file: Path) -> set[str]:
    """Modules that a file imports when it runs, inside functions too; imports for type checkers do not count."""
    tree = ast.parse(file.read_text())
    found: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        pending.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    for name, file in modules().items():
        if name.split(".")[0] == package:
            others = {module.split(".")[0] for module in imports(file)} & set(PACKAGES) - {package}
            allowed = ALLOWED[package] | {other for module, other in MOUNTS if module == name}
            assert others <= allowed, f"{name} imports {others - allowed}"


def test_no_import_cycle() -> None:
    known = modules()
    graph = {
        name: {module for module in imports(file) if module in known and module != name} for name, file in known.items()
    }
    # A package's __init__ gathers its modules; that is no cycle, since modules import each other by their own path.
    graph = {name: {other for other in others if not other_is_package(other)} for name, others in graph.items()}
    done: set[str] = set()
    while graph:
        free = {name for name, others in graph.items() if others <= done}
        assert free, f"import cycle among {sorted(graph)}"
        done |= free
        graph = {name: others for name, others in graph.items() if name not in free}


def other_is_package(name: str) -> bool:
    return (ROOT / Path(*name.split("."))).is_dir()


def test_modules_of_a_package_import_each_other_by_their_own_path() -> None:
    for name, file in modules().items():
        package = name.split(".")[0]
        if name != package:
            assert package not in imports(file), f"{name} imports from its own package's __init__"


@pytest.mark.parametrize("package", ["search_spaces", "baselines", "scaling", "nas.commands.spaces"])
def test_imports_at_start_are_light(package: str) -> None:
    heavy = ("torch", "nni", "tensorboard", "scipy", "rich", "yaml", "lightning", "pytorch_lightning")
    code = f"import sys, {package}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_what_is_public(package: str) -> None:
    """``__all__`` names what the package's file imports for its users, no more and no less."""
    module = importlib.import_module(package)
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PACKAGES
        for alias in node.names
    }
    assert sorted(module.__all__) == sorted(imported)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_nas_stays_small() -> None:
    """New files go into its folders."""
    assert len(list((ROOT / "nas").glob("*.py"))) <= 16


def test_every_command_lives_in_a_file_of_its_name() -> None:
    files = {
        f"{package}.commands.{file.stem}" for package in PACKAGES for file in (ROOT / package / "commands").glob("*.py")
    }
    shared = {f"{package}.commands.__init__" for package in PACKAGES} | {
        "baselines.commands.options",
        "baselines.commands.parser",
        "nas.commands.trainings",
    }
    assert {command.module(name) for name, command in COMMANDS.items()} == files - shared
    for name, command in COMMANDS.items():
        assert command.module(name).rsplit(".", 1)[1].rstrip("_") == name.replace("-", "_")


def test_no_group_of_options_is_declared_twice() -> None:
    """No two places declare the same two or more options: a group lives in `baselines.commands.options`, or is derived.

    A place is a function; an option is the first argument of ``add_argument`` that begins with ``--``.
    """
    places: dict[str, set[str]] = {}
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                places[f"{name}.{node.name}"] = {
                    str(call.args[0].value)
                    for call in ast.walk(node)
                    if isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Attribute)
                    and call.func.attr == "add_argument"
                    and call.args
                    and isinstance(call.args[0], ast.Constant)
                    and str(call.args[0].value).startswith("--")
                }
    for (one, flags), (other, others) in combinations(places.items(), 2):
        assert len(flags & others) < 2, f"{one} and {other} both declare {sorted(flags & others)}"


def test_readme_tree_matches_the_disk() -> None:
    """Every folder of the packages, and every file at their roots, is in the README's tree; all in the tree exists."""
    lines = (ROOT / "README.md").read_text().split("```text\n")[1].split("```")[0].splitlines()
    named: set[str] = set()
    folders: list[str] = []
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        entry = line[:TREE_WIDTH].strip()
        named.add("".join(folders[:depth]) + entry)
        folders = [*folders[:depth], entry]
    for entry in named:
        assert (ROOT / entry).exists(), f"README names {entry}"
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            name = str(path.relative_to(ROOT)) + ("/" if path.is_dir() else "")
            listed = path.is_dir() or (path.parent == ROOT / package and path.suffix == ".py")
            if "__pycache__" not in name and path.name != "__init__.py" and listed:
                assert name in named, f"README leaves out {name}"


def test_tests_mirror_the_packages() -> None:
    """A module's tests are found by its name, or in a suite that stands for it."""
    without = set()
    for name, file in modules().items():
        place = file.relative_to(ROOT)
        mirror = ROOT / "tests" / place.parent / f"test_{place.stem.strip('_')}.py"
        if file.name != "__init__.py" and not mirror.exists():
            without.add(name)
    patterns = [pattern for suite in SUITES.values() for pattern in suite]
    assert {name for name in without if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    for suite, patterns in SUITES.items():
        assert (ROOT / suite).exists(), suite
        for pattern in patterns:
            assert any(fnmatch(name, pattern) for name in without), f"{suite} need not stand for {pattern}"
