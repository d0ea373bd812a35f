"""``bayesian``: try next what promises most, by a Gaussian process of accuracy and exact costs.

After a few random networks, each suggestion is the network with the largest expected improvement: by how much the
objective's merit is expected to exceed the best one so far, where only accuracy is uncertain
(`nas.controllers.gaussian_process`) and costs are known exactly. Every objective is linear in accuracy, so the
expectation has a closed form; its log is compared (Ament et al., arXiv 2310.20708), since it is too small for a number
far from the best. It is maximised by climbing: from the best networks and the best of some random ones, to the best of
all neighbours that differ in one choice and of some that differ in more, until none is better.

Near the best network the model is soon sure of everything, also where it is wrong. After several trials without a new
best one, every other suggestion therefore believes that the model is less sure than it says, by a factor that grows
until there is a new best one; and now and then climbs start at more networks, and more of them go on.

What is known before the search (`start_from`) counts as trials if the search's own evaluator made it. The search then
begins at the best of it, and believes the model less for a while: networks around one target say less of those at
another than it thinks. What others measured is a hint: a process of its own is fitted to each source, and what it
predicts is one more column of the model, beside the logs of costs, whose weight is learned. The first trials are the
best networks of the sources; if these mislead, they are what is lost.

Trials that are still running count as if they had turned out as predicted. Nothing here depends on the space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import erfcx, log_ndtr

from nas.controllers.base import Controller, SeenFilter, sample_new, single_changes
from nas.controllers.gaussian_process import ChoiceFeatures, Floats, GaussianProcess
from nas.objective import Objective
from nas.trial import Known, Trial
from search_spaces import Genotype, Space
from search_spaces.rows import RowIndex
from search_spaces.space import Indices

# Random networks before there is a model.
INITIAL_TRIALS = 6
# Climbs start at the best networks, and at the best of some that are drawn: more where members are listed, since few of
# those have neighbours.
BEST, DRAWN_BEST, DRAWN, DRAWN_MEMBERS = 6, 4, 200, 2000
# After the first step, only the highest climbs go on.
CLIMBS, MAX_CLIMB = 3, 30
# After every so many trials without a new best one, every other suggestion doubles σ, up to a limit, and
# now and then climbs start at more of the best networks.
PATIENCE, MAX_OPTIMISM = 10, 8.0
MORE_BEST, MORE_CLIMBS, MORE_EVERY = 30, 12, 8
# Neighbours of each row that differ in two or three choices.
FARTHER = 16
# The parameters of the model are fitted again whenever the number of the search's trials has grown by a tenth.
REFIT = 1.1
# The model uses at most this many trials, since its work is cubic in their number: half are the newest, the others are
# the best of the rest.
MEMORY = 200
# With results known before the search; σ then counts so many times in the first trials.
MEMORY_KNOWN, DOUBT, DOUBTED = 500, 4.0, 30
# Sources of hints with fewer measurements have no process; so many of their best networks are tried first.
LEAST_HINTS, FIRST_HINTS = 6, 3


class BayesianController(Controller):
    """Model-based search; see the module."""

    batch_size = 1

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        self._seen = SeenFilter()
        self._rows = np.empty((0, len(space.cardinalities)), dtype=np.int64)
        self._accuracy = np.empty(0)
        self._merits = np.empty(0)
        self._running: dict[int, Indices] = {}
        self._suggested = 0
        self._features = ChoiceFeatures(space)
        self._known = SeenFilter()  # rows that were known before the search
        self._earlier = 0  # how many of all rows these are, the first ones
        self._starts = self._rows  # rows to try first
        self._parameters: Floats | None = None
        self._fitted_at = 0
        self._sigma = float("nan")
        self._members = None if space.members is None else RowIndex(space.members, space.cardinalities)
        self._changed, self._steps = single_changes(space)

    def suggest(self, count: int) -> list[Genotype]:
        rows = np.empty((0, len(self.space.cardinalities)), dtype=np.int64)
        for _ in range(count):
            row = self._next()
            self._seen.add(row)
            self._running |= enumerate(row, start=self._suggested)
            self._suggested += len(row)
            rows = np.concatenate([rows, row])
        return self.space.genotypes(rows)

    def start_from(self, known: Sequence[Known]) -> None:
        hints, starts = [], []
        others = sum(not source.same for source in known)
        for source in known:
            rows = self.space.canonical(self.space.indices(source.genotypes))
            accuracy = np.array([metrics.accuracy for metrics in source.metrics])
            merits = self._merit(accuracy, self.costs(rows))
            if source.same:
                self._learn(rows, accuracy, merits)
                self._known.add(rows)
                continue
            best = np.argsort(-merits, kind="stable")
            starts.append(rows[best[: max(1, FIRST_HINTS // others)]])
            if len(rows) >= LEAST_HINTS:
                kept = np.concatenate([best[: MEMORY // 2], best[MEMORY // 2 :][:: 1 + len(best) // (MEMORY // 2)]])
                hints.append(GaussianProcess(ChoiceFeatures(self.space), rows[kept], accuracy[kept], None, fit=True))
        self._earlier = len(self._rows)
        if self._earlier:  # the best of what is known belongs to the trials; it is not evaluated again
            starts = [self._rows[[int(self._merits.argmax())]]]
            self._seen.add(self._rows)
        self._starts = np.concatenate([self._rows[:0], *starts])
        self._features = ChoiceFeatures(self.space, hints)

    def update(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._running.pop(trial.number, None)
        done = [(t, t.metrics.accuracy, t.reward) for t in trials if t.metrics is not None and t.reward is not None]
        if not done:
            return
        rows = self.space.indices([trial.genotype for trial, _, _ in done])
        self._seen.add(rows)  # the trial may have used another network than the suggested one
        accuracy = np.array([accuracy for _, accuracy, _ in done])
        self._learn(rows, accuracy, np.array([self.objective.merit(reward, trial.costs) for trial, _, reward in done]))

    def _learn(self, rows: Indices, accuracy: Floats, merits: Floats) -> None:
        """Remember measurements, but for those of rows that were known before the search."""
        new = np.array([row not in self._known for row in rows], dtype=bool)
        self._rows = np.concatenate([self._rows, rows[new]])
        self._accuracy = np.append(self._accuracy, accuracy[new])
        self._merits = np.append(self._merits, merits[new])

    def diagnostics(self) -> Mapping[str, float]:
        return {"model_sigma": self._sigma}

    def _next(self) -> Indices:
        """The row to try next; none if all were tried."""
        if len(self._starts):
            row, self._starts = self._starts[:1], self._starts[1:]
            return row
        if len(self._seen) < INITIAL_TRIALS or len(self._accuracy) < 3:
            return sample_new(self.space, self.rng, self._seen, 1)
        model, known = self._model()
        mean, _ = model.predict(known)
        best = float(self._merit(mean, self.costs(known)).max())
        found = self._climb(model, best)
        if not len(found):
            return sample_new(self.space, self.rng, self._seen, 1)
        self._sigma = float(model.predict(found)[1][0])
        return found

    def _model(self) -> tuple[GaussianProcess, Indices]:
        """The model, and the rows that it knows; running ones are believed to turn out as it would predict."""
        rows, accuracy = self._rows, self._accuracy
        limit = MEMORY_KNOWN if self._earlier else MEMORY
        if len(rows) > limit:
            newest = np.arange(len(rows) - limit // 2, len(rows))
            older = np.argsort(-self._merits[: len(rows) - limit // 2], kind="stable")[: limit // 2]
            kept = np.concatenate([older, newest])
            rows, accuracy = rows[kept], accuracy[kept]
        own = len(self._accuracy) - self._earlier
        fit = self._parameters is None or own >= REFIT * self._fitted_at
        model = GaussianProcess(self._features, rows, accuracy, self._parameters, fit=fit)
        if fit:
            self._parameters, self._fitted_at = model.parameters, own
        if self._running:
            running = np.array(list(self._running.values()))
            accuracy = np.append(accuracy, model.predict(running)[0])
            rows = np.concatenate([rows, running])
            model = GaussianProcess(self._features, rows, accuracy, model.parameters, fit=False)
        return model, rows

    def _stale(self) -> int:
        """How many trials of the search came after the best one."""
        own = self._merits[self._earlier :]
        return len(own) - 1 - int(np.argmax(own)) if len(own) else 0

    def _optimism(self) -> float:
        """The factor by which σ counts now."""
        if self._earlier and len(self._merits) - self._earlier < DOUBTED:
            return DOUBT
        stale = self._stale()
        return 1.0 if stale % 2 else float(min(2.0 ** min(stale // PATIENCE, 64), MAX_OPTIMISM))

    def _climb(self, model: GaussianProcess, best: float) -> Indices:
        """The new row with the largest expected improvement that is found, of shape (1, choices), or none."""
        stale = self._stale()
        more = stale >= PATIENCE and stale % MORE_EVERY == 0
        starts, climbs = (MORE_BEST, MORE_CLIMBS) if more else (BEST, CLIMBS)
        count = DRAWN if self._members is None else DRAWN_MEMBERS
        drawn = sample_new(self.space, self.rng, self._seen, count)
        scores = self._log_improvement(model, best, drawn)
        found = [self._first_new(drawn, scores)]
        order = np.argsort(-scores, kind="stable")[:DRAWN_BEST]
        tried = self._rows[np.argsort(-self._merits, kind="stable")[:starts]]
        rows = np.concatenate([drawn[order], tried])
        values = np.concatenate([scores[order], self._log_improvement(model, best, tried)])
        for _ in range(MAX_CLIMB):
            near = self._neighbours(rows)
            scores = self._log_improvement(model, best, near)
            if self._members is not None:
                scores[self._members.positions(near) < 0] = -np.inf
            found.append(self._first_new(near, scores))
            each = scores.reshape(len(rows), -1)
            higher = each.argmax(axis=1)
            top = each[np.arange(len(rows)), higher]
            better = top > values + 1e-9
            if not better.any():
                break
            rows, first = np.unique(near.reshape(*each.shape, -1)[better, higher[better]], axis=0, return_index=True)
            values = top[better][first]
            order = np.argsort(-values, kind="stable")[:climbs]
            rows, values = rows[order], values[order]
        row, _ = max(found, key=lambda pair: pair[1])
        return row

    def _neighbours(self, rows: Indices) -> Indices:
        """Rows near each row, all of the first row, then of the next; some may stand for the row itself.

        These are all rows that differ in one choice, and some that differ in two or three: at the limit of a cost, one
        choice can only take what others give.
        """
        near = np.repeat(rows[:, None], len(self._steps) + FARTHER, axis=1)
        every, cardinalities = np.arange(len(self._steps)), self.space.cardinalities
        near[:, every, self._changed] = (near[:, every, self._changed] + self._steps) % cardinalities[self._changed]
        farther = near[:, len(every) :]
        drawn = self.rng.integers(0, cardinalities, farther.shape)
        rank = self.rng.random(farther.shape).argsort(axis=-1)
        farther[...] = np.where(rank < self.rng.integers(2, 4, rank.shape[:2])[..., None], drawn, farther)
        return self.space.canonical(near.reshape(-1, rows.shape[1]))

    def _first_new(self, rows: Indices, scores: Floats) -> tuple[Indices, float]:
        """The row with the highest score that was not suggested yet, and its score; no row and −∞ if there is none."""
        for position in np.argsort(-scores, kind="stable"):
            if scores[position] == -np.inf:
                break
            if rows[position] not in self._seen:
                return rows[[position]], float(scores[position])
        return rows[:0], -np.inf

    def _log_improvement(self, model: GaussianProcess, best: float, rows: Indices) -> Floats:
        """The log of the expected improvement of rows over a merit: shape (rows,)."""
        if not len(rows):
            return np.empty(0)
        mean, sigma = model.predict(rows)
        sigma = sigma * self._optimism()
        costs = self.costs(rows)
        at_none = self._merit(np.zeros(len(rows)), costs)
        slope = self._merit(np.ones(len(rows)), costs) - at_none
        spread = np.maximum(slope * sigma, 1e-300)
        return np.log(spread) + log_expected_improvement((at_none + slope * mean - best) / spread)

    def _merit(self, accuracy: Floats, costs: list[Floats]) -> Floats:
        merit: Floats = self.objective.merit(self.objective.reward(accuracy, costs), costs)
        return merit


def log_expected_improvement(z: Floats) -> Floats:
    """log(φ(z) + z Φ(z)): of the mean of max(0, z + a standard normal variable). Finite for every finite z."""
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    with np.errstate(all="ignore"):
        near = np.log(np.exp(density) + z * np.exp(log_ndtr(z)))
        # φ + zΦ = φ · (1 + z √(π/2) erfcx(−z/√2)); what is in brackets is near 1/z² where it cancels.
        bracket = 1 + z * np.sqrt(np.pi / 2) * erfcx(-z / np.sqrt(2))
        far = density + np.where(z < -1e3, -2 * np.log(-z), np.log(np.maximum(bracket, 1e-300)))
    result: Floats = np.where(z > -1, near, far)
    return result
