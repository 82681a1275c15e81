"""Average precision and its interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.statistics import area_interval
from batchscan.report.document import Estimate
from batchscan.report.figures.clusters import count_of
from batchscan.report.figures.curves import Thresholds
from batchscan.report.figures.rates import estimate_of

Floats = NDArray[np.float64]


def average_precision(thresholds: Thresholds) -> Estimate:
    """Return the average precision: that at each threshold, weighted by the recall it adds.

    The variance is the infinitesimal jackknife's (Jaeckel 1972, Efron 1982): the sum of squares of
    what each image (each patient, where known) has added to the figure. The interval is symmetric
    on the logit scale (Boyd, Eng and Page 2013, ECML PKDD, LNCS 8190, 451-466). Where the scores
    separate the classes completely, none is stated.
    """
    n, count = thresholds.positive.size, thresholds.positives
    positives = np.diff(thresholds.true_positive, prepend=0)
    precision = thresholds.true_positive / thresholds.reached
    value = float(positives @ precision) / count
    share = positives / thresholds.reached / count
    of_negative = -_sums_from_here(share * precision)
    of_positive = of_negative + _sums_from_here(share) + (precision - value) / count
    variance = _variance(thresholds, positives, of_positive, of_negative)
    interval = None if value >= 1 else area_interval(value, variance, min(count, n - count))
    return estimate_of(value, interval, n)


def _sums_from_here(values: Floats) -> Floats:
    return np.cumsum(values[::-1])[::-1]


def _variance(
    thresholds: Thresholds,
    positives: NDArray[np.int64],
    of_positive: Floats,
    of_negative: Floats,
) -> float:
    """Return the variance from what a positive and a negative image adds at each threshold."""
    sizes = np.diff(thresholds.reached, prepend=0)
    if thresholds.patient is None:
        squares = positives @ np.square(of_positive)
        squares += (sizes - positives) @ np.square(of_negative)
        units = thresholds.positive.size
    else:
        added = np.where(
            thresholds.positive, np.repeat(of_positive, sizes), np.repeat(of_negative, sizes)
        )
        sums = np.bincount(thresholds.patient, added)
        squares, units = sums @ sums, count_of(thresholds.patient)
    return float(squares) * units / (units - 1) if units > 1 else 0.0
