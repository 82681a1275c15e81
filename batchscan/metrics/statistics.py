"""Statistics of a classifier on numpy arrays: 95% intervals, the area under the ROC curve.

All samples are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95

Interval = tuple[float, float]


def wilson_interval(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval | None:
    """Return Wilson's score interval (1927) of a proportion; None where `n` is 0.

    Where images are correlated, both are effective counts, and no whole numbers.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n, found {successes} of {n}")
    if n == 0:
        return None
    z2 = _quantile(confidence) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At the ends the bound is exactly 0 or 1; rounding would leave it just beside.
    low = 0.0 if successes == 0 else min(centre - half, share)
    high = 1.0 if successes == n else max(centre + half, share)
    return low, high


def mean_interval(proportions: Sequence[float], intervals: Sequence[Interval]) -> Interval | None:
    """Return an interval of the mean of independent proportions; None where there is none.

    The proportions' own intervals are combined: each bound of the mean is as far from it as the
    root of the summed squares of their distances says (MOVER, Zou and Donner 2008). Unlike the
    usual variance it doesn't shrink to nothing where all proportions are 0 or 1.
    """
    if not proportions:
        return None
    count = len(proportions)
    mean = sum(proportions) / count
    pairs = list(zip(proportions, intervals, strict=True))
    below = math.hypot(*(share - low for share, (low, _) in pairs)) / count
    above = math.hypot(*(high - share for share, (_, high) in pairs)) / count
    return max(mean - below, 0.0), min(mean + above, 1.0)


def f1_interval(
    true_positive: int, false_positive: int, false_negative: int, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return an interval of the F1 score; None where F1 is not defined.

    F1 = 2J / (1 + J) rises with J = TP / (TP + FP + FN), and J is a plain proportion: the interval
    is Wilson's for J, carried over (the "indirect" method of Lam, Gopal and Qian 2024,
    arXiv:2309.14621). Unlike a bootstrap it doesn't shrink to [1, 1] where no error was seen.
    """
    errors = false_positive + false_negative
    interval = wilson_interval(true_positive, true_positive + errors, confidence)
    if interval is None:
        return None
    f1 = 2 * true_positive / (2 * true_positive + errors)
    low, high = (2 * bound / (1 + bound) for bound in interval)
    return min(low, f1), max(high, f1)


def roc_auc(positive: NDArray[np.bool_], score: NDArray[np.floating[Any]]) -> float | None:
    """Return the area under the ROC curve; None unless both classes are there.

    It is the share of pairs (one image of each class) that the scores put in order; a tied pair
    counts one half. Arrays of shape (n,); raises `ValueError` where a score is NaN.
    """
    placements = _placements(positive, score)
    return None if placements is None else float(placements[0].mean())


def delong_interval(
    positive: NDArray[np.bool_],
    score: NDArray[np.floating[Any]],
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Return an interval of the area under the ROC curve (AUC), or None where none can be stated.

    The variance is DeLong's (1988), from placements that sorting yields as in Sun and Xu (2014);
    the interval is symmetric on the logit scale, so that it stays within [0, 1].

    Where the scores separate the classes completely (AUC 1 or 0), that variance is 0 and says
    nothing. Then the other bound is exact and cautious: of k independent pairs, k the size of the
    smaller class, all k were in order, which for an AUC of a has a probability of at most a ** k.
    Otherwise a class with one image, or a variance of 0 (all scores tied), gives None.
    """
    placements = _placements(positive, score)
    if placements is None:
        return None
    of_positives, of_negatives = placements
    variance = sum(float(side.var(ddof=1)) / side.size for side in placements if side.size > 1)
    # Placements are sorted; comparing their ends finds a variance of 0 without rounding errors.
    if all(side[0] == side[-1] for side in placements):
        variance = 0.0
    smaller = min(of_positives.size, of_negatives.size)
    return area_interval(float(of_positives.mean()), variance, smaller, confidence)


def area_interval(
    area: float, variance: float, smaller: int, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return the interval that `delong_interval` describes, of an area whose variance is known.

    `smaller` is the number of images (of patients, where images are correlated) of the class that
    has fewer.
    """
    if area in (0.0, 1.0):
        bound = ((1 - confidence) / 2) ** (1 / smaller)
        return (bound, 1.0) if area == 1.0 else (0.0, 1 - bound)
    if smaller < 2 or not variance > 0:
        return None
    half = _quantile(confidence) * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    return min(_expit(logit - half), area), max(_expit(logit + half), area)


def bootstrap_interval(
    n: int,
    figure: Callable[[NDArray[np.int64]], float],
    confidence: float = CONFIDENCE,
    resamples: int = 1000,
) -> Interval:
    """Return the percentile bootstrap interval (Efron 1979) of a figure of `n` images.

    `figure` is given the positions (n,) of a sample with replacement; the samples are the same at
    every call.
    """
    random = np.random.default_rng(0)
    found = [figure(random.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def _placements(
    positive: NDArray[np.bool_], score: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return, for each positive, the share of negatives below it, and for each negative, the
    share of positives above it (ties count one half); in ascending order of score.
    """
    if np.isnan(score).any():
        raise ValueError("expected numbers as scores, found NaN")
    positives, negatives = np.sort(score[positive]), np.sort(score[~positive])
    if not positives.size or not negatives.size:
        return None
    return _share_below(positives, negatives), 1 - _share_below(negatives, positives)


def _share_below(
    values: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """For each of `values` (sorted), return the share of `others` (sorted) below it."""
    below = np.searchsorted(others, values, side="left")
    below += np.searchsorted(others, values, side="right")
    return below / (2 * others.size)
