"""A training on several devices of this machine: a process each, whose gradients are averaged (DDP).

On a CPU the devices are processes, which is how it is tested; they share its cores.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import torch
from torch import multiprocessing

from baselines.interrupts import end_with_parent, interrupts_held
from baselines.training.run import check_devices, train_in
from baselines.training.train import DivergenceError
from search_spaces.errors import MnasError

if TYPE_CHECKING:
    from baselines.training.train import Progress

LOOK_SECONDS = 0.2


def train_in_ranks(folder: Path, devices: int, watch: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
    """Train in a folder on several devices, from where it is to its end or until it is to stop.

    Raises:
        KeyboardInterrupt: it was to stop.
        MnasError: there are not so many GPUs, or as `baselines.training.train.train`.
    """
    check_devices(devices, torch.cuda.device_count())
    spawning = multiprocessing.get_context("spawn")
    said, stopping = spawning.Queue(), spawning.Event()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        spawning.Process(target=_rank, args=(rank, devices, port, folder, said, stopping)) for rank in range(devices)
    ]
    with interrupts_held():
        for process in ranks:
            process.start()
    try:
        while _word(said, watch) or not _ended(ranks):
            if stop():
                stopping.set()
        codes = [process.exitcode for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.join()
    if any(codes):
        if stopping.is_set():
            raise KeyboardInterrupt
        ended = ", ".join(str(code) for code in codes if code)
        raise MnasError(f"train: a process of it ended with exit code {ended}; go on with --resume")


def _word(said: Any, watch: Callable[[Progress], None]) -> bool:
    """Pass on what the processes have to say; whether there was anything."""
    try:
        word = said.get(timeout=LOOK_SECONDS)
    except Empty:
        return False
    if isinstance(word, MnasError):
        raise word
    watch(word)
    return True


def _ended(ranks: Sequence[Any]) -> bool:
    """Whether the processes have come to their end, all or (by a failure) one."""
    codes = [process.exitcode for process in ranks]
    return None not in codes or any(codes)


def _rank(rank: int, devices: int, port: int, folder: Path, said: Any, stopping: Any) -> None:
    """One of the processes."""
    os.setsid()  # an interrupt from the terminal is the parent's to handle
    end_with_parent()
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    importlib.import_module("lightning_fabric")  # which sets its logger's level
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, torch.get_num_threads() // devices))
    try:
        train_in(folder, None, said.put, stopping.is_set if rank == 0 else _never)
    except MnasError as error:
        said.put((DivergenceError if isinstance(error, DivergenceError) else MnasError)(str(error)))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except RuntimeError as error:
        if stopping.is_set():  # the first process has left, and the others cannot go on
            raise SystemExit(130) from None
        print(f"mnas: device {rank}: {(str(error).splitlines() or [''])[0]}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _never() -> bool:
    return False
