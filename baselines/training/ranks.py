"""Training on several devices of this machine: one process per device, with averaged gradients (DDP).

On a CPU the devices are processes that share its cores; the tests use that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import torch
from torch import multiprocessing

from baselines.interrupts import end_with_parent, starting_children
from baselines.notices import say
from baselines.training.folder import train_in
from baselines.training.loop import DivergenceError
from baselines.training.settings import check_devices
from search_spaces.errors import MnasError

if TYPE_CHECKING:
    from baselines.training.loop import Progress

LOOK_SECONDS = 0.2


def train_in_ranks(folder: Path, devices: int, watch: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
    """Start or resume the training in a folder on several devices, until it ends or is stopped.

    Args:
        folder: folder of the training.
        devices: number of devices.
        watch: function that is called with the progress.
        stop: function that returns whether to stop.

    Raises:
        KeyboardInterrupt: the training was stopped.
        MnasError: there are fewer GPUs, or `baselines.training.loop.train` raised it.
    """
    check_devices(devices, torch.cuda.device_count())
    context = multiprocessing.get_context("spawn")
    with starting_children():  # they start a process of their own
        messages, stopping = context.Queue(), context.Event()
    with socket.socket() as free_socket:
        free_socket.bind(("127.0.0.1", 0))
        port = free_socket.getsockname()[1]
    ranks = [
        context.Process(target=_run_rank, args=(rank, devices, port, folder, messages, stopping))
        for rank in range(devices)
    ]
    with starting_children():
        for process in ranks:
            process.start()
    try:
        while _handle_message(messages, watch) or not _have_ended(ranks):
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
        failed = ", ".join(str(code) for code in codes if code)
        raise MnasError(f"train: a process ended with exit code {failed}; use --resume to resume the training")


def _handle_message(messages: Any, watch: Callable[[Progress], None]) -> bool:
    """Pass progress on to ``watch`` and raise errors. Returns whether there was a message."""
    try:
        message = messages.get(timeout=LOOK_SECONDS)
    except Empty:
        return False
    if isinstance(message, MnasError):
        raise message
    watch(message)
    return True


def _have_ended(ranks: Sequence[Any]) -> bool:
    """Whether all processes have ended, or one has failed."""
    codes = [process.exitcode for process in ranks]
    return None not in codes or any(codes)


def _run_rank(rank: int, devices: int, port: int, folder: Path, messages: Any, stopping: Any) -> None:
    """Train as one of the processes."""
    os.setsid()  # the parent handles interrupts from the terminal
    end_with_parent()
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        train_in(folder, None, messages.put, stopping.is_set if rank == 0 else _never)
    except MnasError as error:
        messages.put((DivergenceError if isinstance(error, DivergenceError) else MnasError)(str(error)))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except RuntimeError as error:
        if stopping.is_set():  # the first process has ended, so the others cannot continue
            raise SystemExit(130) from None
        say(f"mnas: device {rank}: {(str(error).splitlines() or [''])[0]}")
        raise SystemExit(1) from None


def _never() -> bool:
    return False
