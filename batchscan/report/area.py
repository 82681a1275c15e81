"""The area under the ROC curve of images that may be correlated, in one sorting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.outcomes import Outcomes
from batchscan.report.clusters import Patients
from batchscan.report.document import Estimate
from batchscan.report.rates import estimate_of
from batchscan.statistics import area_interval


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
    placement = _placements(outcomes.score[order], positive)
    value = float(placement[positive].mean())
    if patient is None:
        variance = _variance(placement[positive]) + _variance(placement[~positive])
        smaller = min(positives, positive.size - positives)
    else:
        variance, smaller = _clustered(placement - value, positive, patient[order])
    return Area(value, variance, smaller, positive.size)


def ascending(score: NDArray[np.float32]) -> NDArray[np.intp] | slice:
    """Return what puts scores in ascending order: at no cost where they are already."""
    if bool((score[1:] >= score[:-1]).all()):
        return slice(None)
    return np.argsort(score)


def _placements(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return, of ascending scores, the share of the other class that each image is in order with.

    For a positive these are the negatives below it, for a negative the positives above it; equal
    scores count one half.
    """
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)) + 1
    sizes = np.diff(ends, prepend=0)
    negatives = np.diff(np.cumsum(~positive)[ends - 1], prepend=0)
    below = np.cumsum(negatives) - negatives / 2
    positives = sizes - negatives
    above = positive.sum() - np.cumsum(positives) + positives / 2
    return np.where(
        positive,
        np.repeat(below / negatives.sum(), sizes),
        np.repeat(above / positives.sum(), sizes),
    )


def _variance(placement: NDArray[np.float64]) -> float:
    """Return the variance of the mean; exactly 0 where all are alike, or only one is there."""
    if placement.size < 2 or placement.min() == placement.max():
        return 0.0
    return float(placement.var(ddof=1)) / placement.size


def _clustered(
    deviation: NDArray[np.float64], positive: NDArray[np.bool_], patient: Patients
) -> tuple[float, int]:
    """Return the variance from placements less the area; and the patients of the smaller class."""
    patients = int(patient.max()) + 1
    sums, counts = [], []
    for side in (positive, ~positive):
        total = np.bincount(patient[side], deviation[side], patients) / side.sum()
        sums.append(total)
        counts.append(int((np.bincount(patient[side], minlength=patients) > 0).sum()))
    if min(counts) < 2 or np.ptp(deviation) == 0:
        return 0.0, min(counts)
    own = sum(
        count / (count - 1) * float(total @ total)
        for total, count in zip(sums, counts, strict=True)
    )
    everyone = int((np.bincount(patient, minlength=patients) > 0).sum())
    shared = everyone / (everyone - 1) * float(sums[0] @ sums[1])
    return max(own + 2 * shared, 0.0), min(counts)
