"""Memory: peak use, free memory, and how the C library keeps freed memory."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Options of mallopt: from these sizes on, glibc returns freed memory to the system, at the end of the heap and for
# separately mapped pieces.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Thresholds in bytes to return memory at once, and to keep it, which glibc reaches by itself for pieces of this size.
_AT_ONCE_BYTES, _KEEP_BYTES = 2**20, 2**25
_returning_at_once = False
# Files of a memory control group, for version 2 and 1: limit, current use, and the part of it that is inactive files.
_GROUP_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


@dataclass
class Peak:
    """Result of `measured_peak`.

    Attributes:
        bytes: peak bytes of the tensors created while measuring.
    """

    bytes: int = 0


@contextmanager
def measured_peak(device: Any) -> Iterator[Peak]:
    """Measure the peak bytes of tensors, without those that exist at the start.

    On a GPU this asks the allocator; on a CPU it watches every operation, which slows it down.

    Args:
        device: a ``torch.device``.

    Yields:
        The peak; its ``bytes`` are final after the context ends.
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
    """A torch dispatch mode that tracks the bytes of all storages that operations create, while they exist."""
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
            # Inputs existed before (weights, images) or are already known.
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
    """Make glibc return freed feature maps to the system at once, or keep them for later. No effect without glibc.

    Kept memory is rarely of the size that is needed next: with recomputed blocks, B5 took twice the memory of its
    tensors. Returning it costs a fifth of the time of a network with large feature maps, and half with small ones.
    """
    global _returning_at_once  # noqa: PLW0603  the allocator that it describes is global to the process too
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None or at_once == _returning_at_once:  # until mallopt is called, glibc adapts its thresholds itself
        return
    mallopt(_M_MMAP_THRESHOLD, _AT_ONCE_BYTES if at_once else _KEEP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, 2 * (_AT_ONCE_BYTES if at_once else _KEEP_BYTES))
    _returning_at_once = at_once


def resident_bytes() -> int:
    """Bytes of memory used by this process, without mapped files and memory that the C library keeps for later."""
    import psutil

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def device_here() -> Any:
    """The default ``torch.device``: a GPU if there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_bytes(device: Any) -> int:
    """Free bytes for a ``torch.device``: on the GPU, or on the machine within the limits of its control groups."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return min([int(psutil.virtual_memory().available), *_free_of_groups()])


def _free_of_groups() -> Iterator[int]:
    """Free bytes within the limit of each control group of this process, up to the root (versions 1 and 2)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controller, path = line.split(":", 2)
        if controller not in _GROUP_FILES:
            continue
        root = Path("/sys/fs/cgroup") / controller
        limit_file, usage_file, inactive_key = _GROUP_FILES[controller]
        place = Path(path.lstrip("/"))
        for group in (root / place, *(root / parent for parent in place.parents)):
            try:
                used = int((group / usage_file).read_text())
                # Cached files count as used, but the system drops them when memory is needed.
                for entry in (group / "memory.stat").read_text().splitlines():
                    if entry.split()[0] == inactive_key:
                        used -= int(entry.split()[1])
                yield max(0, int((group / limit_file).read_text()) - used)
            except (OSError, ValueError):  # no such file, or no limit ("max")
                continue
