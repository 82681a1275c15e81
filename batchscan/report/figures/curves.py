"""ROC and precision-recall curves: every threshold counts, a few hundred are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.figures.area import ascending
from batchscan.report.figures.cluster_sums import sums_along
from batchscan.report.figures.clusters import Patients, effective_size
from batchscan.report.figures.rates import Rate

Floats = NDArray[np.float64]

_STEPS = 120
"""Points are at least as dense as this along the curve's height, and along both its axes."""


@dataclass(frozen=True)
class Thresholds:
    """The counts at each threshold that makes a difference: the distinct scores, descending.

    `score` is float32 (k,); `true_positive` and `false_positive` are int64 (k,), of the images
    that reach it, so that the last are the numbers of positives and negatives, both above 0.
    `positive` (n,) and `patient` (n,) are of the images themselves, by descending score.
    """

    score: NDArray[np.float32]
    true_positive: NDArray[np.int64]
    false_positive: NDArray[np.int64]
    positive: NDArray[np.bool_]
    patient: Patients | None

    @property
    def reached(self) -> NDArray[np.int64]:
        """How many images reach each threshold: int64 (k,)."""
        return self.true_positive + self.false_positive

    @property
    def positives(self) -> int:
        """The number of positive images."""
        return int(self.true_positive[-1])

    @property
    def negatives(self) -> int:
        """The number of negative images."""
        return int(self.false_positive[-1])


@dataclass(frozen=True)
class Drawn:
    """The rates at the thresholds that are drawn, descending: one of each for every threshold.

    `fall_out` is the share of negatives that are taken for positive.
    """

    sensitivity: list[Rate]
    fall_out: list[Rate]
    precision: list[Rate]


@dataclass(frozen=True)
class Curve:
    """Points of a curve and its band: float64 (m,) each, m a few hundred at most."""

    x: Floats
    y: Floats
    low: Floats
    high: Floats


def thresholds_of(outcomes: Outcomes, patient: Patients | None = None) -> Thresholds:
    """Count images at every threshold. `outcomes` holds images of both classes."""
    order = ascending(outcomes.score)
    score = outcomes.score[order][::-1]
    positive = outcomes.positive[order][::-1]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    true_positive = np.cumsum(positive, dtype=np.int64)[ends]
    return Thresholds(
        score=score[ends],
        true_positive=true_positive,
        false_positive=ends + 1 - true_positive,
        positive=positive,
        patient=None if patient is None else patient[order][::-1],
    )


def drawn_points(thresholds: Thresholds) -> NDArray[np.int64]:
    """Choose the thresholds to draw, ascending numbers (m,): dense along recall and both rates."""
    recall = thresholds.true_positive / thresholds.positives
    both = recall + thresholds.false_positive / thresholds.negatives
    last = recall.size - 1
    chosen = [
        np.searchsorted(values, np.linspace(0, values[-1], _STEPS + 1)[1:]).clip(0, last)
        for values in (recall, both)
    ]
    return np.unique(np.concatenate([[0, last], *chosen]))


def roc_curve(drawn: Drawn) -> Curve:
    """Return the sensitivity (y) by the share of negatives that are taken for positive (x).

    The band is pointwise: at each threshold, Wilson's intervals of both rates, put together as
    MOVER does (Zou and Donner 2008, Statistics in Medicine 27, 1693-1702): what the one for x is
    worth in y is read off the curve. With `patient` the intervals are clustered.
    """
    sensitivity, fall_out = drawn.sensitivity, drawn.fall_out
    x, y = _shares(fall_out), _shares(sensitivity)
    y_low, y_high = _bounds(sensitivity)
    x_low, x_high = _bounds(fall_out)
    curve_x, curve_y = np.append(0.0, x), np.append(0.0, y)
    left = np.interp(x_low, curve_x, curve_y)
    right = np.interp(x_high, curve_x, curve_y)
    low = y - np.hypot(y - y_low, np.maximum(y - left, 0))
    high = y + np.hypot(y_high - y, np.maximum(right - y, 0))
    # Where the curve goes straight up, its band is that of the top.
    top = np.searchsorted(x, x, side="right") - 1
    low = np.minimum(low[top], y).clip(0, 1)
    high = np.maximum(high[top], y).clip(0, 1)
    start = (0.0, 0.0, 0.0, high[0] if x[0] == 0 else _bounds(sensitivity)[1][0])
    return Curve(
        *(np.append(first, rest) for first, rest in zip(start, (x, y, low, high), strict=True))
    )


def precision_recall_curve(drawn: Drawn) -> Curve:
    """Return the positive predictive value (y) by sensitivity (x).

    The band is Wilson's interval of the predictive value at each threshold, clustered with
    `patient`; it doesn't reckon with the uncertainty of the sensitivity.
    """
    low, high = _bounds(drawn.precision)
    return Curve(_shares(drawn.sensitivity), _shares(drawn.precision), low, high)


def _shares(rates: list[Rate]) -> Floats:
    return np.array([rate.successes / rate.n for rate in rates])


def _bounds(rates: list[Rate]) -> tuple[Floats, Floats]:
    """Return the lower and upper bounds; of nothing known, 0 and 1."""
    bounds = np.array([rate.interval() or (0.0, 1.0) for rate in rates])
    return bounds[:, 0], bounds[:, 1]


def drawn_rates(thresholds: Thresholds) -> Drawn:
    """Return the rates at the thresholds that are drawn."""
    points = drawn_points(thresholds)
    tp = thresholds.true_positive[points].tolist()
    fp = thresholds.false_positive[points].tolist()
    positives, negatives = thresholds.positives, thresholds.negatives
    sizes = _sizes_along(thresholds, points)
    return Drawn(
        [Rate(hits, positives, size) for hits, size in zip(tp, sizes[0], strict=True)],
        [Rate(hits, negatives, size) for hits, size in zip(fp, sizes[1], strict=True)],
        [
            Rate(hits, hits + others, size)
            for hits, others, size in zip(tp, fp, sizes[2], strict=True)
        ],
    )


def _sizes_along(thresholds: Thresholds, points: NDArray[np.int64]) -> tuple[list[float], ...]:
    """Return the effective number of images behind each of the three rates at each point."""
    tp = thresholds.true_positive[points].astype(np.float64)
    fp = thresholds.false_positive[points].astype(np.float64)
    positives, negatives = thresholds.positives, thresholds.negatives
    if thresholds.patient is None:
        whole = [float(positives)] * tp.size, [float(negatives)] * tp.size
        return *whole, (tp + fp).tolist()
    sums = sums_along(thresholds.positive, thresholds.patient, thresholds.reached[points])
    size = np.vectorize(effective_size, otypes=[np.float64])
    both = sums.tp_tp + 2 * sums.tp_fp + sums.fp_fp
    products, tp_all, fp_all = sums.tp_tp + sums.tp_fp, sums.tp_all, sums.fp_all
    return (
        size(tp, positives, sums.tp_tp, tp_all, tp_all[-1], sums.with_positives).tolist(),
        size(fp, negatives, sums.fp_fp, fp_all, fp_all[-1], sums.with_negatives).tolist(),
        size(tp, tp + fp, sums.tp_tp, products, both, sums.with_any).tolist(),
    )
