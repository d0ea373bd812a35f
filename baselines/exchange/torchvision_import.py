"""Import of torchvision that works with any build of torch.

torchvision on PyPI is built for torch with CUDA. With a CPU-only torch its compiled operators do not load, so importing
it fails with "operator torchvision::nms does not exist", although none of its models needs these operators.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

from search_spaces.errors import MnasError, not_installed

_libraries: list[Any] = []  # an operator lives as long as the library that declares it


def import_torchvision() -> Any:
    """The module ``torchvision``. Missing operators are declared, so that everything that does not call them works.

    Raises:
        MnasError: torchvision is not installed, or does not match this torch.
    """
    for _ in range(20):
        try:
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            raise not_installed("torchvision", str(error.name), "torchvision") from None
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise MnasError(f"torchvision: {error}; install the version that matches this torch") from None
            _declare(missing[1])
    raise MnasError("torchvision: too many operators are missing; install the version that matches this torch")


def _declare(operator: str) -> None:
    import torch

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(f"{operator}() -> ()")  # type: ignore[no-untyped-call]
    _libraries.append(library)
