"""The layout is tested: who may import whom, no cycles, and what must not be imported at start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("search_spaces", "baselines", "scaling", "nas")
ALLOWED = {
    "search_spaces": set(),
    "baselines": {"search_spaces"},
    "scaling": {"search_spaces", "baselines"},
    "nas": {"search_spaces", "baselines"},
}
# The command mounts the commands of every package.
MOUNTS = {("nas.__main__", "scaling")}


def modules() -> dict[str, Path]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(file: Path, *, top_level_only: bool = False) -> set[str]:
    """Modules that a file imports when it runs; imports for type checkers alone do not count."""
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
        if not (top_level_only and isinstance(node, ast.FunctionDef)):
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
        name: {module for module in imports(file, top_level_only=True) if module in known and module != name}
        for name, file in known.items()
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
        if name != package and package in ("search_spaces", "baselines", "scaling"):
            assert package not in imports(file), f"{name} imports from its own package's __init__"


@pytest.mark.parametrize("package", ["search_spaces", "baselines", "scaling", "nas.cli"])
def test_imports_at_start_are_light(package: str) -> None:
    heavy = ("torch", "nni", "tensorboard", "scipy", "rich", "yaml", "lightning", "pytorch_lightning")
    code = f"import sys, {package}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["search_spaces", "baselines", "scaling"])
def test_all_names_what_is_there(package: str) -> None:
    module = __import__(package)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_readme_tree_matches_the_disk() -> None:
    lines = (ROOT / "README.md").read_text().split("```text\n")[1].split("```")[0].splitlines()
    named: set[str] = set()
    folder = ""
    for line in lines:
        entry = line.split()[0]
        if not line.startswith(" "):
            folder = entry
            named.add(entry)
        else:
            named.add(folder + entry)
    for entry in named:
        assert (ROOT / entry).exists(), f"README names {entry}"
    for package in PACKAGES:
        for file in (ROOT / package).iterdir():
            path = f"{package}/{file.name}" + ("/" if file.is_dir() else "")
            if file.suffix == ".py" and file.name != "__init__.py" and not file.name.startswith("cli"):
                assert path in named, f"README leaves out {path}"
