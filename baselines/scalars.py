"""Scalars for TensorBoard, written with its own record writer.

``torch.utils.tensorboard`` would do the same, but it imports torch, and its thread fails with a traceback on a full
disk. Nothing depends on these files: if they cannot be written, a line on stderr says so and the work continues.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from baselines.notices import say

# Longest delay until a scalar is visible in TensorBoard.
FLUSH_SECONDS = 5.0


class Scalars:
    """Writes scalars into a folder; use it in a ``with`` statement.

    Args:
        folder: folder of the event files; created if needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._flushed = time.monotonic()
        self._writer: Any = None

    def __enter__(self) -> Scalars:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self._disabled_on_error():
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._folder.is_symlink():
                raise OSError(errno.ELOOP, "it is a link, which may point anywhere")
            now = time.time()
            name = f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}"
            self._writer = RecordWriter((self._folder / name).open("xb"))
            self._writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._disabled_on_error():
            if self._writer is not None:
                self._writer.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write values at a step."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._writer is None:
            return
        with self._disabled_on_error():
            scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            event = Event(wall_time=time.time(), step=step, summary=Summary(value=scalars))
            self._writer.write(event.SerializeToString())
            if time.monotonic() > self._flushed + FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = time.monotonic()

    @contextmanager
    def _disabled_on_error(self) -> Iterator[None]:
        """Stop writing scalars if writing inside fails."""
        try:
            yield
        except OSError as error:
            self._writer = None
            reason = error.strerror
            say(f"mnas: TensorBoard files cannot be written ({reason}); continuing without them")
