"""Memory: what a piece of work holds at once, what there is, and what the C library does with it."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# mallopt's name for the size from which glibc gives freed memory back at once; a size for it, and the one that glibc
# itself ends with where such memory was freed.
_M_MMAP_THRESHOLD, _GIVEN_BACK, _KEPT = -3, 2**20, 2**25


@dataclass
class Peak:
    """What `measured_peak` finds.

    Attributes:
        bytes: the most that lived at once of what was made meanwhile.
    """

    bytes: int = 0


@contextmanager
def measured_peak(device: Any) -> Iterator[Peak]:
    """Measure the most bytes of tensors that live at once, beside those that are there at the start.

    On a GPU its allocator is asked; on a CPU every operation is watched, which slows it down.

    Args:
        device: a ``torch.device``.
    """
    import torch

    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = int(torch.cuda.max_memory_allocated(device) - before)
        return
    with _storage_meter(peak):
        yield peak


def _storage_meter(peak: Peak) -> Any:
    """Counts the bytes of all storages that operations make, while they live."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.now = 0
            self.known: set[int] = set()

        def forget(self, key: int, size: int) -> None:
            self.known.discard(key)
            self.now -= size

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # What comes in was there before (weights, images) or is known.
            for leaf in tree_leaves((args, kwargs or {})):
                if isinstance(leaf, Tensor):
                    self.known.add(leaf.untyped_storage()._cdata)
            result = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    storage = leaf.untyped_storage()
                    key = storage._cdata
                    if key not in self.known:
                        self.known.add(key)
                        self.now += storage.nbytes()
                        peak.bytes = max(peak.bytes, self.now)
                        weakref.finalize(storage, self.forget, key, storage.nbytes())
            return result

    return Meter()


def give_back_maps(*, at_once: bool) -> None:
    """Have the C library give freed feature maps back to the system at once, or keep them for later ones (glibc alone).

    What it keeps is rarely of the size that is asked for next: with blocks computed again, B5 had twice the memory that
    its tensors had. Giving back costs a fifth of the time of a network with large maps, and half with small ones.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _GIVEN_BACK if at_once else _KEPT)


def resident_bytes() -> int:
    """Bytes of memory that this process has, without what the C library only holds for later."""
    import psutil

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)

    return int(psutil.Process().memory_info().rss)


def free_bytes(device: Any) -> int:
    """Bytes that are free for a ``torch.device``: on the GPU; or on the machine, and in the own control group."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        group = Path("/sys/fs/cgroup")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # none, or "max"
        pass
    return free
