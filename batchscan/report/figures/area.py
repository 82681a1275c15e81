"""The area under the ROC curve of images that may be correlated, in one sorting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import Outcomes
from batchscan.metrics.statistics import area_interval
from batchscan.report.document import Estimate
from batchscan.report.figures.clusters import Patients
from batchscan.report.figures.rates import estimate_of


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve. `variance` is 0 where it says nothing (all placements alike).

    `smaller` counts the images of the class that has fewer, or the patients who have such.
    """

    value: float
    variance: float
    smaller: int
    n: int

    def estimate(self) -> Estimate:
        """Return it with its interval, symmetric on the logit scale."""
        interval = area_interval(self.value, self.variance, self.smaller)
        return estimate_of(self.value, interval, self.n)


def area_of(outcomes: Outcomes, patient: Patients | None = None) -> Area | None:
    """Return the area under the ROC curve of scores (n,); None unless both classes are there.

    The variance is DeLong's (1988, Biometrics 44, 837-845); where `patient` (n,) is given it is
    Obuchowski's (1997, Biometrics 53, 567-578), which is the same for clusters of images.
    """
    order = ascending(outcomes.score)
    positive = outcomes.positive[order]
    positives = int(positive.sum())
    if positives in (0, positive.size):
        return None
    levels = _levels(outcomes.score[order], positive)
    value = float(levels.positives @ levels.below) / positives
    if patient is None:
        variance, smaller = levels.variance(value), min(positives, positive.size - positives)
    else:
        variance, smaller = _clustered(levels, value, positive, patient[order])
    return Area(value, variance, smaller, positive.size)


def ascending(score: NDArray[np.float32]) -> NDArray[np.intp] | slice:
    """Return what puts scores in ascending order: at no cost where they are already."""
    if bool((score[1:] >= score[:-1]).all()):
        return slice(None)
    return np.argsort(score)


@dataclass(frozen=True)
class _Levels:
    """The distinct scores, ascending: how many images have each, and which share of the others it
    is in order with: the negatives below it, the positives above it; equal ones count one half.
    """

    positives: NDArray[np.int32]
    negatives: NDArray[np.int32]
    below: NDArray[np.float64]
    above: NDArray[np.float64]

    def variance(self, area: float) -> float:
        """Return DeLong's variance of the area; 0 where all images of a class are in the same."""
        sides = [(self.below, self.positives), (self.above, self.negatives)]
        if all(np.ptp(shares[counts > 0]) == 0 for shares, counts in sides):
            return 0.0
        variance = 0.0
        for shares, counts in sides:
            n = int(counts.sum())
            if n > 1:
                variance += float(counts @ np.square(shares - area)) / (n - 1) / n
        return variance


def _levels(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> _Levels:
    """Count the images of ascending scores by level."""
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)).astype(np.int32)
    reached = np.cumsum(positive, dtype=np.int32)[ends]
    unreached = ends + np.int32(1) - reached
    positives = np.diff(reached, prepend=np.int32(0))
    negatives = np.diff(unreached, prepend=np.int32(0))
    below = (unreached - 0.5 * negatives) / unreached[-1]
    above = 1 - (reached - 0.5 * positives) / reached[-1]
    return _Levels(positives, negatives, below, above)


def _clustered(
    levels: _Levels, area: float, positive: NDArray[np.bool_], patient: Patients
) -> tuple[float, int]:
    """Return Obuchowski's variance, and the number of patients of the smaller class."""
    sizes = levels.positives + levels.negatives
    share = np.where(positive, np.repeat(levels.below, sizes), np.repeat(levels.above, sizes))
    share -= area
    patients = int(patient.max()) + 1
    place = positive.astype(np.int64)
    place *= patients
    place += patient
    having = np.zeros((2, patients), dtype=bool)
    having.reshape(-1)[place] = True
    counts = [int(side.sum()) for side in having]
    if min(counts) < 2 or np.ptp(share) == 0:
        return 0.0, min(counts)
    sums = np.bincount(place, share, 2 * patients)
    of_negatives = sums[:patients] / levels.negatives.sum()
    of_positives = sums[patients:] / levels.positives.sum()
    variance = 2 * float(of_negatives @ of_positives) * _freedom(int((having[0] | having[1]).sum()))
    for side, count in ((of_negatives, counts[0]), (of_positives, counts[1])):
        variance += float(side @ side) * _freedom(count)
    return max(variance, 0.0), min(counts)


def _freedom(patients: int) -> float:
    return patients / (patients - 1)
