"""Baselines by name: those of the package, and the user's own in ``specs/``."""

from __future__ import annotations

from pathlib import Path

from baselines.spec import BaselineSpec, read_spec
from search_spaces.errors import MnasError, unknown_name

PACKAGED = Path(__file__).parent / "specs"
# Folder that `mnas freeze` and `mnas scale` write to, in the current directory: visible, and easy to commit and share.
OWN = Path("specs")


def names() -> list[str]:
    """Names of all baselines, the package's and the user's own in the current directory."""
    return sorted({file.stem for folder in (PACKAGED, OWN) for file in folder.glob("*.yaml")})


def load(name: str) -> BaselineSpec:
    """Load a spec.

    Args:
        name: name of a baseline, path of a spec file, or folder of a training or a search.

    Raises:
        MnasError: the spec is not found (the nearest name is suggested), or its file is not a spec.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name or (name and Path(name).is_dir()):
        return read_spec(_spec_file(Path(name)))
    for folder in (PACKAGED, OWN):
        file = folder / f"{name}.yaml"
        if name and file.is_file():
            spec = read_spec(file)
            if spec.name != name:
                raise MnasError(f"{file}: name: {spec.name!r} is not the name of the file; rename one of them")
            return spec
    raise unknown_name("baseline", name, names())


def _spec_file(path: Path) -> Path:
    """The file itself, or the spec file in a folder of a training, or of a search's best network."""
    if not path.is_dir():
        return path
    for name in ("spec.yaml", "best.yaml"):
        if (path / name).is_file():
            return path / name
    raise MnasError(f"{path}: the folder holds no spec; expected the folder of a training or of a search")


def own_file(name: str) -> Path:
    """The file for a new baseline of the user.

    Raises:
        MnasError: the package has a baseline of that name.
    """
    if (PACKAGED / f"{name}.yaml").is_file():
        raise MnasError(f"name: {name!r} is a baseline of the package; choose another name")
    return OWN / f"{name}.yaml"
