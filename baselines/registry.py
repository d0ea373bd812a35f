"""The baselines by name: those that come with the package, and the user's own in ``specs/``."""

from __future__ import annotations

from pathlib import Path

from baselines.spec import BaselineSpec, read_spec
from search_spaces.errors import MnasError, unknown_name

PACKAGED = Path(__file__).parent / "specs"
# Where `mnas freeze` and `mnas scale` write, in the current directory: visible, and easy to commit and to share.
OWN = Path("specs")


def names() -> list[str]:
    """Names of all baselines, the package's and the user's own in the current directory."""
    return sorted({file.stem for folder in (PACKAGED, OWN) for file in folder.glob("*.yaml")})


def load(name: str) -> BaselineSpec:
    """The baseline of that name, or the spec in the file of that path.

    Raises:
        MnasError: there is none (with the nearest name), or its file is no spec.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return read_spec(Path(name))
    for folder in (PACKAGED, OWN):
        file = folder / f"{name}.yaml"
        if name and file.is_file():
            spec = read_spec(file)
            if spec.name != name:
                raise MnasError(f"{file}: name: {spec.name!r} is not that of the file; rename one of them")
            return spec
    raise unknown_name("baseline", name, names())


def own_file(name: str) -> Path:
    """Where a new baseline of the user's is written.

    Raises:
        MnasError: the package has a baseline of that name.
    """
    if (PACKAGED / f"{name}.yaml").is_file():
        raise MnasError(f"name: {name!r} is a baseline of the package; choose another name")
    return OWN / f"{name}.yaml"
