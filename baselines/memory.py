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

# mallopt's names for the sizes from which glibc gives freed memory back: a piece of its own, and the end of its heap.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# To give back at once; and what glibc itself comes to where pieces of this size were freed.
_AT_ONCE, _KEPT = 2**20, 2**25
_given_back = False
# Of a control group with memory, of version 2 and 1: its limit, what it uses, and what of that are files read long ago.
_GROUP_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


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
    global _given_back  # noqa: PLW0603  as is what it tells of: the process's one allocator
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None or at_once == _given_back:  # left alone, it finds its sizes by itself
        return
    mallopt(_M_MMAP_THRESHOLD, _AT_ONCE if at_once else _KEPT)
    mallopt(_M_TRIM_THRESHOLD, 2 * (_AT_ONCE if at_once else _KEPT))
    _given_back = at_once


def resident_bytes() -> int:
    """Bytes of memory of this process's own: without files that are mapped, and what the C library holds for later."""
    import psutil

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def device_here() -> Any:
    """The ``torch.device`` that is worked on where nothing else is said: a GPU where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_bytes(device: Any) -> int:
    """Bytes that are free for a ``torch.device``: on the GPU; or on the machine, and in the own control groups."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return min([int(psutil.virtual_memory().available), *_free_of_groups()])


def _free_of_groups() -> Iterator[int]:
    """What each control group that this process is in, up to the root, has left of its limit (both versions)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds not in _GROUP_FILES:
            continue
        root = Path("/sys/fs/cgroup") / kinds
        most, now, files = _GROUP_FILES[kinds]
        place = Path(path.lstrip("/"))
        for group in (root / place, *(root / parent for parent in place.parents)):
            try:
                used = int((group / now).read_text())
                # Files that were read count as used, and go when they must.
                for entry in (group / "memory.stat").read_text().splitlines():
                    if entry.split()[0] == files:
                        used -= int(entry.split()[1])
                yield max(0, int((group / most).read_text()) - used)
            except (OSError, ValueError):  # no such file, or no limit ("max")
                continue
