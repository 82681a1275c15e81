"""Differences between a group of images and the rest: how large, and how surprising."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from batchscan.report.document import Estimate
from batchscan.report.figures.agreement import Z
from batchscan.report.figures.area import Area
from batchscan.report.figures.rates import Rate


def area_difference(one: Area, other: Area) -> tuple[Estimate, float | None]:
    """Return the difference of the areas of two independent groups, and its p-value.

    By DeLong's variances (1988) and the normal distribution. Without interval and p-value where a
    variance is 0, as for scores that separate the classes completely.
    """
    from scipy.stats import norm

    value, n = one.value - other.value, one.n + other.n
    if not one.variance > 0 or not other.variance > 0:
        return Estimate(value, n=n), None
    error = math.sqrt(one.variance + other.variance)
    low, high = max(value - Z * error, -1.0), min(value + Z * error, 1.0)
    return Estimate(value, low, high, n), float(2 * norm.sf(abs(value) / error))


def rate_difference(one: Rate, other: Rate) -> tuple[Estimate, float | None]:
    """Return the difference of the rates of two independent groups, and its p-value.

    The interval is made of both Wilson's (Newcombe 1998, Statistics in Medicine 17, 873-890,
    method 10). The test is the score test with Campbell's "N - 1" (2007, Statistics in Medicine
    26, 3661-3675), or Fisher's exact one where fewer than 5 images are expected in a cell. Of
    correlated images effective numbers are used, rounded for Fisher's.
    """
    n, interval, others = one.n + other.n, one.interval(), other.interval()
    if one.share is None or other.share is None:
        return Estimate(None, n=n), None
    value = one.share - other.share
    if interval is None or others is None:
        return Estimate(value, n=n), None
    (low, high), (other_low, other_high) = interval, others
    below = math.hypot(one.share - low, other_high - other.share)
    above = math.hypot(high - one.share, other.share - other_low)
    return Estimate(value, value - below, value + above, n), _p_value(one, other)


def _p_value(one: Rate, other: Rate) -> float:
    from scipy.stats import fisher_exact
    from statsmodels.stats.proportion import test_proportions_2indep

    hits = [one.effective_successes, other.effective_successes]
    sizes = [one.effective, other.effective]
    pooled = sum(hits) / sum(sizes)
    if pooled in (0.0, 1.0):
        return 1.0
    if min(sizes) * min(pooled, 1 - pooled) < 5:
        table = np.rint([hits, [size - hit for hit, size in zip(hits, sizes, strict=True)]])
        return float(fisher_exact(table.astype(np.int64)).pvalue)
    # It also works out ratios, which may not be defined; they aren't used.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = test_proportions_2indep(
            hits[0], sizes[0], hits[1], sizes[1], method="score", compare="diff", correction=True
        )
    return float(found.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number (Holm 1979); None stays None."""
    known = [value for value in p_values if value is not None]
    if not known:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    corrected = iter(multipletests(known, method="holm")[1].tolist())
    return [None if value is None else next(corrected) for value in p_values]
