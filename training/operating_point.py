"""The operating point: which threshold turns scores into predictions, and what others would give.

Thresholds are exact in float32, so that comparing in float32 or in float64 gives the same
predictions: positive at or above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.statistics import wilson_interval

CURVE_ERRORS = (0.0, *np.geomspace(0.001, 0.5, 50).tolist())
"""Rates of missed positives, and of false alarms, that the operating curve shows a threshold for:
evenly spread in their logarithm, as 1% or 2% missed makes more difference than 41% or 42%."""


@dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is chosen: to reach a sensitivity (0 to 1), or by Youden's J if it is None.

    Youden (1950, "Index for rating diagnostic tests") maximises sensitivity + specificity - 1.
    """

    sensitivity: float | None = None

    def words(self, images: str) -> str:
        """State the rule, for a card; `images` names what it is chosen on."""
        middle = "in the middle between the two neighbouring scores"
        if self.sensitivity is None:
            return (
                f"the score that maximises sensitivity + specificity - 1 (Youden's J) on {images}, "
                f"{middle}; of several, the one nearest to 0.5"
            )
        return (
            f"the highest score that finds at least {self.sensitivity:.4g} of the positive images "
            f"(sensitivity) on {images}, {middle}"
        )


YOUDEN = ThresholdRule()
SENSITIVITY_95 = ThresholdRule(sensitivity=0.95)


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold gives: two rates from 0 to 1, each with Wilson's 95% interval."""

    threshold: float
    sensitivity: float
    sensitivity_low: float
    sensitivity_high: float
    specificity: float
    specificity_low: float
    specificity_high: float


def choose_threshold(
    labels: NDArray[np.uint8], scores: NDArray[np.float32], rule: ThresholdRule = YOUDEN
) -> float:
    """Choose by a rule from labels (N,), 0 or 1, both present, and scores (N,) in [0, 1]."""
    if rule.sensitivity is None:
        return _youden(labels, scores)
    return _reaching(labels, scores, rule.sensitivity)


def operating_curve(
    labels: NDArray[np.uint8], scores: NDArray[np.float32], also: Sequence[float] = ()
) -> tuple[OperatingPoint, ...]:
    """Return about 100 thresholds, ascending, and what each gives on labels and scores (N,).

    The thresholds of `also` are among them.

    For each rate of `CURVE_ERRORS`: the highest threshold that misses no more of the positives, and
    the lowest that raises no more false alarms. Equal ones are shown once. Both classes must be
    there.
    """
    scores = scores.astype(np.float32)
    thresholds = {*also, *(_reaching(labels, scores, 1 - error) for error in CURVE_ERRORS)}
    thresholds |= {_sparing(labels, scores, 1 - error) for error in CURVE_ERRORS}
    return tuple(_point(labels, scores, threshold) for threshold in sorted(thresholds))


def for_card(curve: Sequence[OperatingPoint]) -> list[dict[str, Any]]:
    """Return an operating curve as JSON values; thresholds exact, rates to 5 digits."""
    return [
        {
            name: value if name == "threshold" else round(value, 5)
            for name, value in asdict(point).items()
        }
        for point in curve
    ]


def _youden(labels: NDArray[np.uint8], scores: NDArray[np.float32]) -> float:
    levels = np.unique(scores)
    middles = (levels[1:].astype(np.float64) + levels[:-1]) / 2
    candidates = np.unique((middles if len(middles) else np.array([0.5])).astype(np.float32))
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    sensitivity = 1 - np.searchsorted(positive, candidates) / len(positive)
    specificity = np.searchsorted(negative, candidates) / len(negative)
    merit = sensitivity + specificity
    best = candidates[merit >= merit.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _reaching(labels: NDArray[np.uint8], scores: NDArray[np.float32], sensitivity: float) -> float:
    """Return the highest threshold that at least this share of the positives reaches."""
    positive = np.sort(scores[labels == 1])
    level = positive[len(positive) - _needed(sensitivity, len(positive))]
    return _below(level, scores)


def _sparing(labels: NDArray[np.uint8], scores: NDArray[np.float32], specificity: float) -> float:
    """Return the lowest threshold that at least this share of the negatives stays below.

    Where the highest score of all is a negative's, none below 1 may: then it is the next number
    above that score.
    """
    negative = np.sort(scores[labels == 0])
    level = negative[_needed(specificity, len(negative)) - 1]
    above = scores[scores > level]
    if not above.size:
        return float(np.nextafter(np.float32(level), np.float32(2)))
    return _below(above.min(), scores)


def _needed(share: float, count: int) -> int:
    """Return how many of `count` are at least this share: one or more; 0.95 of 100 is 95."""
    return max(1, math.ceil(share * count - 1e-9))


def _below(level: np.float32, scores: NDArray[np.float32]) -> float:
    """Return the middle between a score and the next one below it, or 0 if it is the lowest."""
    lower = scores[scores < level]
    floor = lower.max() if lower.size else np.float32(0)
    middle = np.float32((float(level) + float(floor)) / 2)
    return float(middle if middle > floor else level)  # Neighbours in float32 have no middle.


def _point(
    labels: NDArray[np.uint8], scores: NDArray[np.float32], threshold: float
) -> OperatingPoint:
    predicted = scores >= np.float32(threshold)
    right = (predicted[labels == 1], ~predicted[labels == 0])
    rates: list[float] = []
    for side in right:
        count, true = len(side), int(side.sum())
        rates += [true / count, *(wilson_interval(true, count) or (0.0, 1.0))]
    return OperatingPoint(threshold, *rates)
