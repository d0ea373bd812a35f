"""A network that was exported, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.text import command
from baselines.views.terminal import labelled, pointer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from baselines.training.export import Exported


def text(found: Exported) -> list[RenderableType]:
    """Lines with what was exported, how exactly the file reproduces it, and how to use it."""
    source, file = found.source, found.file
    exactly = f"within {found.difference:.1e} of the largest" if found.difference else "exactly"
    about = f"{source.name} with {source.weights}; the file reproduces the network's logits {exactly}"
    return [
        labelled("Exported:", about),
        pointer("Written:", str(file)),
        *([pointer("Next:", f"{command('predict', file)} --images …")] if found.signature else []),
    ]
