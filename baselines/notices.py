"""What a person is told on the way, on stderr: it is clean of control characters, and work never depends on it.

A terminal may be closed, or a pipe's reader may have seen enough; then the text is lost, and the work goes on. Names
that are shown may come from anybody, and a terminal obeys the escape sequences in them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from search_spaces.errors import printable

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str) -> None:
    """Print a line on stderr."""
    # It is gone, was closed, never existed, or a signal came while it was being written to.
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        print(printable(text), file=sys.stderr, flush=True)


def has_terminal() -> bool:
    """Whether stderr is a terminal, on which bars can move."""
    return _Indifferent(sys.stderr).isatty()


def notices() -> Console:
    """A console on stderr for bars of progress."""
    return clean_console(file=_Indifferent(sys.stderr), stderr=True)


def clean_console(**options: Any) -> Console:
    """A console of rich that prints no control characters but its own.

    Args:
        options: arguments of the console.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Clean(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    text = "\n".join(map(printable, segment.text.split("\n")))
                    yield Segment(text, segment.style)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for `nas.__main__`; rich would end the process with status 1

    return Clean(**options)


class _Indifferent:
    """A stream whose failures change nothing."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)  # type: ignore[union-attr]
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()  # type: ignore[union-attr]

    def isatty(self) -> bool:
        with suppress(OSError, ValueError, AttributeError):
            return self._stream.isatty()  # type: ignore[union-attr]
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
