"""torchvision's models beside any torch.

A torchvision from PyPI is built for the CUDA torch. Beside a CPU torch its compiled operators do not load, and then its
import fails on "operator torchvision::nms does not exist", although none of its models needs them.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

from search_spaces.errors import MnasError

_libraries: list[Any] = []  # an operator lives as long as the library that declares it


def import_torchvision() -> Any:
    """The module ``torchvision``, with its missing operators declared, so that what does not need them works.

    Raises:
        MnasError: it is not installed, or does not go with this torch.
    """
    for _ in range(20):
        try:
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            raise MnasError(f"torchvision: {error.name} is not installed; pip install 'mnas[torchvision]'") from None
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise MnasError(f"torchvision: {error}; install the one that goes with this torch") from None
            _declare(missing[1])
    raise MnasError("torchvision: too many of its operators are missing; install the one that goes with this torch")


def _declare(operator: str) -> None:
    import torch

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(f"{operator}() -> ()")  # type: ignore[no-untyped-call]
    _libraries.append(library)
