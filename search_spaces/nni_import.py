"""Importing NNI without the deep-learning frameworks that it would pull in.

``nni.nas`` imports ``nni.nas.<framework>`` as well, by default pytorch-lightning and all of torch (4 to 5 seconds, and
an error where lightning is not installed). The choices and the strategies need neither, so the framework is "none"
while NNI is being imported, and what it was again afterwards.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

_VARIABLE = "NNI_FRAMEWORK"


def import_nni(module: str) -> Any:
    """Import a module of NNI, such as ``nni.mutable`` or ``nni.nas.strategy``."""
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
