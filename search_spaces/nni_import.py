"""Import NNI without the deep-learning frameworks that it would load.

``nni.nas`` also imports ``nni.nas.<framework>``; by default that loads pytorch-lightning and all of torch, which takes
4 to 5 seconds and fails where lightning is not installed. The choices and the strategies need neither. So the framework
is set to "none" while NNI is imported, and restored afterwards.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

_VARIABLE = "NNI_FRAMEWORK"


def import_nni(module: str) -> Any:
    """Import and return a module of NNI, such as ``nni.mutable`` or ``nni.nas.strategy``."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "none"
    try:
        framework = importlib.import_module("nni.common.framework")
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
    chosen = framework.get_default_framework()
    framework.set_default_framework("none")
    try:
        return importlib.import_module(module)
    finally:
        framework.set_default_framework(before or ("pytorch" if chosen == "none" else chosen))
