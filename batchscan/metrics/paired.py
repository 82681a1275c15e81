"""Statistics of two classifiers on the same images: is one of them better?

All images are taken as independent of each other; the two results of an image are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.statistics import CONFIDENCE, Interval, wilson_interval

FEW = 25
"""Below so many discordant pairs McNemar's test is exact: its approximation needs more."""


@dataclass(frozen=True)
class PairedAreas:
    """Two areas under the ROC curve on the same images; `difference` is second minus first.

    `interval` and `p_value` (two-sided) are None where the difference has no variance that could
    be estimated: a class with one image, or scores that order all pairs alike. `gain` has for each
    positive image how much more of the negatives are below it by the second scores, `loss` for each
    negative how much more of the positives are.
    """

    first: float
    second: float
    difference: float
    interval: Interval | None
    p_value: float | None
    positives: int
    negatives: int
    gain: NDArray[np.float64]
    loss: NDArray[np.float64]


@dataclass(frozen=True)
class PairedProportions:
    """Two proportions of the same `n` images; `difference` is second minus first.

    Of the images, `both`, `only_first`, `only_second` and `neither` count. `p_value` is McNemar's,
    two-sided: `exact`, or from the chi-squared distribution.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    interval: Interval
    p_value: float
    exact: bool

    @property
    def n(self) -> int:
        """The images."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> float:
        """The first proportion."""
        return (self.both + self.only_first) / self.n

    @property
    def second(self) -> float:
        """The second proportion."""
        return (self.both + self.only_second) / self.n

    @property
    def difference(self) -> float:
        """The second proportion minus the first."""
        return (self.only_second - self.only_first) / self.n


def paired_areas(
    positive: NDArray[np.bool_],
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    confidence: float = CONFIDENCE,
) -> PairedAreas | None:
    """Compare areas under ROC curves by DeLong, DeLong and Clarke-Pearson (1988).

    Arrays of shape (n,), one entry for each image. None unless both classes are there. The variance
    of the difference is that of the differences of placements: the paper's L S L' with L = (1, -1).
    Raises `ValueError` where a score is NaN.
    """
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("expected numbers as scores, found NaN")
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    of_positives, of_negatives = (
        [_twice_below(score[side], score[~side]) for score in (first, second)]
        for side in (positive, ~positive)
    )
    areas = [float(below.mean()) / (2 * negatives) for below in of_positives]
    # Differences of whole numbers: where there is no variance, rounding makes none.
    gaps = [side[1] - side[0] for side in (of_positives, of_negatives)]
    difference = float(gaps[0].mean()) / (2 * negatives)
    interval = p_value = None
    shares = gaps[0] / (2 * negatives), gaps[1] / (2 * positives)
    if min(positives, negatives) > 1 and any(np.ptp(gap) for gap in gaps):
        error = math.sqrt(sum(float(share.var(ddof=1)) / share.size for share in shares))
        half = NormalDist().inv_cdf((1 + confidence) / 2) * error
        interval = (max(difference - half, -1.0), min(difference + half, 1.0))
        p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    return PairedAreas(
        areas[0], areas[1], difference, interval, p_value, positives, negatives, *shares
    )


def _twice_below(
    values: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """Return for each value twice the number of others below it; those that tie count once.

    The values are looked up in ascending order, which with millions is many times as fast.
    """
    order = np.argsort(values)
    ascending, sorted_others = values[order], np.sort(others)
    below = np.searchsorted(sorted_others, ascending, side="left")
    below += np.searchsorted(sorted_others, ascending, side="right")
    counts = np.empty(values.size, dtype=np.int64)
    counts[order] = below
    return counts


def paired_proportions(
    first: NDArray[np.bool_], second: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> PairedProportions | None:
    """Compare proportions of True in arrays of shape (n,); None where there is no image.

    The p-value is McNemar's (1947): exact where fewer than `FEW` pairs are discordant, else from
    chi-squared without a continuity correction (Fagerland, Lydersen and Laake 2013).
    """
    both, only_first = int((first & second).sum()), int((first & ~second).sum())
    only_second, neither = int((~first & second).sum()), int((~first & ~second).sum())
    if not first.size:
        return None
    low, high = difference_interval(both, only_first, only_second, neither, confidence)
    exact = only_first + only_second < FEW
    p_value = _mcnemar(both, only_first, only_second, neither, exact)
    return PairedProportions(both, only_first, only_second, neither, (-high, -low), p_value, exact)


def _mcnemar(both: int, only_first: int, only_second: int, neither: int, exact: bool) -> float:
    from statsmodels.stats.contingency_tables import mcnemar

    if only_first == only_second:
        return 1.0
    table = [[both, only_first], [only_second, neither]]
    return float(mcnemar(table, exact=exact, correction=False).pvalue)


def difference_interval(
    both: int, only_first: int, only_second: int, neither: int, confidence: float = CONFIDENCE
) -> Interval:
    """Return an interval of the first of two paired proportions minus the second.

    Newcombe's square-and-add (1998, Statistics in Medicine 17:2635, method 10): Wilson's intervals
    of the two proportions, put together by their correlation. Stays within [-1, 1].
    """
    n = both + only_first + only_second + neither
    in_first, in_second = both + only_first, both + only_second
    (low_1, high_1), (low_2, high_2) = (
        wilson_interval(count, n, confidence) or (0.0, 1.0) for count in (in_first, in_second)
    )
    share_1, share_2 = in_first / n, in_second / n
    phi = _correlation(both, only_first, only_second, neither)
    below = _hypotenuse(share_1 - low_1, high_2 - share_2, phi)
    above = _hypotenuse(high_1 - share_1, share_2 - low_2, phi)
    difference = (only_first - only_second) / n
    return difference - below, difference + above


def _hypotenuse(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return Newcombe's estimate of the correlation: a positive one is made smaller by n / 2."""
    margins = (both + only_first) * (only_second + neither)
    margins *= (both + only_second) * (only_first + neither)
    if not margins:
        return 0.0
    product: float = both * neither - only_first * only_second
    n = both + only_first + only_second + neither
    if product > 0:
        product = max(product - n / 2, 0)
    return product / math.sqrt(margins)
