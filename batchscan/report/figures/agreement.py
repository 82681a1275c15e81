"""Figures of a confusion matrix that are no proportions, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchscan.metrics.statistics import mean_interval
from batchscan.report.document import Estimate
from batchscan.report.figures.clusters import Cells
from batchscan.report.figures.rates import Rate, Rates, estimate_of

Z = 1.959963984540054
"""The normal distribution's quantile for intervals of 95%."""

RESAMPLES = 1000

Floats = NDArray[np.float64]


def f1_score(rates: Rates) -> Estimate:
    """Return F1 = 2J / (1 + J) of J = TP / (TP + FP + FN), and Wilson's interval carried over.

    As in `batchscan.metrics.statistics.f1_interval`, of an effective number of images.
    """
    overlap, interval = rates.overlap, rates.overlap.interval()
    if overlap.share is None or interval is None:
        value = None if overlap.share is None else 2 * overlap.share / (1 + overlap.share)
        return Estimate(value, n=overlap.n)
    low, value, high = (2 * j / (1 + j) for j in (interval[0], overlap.share, interval[1]))
    return Estimate(value, low, high, overlap.n)


def balanced_accuracy(rates: Rates) -> Estimate:
    """Return the mean of sensitivity and specificity, and MOVER's interval of their Wilson's."""
    both = rates.sensitivity, rates.specificity
    shares = [rate.share for rate in both if rate.share is not None]
    intervals = [interval for rate in both if (interval := rate.interval())]
    value = sum(shares) / 2 if len(shares) == 2 else None
    interval = mean_interval(shares, intervals) if len(intervals) == 2 else None
    return estimate_of(value, interval, sum(rate.n for rate in both))


def likelihood_ratio(above: Rate, below: Rate) -> Estimate:
    """Return the ratio of two independent proportions, and its interval by the log method.

    As in Simel, Samsa and Matchar (1991), Journal of Clinical Epidemiology 44, 763-770. Not
    defined where the lower one is 0; without an interval where the upper one is.
    """
    n = above.n + below.n
    if not above.share or not below.share:
        return Estimate(0.0 if above.share == 0 and below.share else None, n=n)
    value = above.share / below.share
    if not above.effective or not below.effective:
        return Estimate(value, n=n)
    half = Z * math.sqrt(
        sum(
            (1 - r.effective_successes / r.effective) / r.effective_successes
            for r in (above, below)
        )
    )
    return Estimate(value, value * math.exp(-half), value * math.exp(half), n)


def kappa(cells: Floats) -> Floats:
    """Return Cohen's kappa (1960) of confusion matrices (..., 4); NaN where it isn't defined."""
    tn, fp, fn, tp = np.moveaxis(cells, -1, 0)
    n = cells.sum(axis=-1)
    expected = (tp + fp) * (tp + fn) + (tn + fn) * (tn + fp)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (n * (tp + tn) - expected) / (n * n - expected)
    return found


def matthews(cells: Floats) -> Floats:
    """Return Matthews' correlation (1975) of confusion matrices (..., 4); NaN if not defined."""
    tn, fp, fn, tp = np.moveaxis(cells, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
        found: Floats = (tp * tn - fp * fn) / root
    return found


def resampled(cells: Cells) -> Floats:
    """Draw as many patients as there are, `RESAMPLES` times, and return their sums (.., 4).

    `cells` (4, patients) are their confusion matrices. Patients with the same matrix are drawn
    together, which makes it quick and changes nothing. Always the same samples (seed 0).
    """
    columns = dict(zip(("tn", "fp", "fn", "tp"), cells, strict=True))
    # In one thread: the kinds come in a fixed order, and so do the samples.
    groups = pa.table(columns).group_by(list(columns), use_threads=False)
    kinds = groups.aggregate([([], "count_all")])
    matrix = np.stack([kinds[name].to_numpy() for name in columns], axis=1)
    return _drawn(matrix, kinds["count_all"].to_numpy())


def resampled_images(rates: Rates) -> Floats:
    """Do what `resampled` does, of independent images."""
    counts = [rates.true_negative, rates.false_positive, rates.false_negative, rates.true_positive]
    return _drawn(np.eye(4, dtype=np.int64), np.array(counts))


def _drawn(kinds: Cells, counts: NDArray[np.int64]) -> Floats:
    random = np.random.default_rng(0)
    chances = counts / counts.sum()
    block = max(1, 2_000_000 // len(kinds))
    sums = [
        random.multinomial(counts.sum(), chances, min(block, RESAMPLES - start)) @ kinds
        for start in range(0, RESAMPLES, block)
    ]
    return np.concatenate(sums).astype(np.float64)


def bootstrap_estimate(
    figure: Callable[[Floats], Floats], rates: Rates, samples: Floats
) -> Estimate:
    """Return a figure of a confusion matrix, and the percentile interval of its `samples` (.., 4).

    No interval is stated where all samples agree, or the figure isn't defined for some of them.
    """
    counts = [rates.true_negative, rates.false_positive, rates.false_negative, rates.true_positive]
    value = float(figure(np.array(counts, dtype=np.float64)))
    if math.isnan(value):
        return Estimate(None, n=sum(counts))
    found = figure(samples)
    if np.isnan(found).any() or np.ptp(found) == 0:
        return Estimate(value, n=sum(counts))
    low, high = np.quantile(found, [0.025, 0.975]).tolist()
    return Estimate(value, min(low, value), max(high, value), sum(counts))
