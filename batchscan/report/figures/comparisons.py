"""Each group of images against the rest of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Estimate
from batchscan.report.figures.area import Area, area_of, ascending
from batchscan.report.figures.clusters import Patients
from batchscan.report.figures.differences import area_difference, holm, rate_difference
from batchscan.report.figures.groups import Groups
from batchscan.report.figures.rates import Rates, rates_of

FEWEST = 10
"""Figures that rest on fewer images than this are not compared."""

COMPARED = ("auc", "sensitivity", "specificity")

_RESTS_ON = {
    "auc": ("positives", "negatives"),
    "sensitivity": ("positives",),
    "specificity": ("negatives",),
}


@dataclass(frozen=True)
class Sample:
    """Images by ascending score, and their patients where these cluster them."""

    outcomes: Outcomes
    patient: Patients | None

    def part(self, inside: NDArray[np.bool_]) -> Sample:
        """Return the images (n,) that are inside."""
        score, positive = self.outcomes.score[inside], self.outcomes.positive[inside]
        patient = None if self.patient is None else self.patient[inside]
        return Sample(Outcomes(score, positive, self.outcomes.predicted[inside]), patient)


@dataclass(frozen=True)
class Figures:
    """What a group, or the rest, is compared by; `area` is None where one class is missing."""

    n: int
    area: Area | None
    rates: Rates

    def lacks(self, name: str) -> tuple[str, ...]:
        """Say of what there is too little to compare a figure of `COMPARED`, or nothing."""
        counts = {"positives": self.rates.sensitivity.n, "negatives": self.rates.specificity.n}
        rests_on = _RESTS_ON[name]
        return tuple(what for what in rests_on if counts[what] < FEWEST)


@dataclass(frozen=True)
class Difference:
    """A group's figure less that of the rest. `p` is corrected once `corrected` has been at it."""

    estimate: Estimate
    p: float | None


@dataclass(frozen=True)
class Compared:
    """A group: its figures, and how those named in `COMPARED` differ from the rest.

    There are no differences where the group is all there is. A difference whose figure rests on too
    few images of the group or the rest has neither value nor p-value.
    `mirrored` is True for the second of two groups: its tests are those of the first.
    """

    column: str
    name: str
    figures: Figures
    differences: tuple[Difference, ...] = ()
    mirrored: bool = False


def by_score(outcomes: Outcomes, patient: Patients | None) -> tuple[Sample, NDArray[np.intp]]:
    """Sort images, once for all groups; also return the order: int64 (n,)."""
    order = ascending(outcomes.score)
    numbers = np.arange(outcomes.score.size)[order]
    everyone = Sample(outcomes, patient)
    if isinstance(order, slice):
        return everyone, numbers
    ordered = Outcomes(outcomes.score[order], outcomes.positive[order], outcomes.predicted[order])
    return Sample(ordered, None if patient is None else patient[order]), numbers


def figures_of(sample: Sample) -> Figures:
    """Compute the figures of some images."""
    return Figures(
        sample.outcomes.score.size,
        area_of(sample.outcomes, sample.patient),
        rates_of(sample.outcomes, sample.patient),
    )


def compare(sample: Sample, groups: Groups) -> Iterator[Compared]:
    """Yield each group of `groups`, whose numbers are in the order of the sample."""
    count = len(groups.names)

    def own(group: int) -> Figures:
        return figures_of(sample.part(groups.number == group))

    def rest(group: int) -> Figures | None:
        alone = count == 1 or all(found[group].lacks(name) for name in COMPARED)
        return None if alone else figures_of(sample.part(groups.number != group))

    with ThreadPoolExecutor(2) as pool:  # Arithmetic on whole columns lets another thread run.
        found = list(pool.map(own, range(count)))
        if count == 2:
            yield from _two(groups, found[0], found[1])
            return
        rests = pool.map(rest, range(count))
        for name, figures, others in zip(groups.names, found, rests, strict=True):
            yield Compared(groups.column, name, figures, _differences(figures, others))


def _two(groups: Groups, first: Figures, second: Figures) -> Iterator[Compared]:
    """Yield two groups, each of which is the rest of the other."""
    differences = _differences(first, second)
    yield Compared(groups.column, groups.names[0], first, differences)
    mirrored = tuple(_mirrored(difference) for difference in differences)
    yield Compared(groups.column, groups.names[1], second, mirrored, mirrored=True)


def _mirrored(difference: Difference) -> Difference:
    own = difference.estimate
    value, low, high = (None if each is None else -each for each in (own.value, own.high, own.low))
    return Difference(Estimate(value, low, high, own.n), difference.p)


def _differences(group: Figures, rest: Figures | None) -> tuple[Difference, ...]:
    """Return the differences in the order of `COMPARED`; none without a rest."""
    if rest is None:
        return ()
    return tuple(_difference(name, group, rest) for name in COMPARED)


def _difference(name: str, group: Figures, rest: Figures) -> Difference:
    if group.lacks(name) or rest.lacks(name):
        return Difference(Estimate(None), None)
    if name == "auc":
        assert group.area is not None  # It has images of both classes, and so has the rest.
        assert rest.area is not None
        return Difference(*area_difference(group.area, rest.area))
    own, others = getattr(group.rates, name), getattr(rest.rates, name)
    return Difference(*rate_difference(own, others))


def corrected(groups: Sequence[Compared]) -> tuple[list[Compared], int]:
    """Correct all p-values for their number (Holm 1979), and return that number, too.

    The tests of two groups that are each other's rest count once.
    """
    tests = [
        difference.p for group in groups if not group.mirrored for difference in group.differences
    ]
    values = iter(holm(tests))
    done: list[Compared] = []
    for group in groups:
        source = done[-1].differences if group.mirrored else ()
        p_values = [each.p for each in source] or [next(values) for _ in group.differences]
        pairs = zip(group.differences, p_values, strict=True)
        done.append(
            replace(group, differences=tuple(Difference(each.estimate, p) for each, p in pairs))
        )
    return done, sum(1 for p in tests if p is not None)
