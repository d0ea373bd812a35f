"""`GuardedEvaluator`: an evaluator that others wrote, which may fail in any way and return anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from baselines.text import counted
from nas.evaluators.base import Evaluator, Metrics, Network, checked
from search_spaces import MnasError, Space
from search_spaces.errors import ForeignError, reason_of, shorten
from search_spaces.guard import guarded
from search_spaces.space import Indices


class GuardedEvaluator(Evaluator):
    """An evaluator that others wrote, behind `guarded`. Its other attributes are found under their names, too.

    Args:
        inner: the evaluator.
        name: name for messages.

    Attributes:
        inner: the evaluator.

    Raises:
        MnasError: it does not say what it is.
    """

    def __init__(self, inner: Evaluator, name: str) -> None:
        self.inner = inner
        try:
            with guarded():
                self.name, self.meaning = getattr(inner, "name", ""), getattr(inner, "meaning", "")
                self.kind = inner.kind
                self.instant, self.noisy, self.fingerprint = inner.instant, inner.noisy, inner.fingerprint
        except Exception as error:
            raise MnasError(f"evaluator: {name}: cannot be asked what it is ({reason_of(error)}); fix it") from None
        for attribute in ("name", "meaning"):
            text = getattr(self, attribute)
            if not isinstance(text, str) or not text.strip():
                raise MnasError(f"evaluator: {name}: its {attribute!r} is not a text; say what its accuracy means")
        if self.kind not in ("predicted", "measured"):
            raise MnasError(f"evaluator: {name}: its 'kind' {shorten(self.kind)} is neither predicted nor measured")
        for attribute, kind in (("instant", bool), ("noisy", bool), ("fingerprint", str)):
            if not isinstance(getattr(self, attribute), kind):
                value = shorten(getattr(self, attribute))
                raise MnasError(f"evaluator: {name}: its {attribute!r} {value} is not a {kind.__name__}; fix it")

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # of an instance that is being made
            raise AttributeError(name)
        return getattr(self.inner, name)

    def prepare(self) -> None:
        with self._failing("prepare"):
            self.inner.prepare()

    def check(self, architecture: Network) -> None:
        with guarded():
            self.inner.check(architecture)

    def evaluate(self, architectures: Sequence[Network], seed: int = 0) -> list[Metrics]:
        """As in `Evaluator`, with plain numbers.

        Raises:
            FieldError: it refuses a network.
            ForeignError: its result is not usable.
            Exception: whatever it raises.
        """
        with guarded():
            found = list(self.inner.evaluate(architectures, seed))
            if len(found) != len(architectures):
                raise ForeignError(f"gave {counted(len(found), 'result')} for {counted(len(architectures), 'network')}")
            results = list(map(checked, found))
        for result in results:
            if isinstance(result, str):
                raise ForeignError(result)
        return [result for result in results if not isinstance(result, str)]

    def known_members(self, space: Space) -> Indices | None:
        with self._failing("known_members"):
            return self.inner.known_members(space)

    def measurements(self, network: Network) -> int | None:
        with self._failing("measurements"):
            return self.inner.measurements(network)

    @contextmanager
    def _failing(self, method: str) -> Iterator[None]:
        try:
            with guarded():
                yield
        except MnasError:
            raise
        except Exception as error:
            raise MnasError(f"evaluator: {self.name}: {method} failed ({reason_of(error)}); fix it") from None


def is_foreign(evaluator: Evaluator) -> bool:
    """Whether others wrote an evaluator; a subclass of ours in another module is theirs."""
    return not type(evaluator).__module__.startswith("nas.evaluators.")
