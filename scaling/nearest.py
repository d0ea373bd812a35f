"""The networks of a lattice nearest to a point of a rule, among those that meet a budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from scaling.compound import Coefficients
from scaling.lattice import Cells, Growth, Lattice
from scaling.pixels import Integers
from scaling.published import side_step
from scaling.ray import Priced, Ray
from scaling.rules import Factors

# How far around the point of the rule networks are searched, in log MACs, one distance after the other.
RADII = (0.02, 0.04, 0.06, 0.09, 0.12, 0.18, 0.24, 0.32, 0.64)


def by_departure(ray: Ray, ideal: Growth, nominal: Factors, cost: str, tolerance: float) -> Iterator[Priced]:
    """Yield the network within the tolerance that departs least, for a cost that is known exactly.

    If there is none, the nearest ones on both sides of the budget are yielded instead.

    Args:
        ray: rule and budget.
        ideal: point of the rule, as growth of each dimension.
        nominal: point of the rule, as factors; coefficients are as near to them as the network permits.
        cost: one of `EXACT_COSTS`.
        tolerance: largest difference from the budget, relative to it.
    """
    missed: list[Priced] = []
    for cells, radius in _widening(ray.lattice, ideal):
        costs, departures = cells.costs(cost), cells.departures(ideal)
        errors = np.abs(costs / ray.wanted - 1)
        # Outside these cells there may be some that depart less than those beyond the radius.
        inside = np.where((errors <= tolerance) & (departures <= radius), departures, np.inf)
        if np.isfinite(inside.min()):
            # Equal departures, up to rounding errors: the one nearest to the budget.
            best = np.flatnonzero(inside.ravel() <= inside.min() + 1e-9)
            yield _cell(cells, int(best[errors.ravel()[best].argmin()]), nominal, costs)
            return
        for side in (costs < ray.wanted, costs > ray.wanted):
            if radius == RADII[-1] and side.any():
                missed.append(_cell(cells, int(np.where(side, errors, np.inf).argmin()), nominal, costs))
    yield from missed


def by_trial(ray: Ray, ideal: Growth, nominal: Factors, tolerance: float, most: int) -> Iterator[Priced]:
    """Yield networks by departure, among those that probably meet the budget, for a cost that has to be tried.

    The cost is expected to grow as activations do (latency and memory of feature maps depend on them more than on
    MACs), and each trial corrects the expectation.

    Args:
        ray, ideal, nominal, tolerance: as for `by_departure`.
        most: largest number of trials.
    """
    known, value = ray.ends()[0]
    rate = value / ray.lattice.cost(known, "activations")
    tried: set[Coefficients] = set()
    for cells, _ in _widening(ray.lattice, ideal):
        activations = cells.costs("activations").ravel()
        order = np.argsort(cells.departures(ideal), axis=None, kind="stable")
        while len(tried) < most:
            likely = np.abs(activations[order] * rate / ray.wanted - 1) <= tolerance
            candidates = (_coefficients(cells, int(index), nominal) for index in order[likely])
            chosen = next((candidate for candidate in candidates if candidate not in tried), None)
            if chosen is None:
                break
            tried.add(chosen)
            found = ray.cost(chosen)
            rate = found / ray.lattice.cost(chosen, "activations")
            yield chosen, found


def _widening(lattice: Lattice, ideal: Growth) -> Iterator[tuple[Cells, float]]:
    """Yield the cells around a point, in growing distances, and again with finer resolutions."""
    for step in _finer(side_step(lattice.base)):
        around = lattice.around(ideal, step)
        for radius in RADII:
            cells = around.cells(ideal, radius)
            if cells.depths and cells.widths and cells.resolutions:
                yield cells, radius


def _finer(step: int) -> Sequence[int]:
    """A step and its halves, down to one pixel."""
    return [step >> halvings for halvings in range(step.bit_length())]


def _cell(cells: Cells, index: int, nominal: Factors, costs: Integers) -> Priced:
    return _coefficients(cells, index, nominal), float(costs.ravel()[index])


def _coefficients(cells: Cells, index: int, nominal: Factors) -> Coefficients:
    shape = (len(cells.depths), len(cells.widths), len(cells.resolutions))
    return cells.coefficients(np.unravel_index(index, shape), nominal)
