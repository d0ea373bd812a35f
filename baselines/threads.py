"""A limit on the threads of BLAS, OpenMP and torch, whenever they are imported."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

from threadpoolctl import LibController, ThreadpoolController

# Variables that a library reads when it is loaded.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class ThreadLimit:
    """A context that limits threads; it can be entered any number of times, also nested.

    The matrices of a search are small: more threads gain nothing, and if another process holds a core, they wait for
    each other and take many times as long. `threadpoolctl` limits only libraries that are already loaded. A library
    that is loaded inside the context reads its number of threads from the environment, which is set meanwhile. On exit,
    each library gets back its number of threads, and new libraries get as many as the others.

    Args:
        threads: number of threads of each library.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._depth = 0
        self._modules = -1
        self._libraries: list[LibController] = []
        self._environment: dict[str, str | None] = {}
        self._before: dict[str, int] = {}
        self._torch_before: int | None = None

    def __enter__(self) -> ThreadLimit:
        self._depth += 1
        if self._depth > 1:
            return self
        self._environment = {name: os.environ.get(name) for name in VARIABLES}
        os.environ.update(dict.fromkeys(VARIABLES, str(self._threads)))
        libraries = self._loaded()
        self._before = {library.filepath: library.get_num_threads() for library in libraries}
        for library in libraries:
            library.set_num_threads(self._threads)
        # torch's own number overrides that of OpenMP at the first parallel work of each thread.
        torch = _torch()
        self._torch_before = torch.get_num_threads() if torch else None
        if torch:
            torch.set_num_threads(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth:
            return
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        usual = max(self._before.values(), default=_cores())
        if torch := _torch():
            torch.set_num_threads(self._torch_before or usual)
        for library in self._loaded():
            library.set_num_threads(self._before.get(library.filepath, usual))

    def _loaded(self) -> list[LibController]:
        """The libraries in this process; searched again only after an import, since that takes some ms."""
        if self._modules != len(sys.modules):
            self._modules = len(sys.modules)
            self._libraries = ThreadpoolController().lib_controllers
        return self._libraries


def _torch() -> Any:
    """The torch module if its import is complete, else None."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_num_threads") and hasattr(torch, "set_num_threads") else None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
