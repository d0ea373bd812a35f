"""How many files the parsed options of a command pass through.

    python benchmarks/options.py FILE FUNCTION [PARAMETER]    # such as nas/commands/search.py run

The namespace of argparse is followed from one function of the project to the next, without running anything: a name
that is assigned from an expression with a followed name is followed too, and so is the parameter of a function of the
project that is called with it. Two figures are printed: the files that see the namespace itself, and the files that see
it or a value made from it.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("search_spaces", "baselines", "nas", "scaling")
Place = tuple[Path, str, str]  # file, function, parameter


WAYS = {
    "itself": "the namespace itself",
    "derived": "the namespace or any value made from it",
}


def follow(root: Path, start: Place, way: str) -> set[Path]:
    """Files that a parameter reaches, in one of the `WAYS`."""
    seen, pending = {start}, [start]
    while pending:
        for reached in _passed_on(root, *pending.pop(), way):
            if reached not in seen:
                seen.add(reached)
                pending.append(reached)
    return {file for file, _, _ in seen}


def _passed_on(root: Path, file: Path, function: str, parameter: str, way: str) -> Iterator[Place]:
    """Parameters of the project's functions that are called with a followed name."""
    imports, functions = _read(root, file)
    if function not in functions:
        return
    body = functions[function]
    followed = {parameter}
    for _ in range(0 if way == "itself" else 3):  # an assignment may follow its use in a loop
        for node in ast.walk(body):
            if isinstance(node, ast.Assign) and _names(node.value) & followed:
                followed |= {name for target in node.targets for name in _names(target)}
            elif isinstance(node, ast.AnnAssign) and node.value and _names(node.value) & followed:
                followed |= _names(node.target)
    for call in (node for node in ast.walk(body) if isinstance(node, ast.Call)):
        target = _target(call.func, imports, file)
        if target is None or not target[0].is_file():
            continue
        callee = _read(root, target[0])[1].get(target[1])
        if callee is None:
            continue
        names = [argument.arg for argument in (*callee.args.posonlyargs, *callee.args.args)]
        names = names[1:] if names[:1] in (["self"], ["cls"]) else names
        given = [*zip(names, call.args, strict=False), *((key.arg, key.value) for key in call.keywords if key.arg)]
        for name, value in given:
            as_it_is = isinstance(value, ast.Name) and value.id in followed
            if as_it_is or (way != "itself" and _names(value) & followed):
                yield target[0], target[1], name


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


@cache
def _read(root: Path, file: Path) -> tuple[dict[str, tuple[Path, str]], dict[str, ast.FunctionDef]]:
    """What a file imports from the project, by the name it has there; and its functions, classes by ``__init__``."""
    tree = ast.parse(file.read_text())
    imports: dict[str, tuple[Path, str]] = {}
    functions: dict[str, ast.FunctionDef] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PACKAGES:
            for alias in node.names:
                module = root / Path(*str(node.module).split("."))
                inner = module / f"{alias.name}.py"
                place = (inner, "") if inner.is_file() else (module.with_suffix(".py"), alias.name)
                imports[alias.asname or alias.name] = place
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in PACKAGES:
                    imports[alias.asname or alias.name] = (root / f"{alias.name.replace('.', '/')}.py", "")
        elif isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, node)
        elif isinstance(node, ast.ClassDef):
            own = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            for part in own:
                functions.setdefault(f"{node.name}.{part.name}", part)
                if part.name == "__init__":
                    functions[node.name] = part
    return imports, functions


def _target(called: ast.expr, imports: dict[str, tuple[Path, str]], file: Path) -> tuple[Path, str] | None:
    """File and name of what is called, where it is a function or a class of the project."""
    if isinstance(called, ast.Name):
        return imports.get(called.id, (file, called.id))
    if isinstance(called, ast.Attribute):
        owner = ast.unparse(called.value)
        if owner in imports:
            place, inner = imports[owner]
            return place, f"{inner}.{called.attr}" if inner else called.attr
    return None


def main() -> None:
    """Print both figures, and the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("function")
    parser.add_argument("parameter", nargs="?", default="arguments")
    arguments = parser.parse_args()
    start = (arguments.file.resolve(), arguments.function, arguments.parameter)
    root = next(folder for folder in start[0].parents if (folder / "setup.cfg").is_file())
    for way, what in WAYS.items():
        files = sorted(str(file.relative_to(root)) for file in follow(root, start, way))
        sys.stdout.write(f"{len(files)} files see {what}: {', '.join(files)}\n")


if __name__ == "__main__":
    main()
