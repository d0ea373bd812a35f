"""The studies of scaling by their folders: an interrupted one is resumed, and the result of any is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from baselines.arguments import fields_of, typed
from nas.executors.base import Execution
from scaling.studies import ablation, coefficient_search, family_training, search_result
from scaling.studies.ablation import ABLATION, Ablation
from scaling.studies.family_training import FAMILY, TrainedFamily
from scaling.studies.search_result import SEARCH, CoefficientSearch
from search_spaces.errors import MnasError

Result = Ablation | TrainedFamily | CoefficientSearch

# How a study is run, and how its result is read, by its file.
_STUDIES: dict[str, tuple[Callable[[Path, Mapping[str, Any]], Result], Callable[[Path], Result]]] = {
    ABLATION.file: (ablation.run_ablation, ablation.read_result),
    FAMILY.file: (family_training.run_family, family_training.read_result),
    SEARCH.file: (coefficient_search.run_search, search_result.read_result),
}


@typed
def resume(folder: str | Path, *, execution: Execution | Mapping[str, Any] | None = None) -> Result:
    """Resume an ablation, the training of a family or a search for coefficients, and return its result.

    Args:
        folder: folder of the study.
        execution: where and how trainings run from now on, or some fields of it.

    Raises:
        MnasError: the folder holds no study of scaling, or a training fails.
        KeyboardInterrupt: it was stopped; finished trainings are kept.
    """
    path = Path(folder)
    return _STUDIES[_file_in(path)][0](path, fields_of(execution))


@typed
def load_run(folder: str | Path) -> Result:
    """Return the result of an ablation, a trained family or a search for coefficients; nothing is trained.

    Args:
        folder: folder of the study.

    Raises:
        MnasError: the folder holds no study of scaling; or trainings are missing, except in a search.
    """
    path = Path(folder)
    return _STUDIES[_file_in(path)][1](path)


def _file_in(folder: Path) -> str:
    """The file that tells the study in a folder. Raises `MnasError` if there is none."""
    for file in _STUDIES:
        if (folder / file).is_file():
            return file
    raise MnasError(f"folder: {folder} holds no study of scaling; use the folder of one (mnas runs lists them)")
