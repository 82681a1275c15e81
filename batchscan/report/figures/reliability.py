"""Reliability: how scores compare with the share of positives among images that have them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Estimate
from batchscan.report.figures.agreement import Z
from batchscan.report.figures.clusters import Patients, count_of, effective_size
from batchscan.report.figures.rates import Rate

EDGES = tuple(number / 10 for number in range(11))
"""The bins of scores; one that equals an edge belongs above it, and 1 to the last bin."""


@dataclass(frozen=True)
class Bin:
    """Images with scores from `low` to `high`; `mean_score` is None where there are none."""

    low: float
    high: float
    positives: int
    negatives: int
    mean_score: float | None
    observed: Rate

    @property
    def n(self) -> int:
        """The number of images."""
        return self.positives + self.negatives


def bins_of(outcomes: Outcomes, patient: Patients | None = None) -> list[Bin]:
    """Return the ten bins of scores (n,) in [0, 1], also the empty ones."""
    number = np.digitize(outcomes.score, np.array(EDGES[1:-1], dtype=np.float32))
    n = np.bincount(number, minlength=10)
    positives = np.bincount(number[outcomes.positive], minlength=10)
    sums = np.bincount(number, outcomes.score, 10)
    bins = []
    for each in range(10):
        hits, count = int(positives[each]), int(n[each])
        size = _effective_size(outcomes.positive, patient, number == each, count)
        mean = float(sums[each]) / count if count else None
        low, high = EDGES[each], EDGES[each + 1]
        bins.append(Bin(low, high, hits, count - hits, mean, Rate(hits, count, size)))
    return bins


def _effective_size(
    positive: NDArray[np.bool_], patient: Patients | None, inside: NDArray[np.bool_], count: int
) -> float:
    if patient is None or not count:
        return float(count)
    own = patient[inside]
    n = np.bincount(own).astype(np.float64)
    hits = np.bincount(own[positive[inside]], minlength=n.size).astype(np.float64)
    squares, products, trials = (float(x @ y) for x, y in ((hits, hits), (hits, n), (n, n)))
    return effective_size(float(hits.sum()), count, squares, products, trials, int((n > 0).sum()))


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean distance of score and observed share.

    Over the images, each taken as far off as its bin (Naeini, Cooper and Hauskrecht 2015, AAAI).
    """
    off = sum(abs(each.n * (each.mean_score or 0.0) - each.positives) for each in bins)
    return off / sum(each.n for each in bins)


def brier_score(outcomes: Outcomes, patient: Patients | None = None) -> Estimate:
    """Return the mean squared distance of score and label (Brier 1950), with a normal interval.

    The variance of the mean is that of images, or with `patient` (n,) that of patients' sums. None
    is stated where all distances are alike.
    """
    squares = np.square(outcomes.score.astype(np.float64) - outcomes.positive)
    n, value = squares.size, float(squares.mean())
    deviations = squares - value
    sums = deviations if patient is None else np.bincount(patient, deviations)
    units = n if patient is None else count_of(patient)
    if units < 2 or np.ptp(squares) == 0:
        return Estimate(value, n=n)
    half = Z * math.sqrt(float(sums @ sums) * units / (units - 1)) / n
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), n)
