"""What the shift suite found: figures on changed images, beside those on the images as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import predicted_positive
from batchscan.metrics.statistics import Interval, delong_interval, roc_auc, wilson_interval
from training.shift import SHIFTS, STRENGTHS

Figures = Mapping[str, float]
"""For two classes `auc`, `sensitivity`, `specificity`; for more `auc` and `accuracy`; 0 to 1."""

Intervals = Mapping[str, Interval | None]
"""The 95% interval of each figure; None where none can be stated."""


@dataclass(frozen=True)
class ShiftRow:
    """The figures on images with one change."""

    shift: str
    strength: str
    figures: Figures
    intervals: Intervals


@dataclass(frozen=True)
class ShiftReport:
    """`clean` is without any change; `mean` and `worst` are over all rows, each figure by itself.

    `worst_at` says for each figure which row that is, such as "blur, strong". `intervals` has those
    of "clean", "mean" and "worst".
    """

    images: int
    threshold: float | None
    clean: Figures
    rows: tuple[ShiftRow, ...]
    mean: Figures
    worst: Figures
    worst_at: Mapping[str, str]
    intervals: Mapping[str, Intervals]


def shift_report(
    labels: NDArray[np.uint8],
    scores_by_shift: Mapping[tuple[str, str], NDArray[np.float32]],
    clean_scores: NDArray[np.float32],
    threshold: float | None,
) -> ShiftReport:
    """Measure scores of images after each change, keyed by (shift, strength).

    Labels (N,) are 0 to C - 1, each present. Scores (N,) are of the positive class, and predict it
    at the threshold; scores (N, C) predict the likeliest class, and `threshold` is None. For C
    classes, the AUC is the mean over the classes of one against the rest.

    Intervals are Wilson's and DeLong's. That of a mean goes from the mean of the lower bounds to
    the mean of the upper ones: cautious, as all rows are of the same images.
    """
    rows = tuple(
        ShiftRow(shift, strength, *_measured(labels, scores, threshold))
        for (shift, strength), scores in scores_by_shift.items()
    )
    clean, clean_intervals = _measured(labels, clean_scores, threshold)
    lowest = {name: min(rows, key=lambda row: row.figures[name]) for name in clean}
    return ShiftReport(
        images=len(labels),
        threshold=threshold,
        clean=clean,
        rows=rows,
        mean={name: float(np.mean([row.figures[name] for row in rows])) for name in clean},
        worst={name: row.figures[name] for name, row in lowest.items()},
        worst_at={name: f"{row.shift}, {row.strength}" for name, row in lowest.items()},
        intervals={
            "clean": clean_intervals,
            "mean": {name: _mean_bounds([row.intervals[name] for row in rows]) for name in clean},
            "worst": {name: row.intervals[name] for name, row in lowest.items()},
        },
    )


def for_card(report: ShiftReport) -> dict[str, Any]:
    """Return a report as JSON values, rates to 5 digits; each row says what was done."""
    what = {
        (shift.name, strength): shift.describe(strength)
        for shift in SHIFTS
        for strength in STRENGTHS
    }
    return {
        "images": report.images,
        "threshold": report.threshold,
        "clean": _short(report.clean),
        "mean": _short(report.mean),
        "worst": _short(report.worst),
        "worst_at": dict(report.worst_at),
        "intervals": {kind: _short_pairs(found) for kind, found in report.intervals.items()},
        "rows": [
            {
                "shift": row.shift,
                "strength": row.strength,
                **_short(row.figures),
                "intervals": _short_pairs(row.intervals),
                "what": what.get((row.shift, row.strength), ""),
            }
            for row in report.rows
        ],
    }


def _short(figures: Figures) -> dict[str, float]:
    return {name: round(value, 5) for name, value in figures.items()}


def _short_pairs(intervals: Intervals) -> dict[str, list[float] | None]:
    return {
        name: None if pair is None else [round(bound, 5) for bound in pair]
        for name, pair in intervals.items()
    }


def _measured(
    labels: NDArray[np.uint8], scores: NDArray[np.float32], threshold: float | None
) -> tuple[Figures, Intervals]:
    if scores.ndim == 2:
        sides = [(labels == number, scores[:, number]) for number in range(scores.shape[1])]
        right = scores.argmax(axis=1) == labels
        area = float(np.mean([_area(*side) for side in sides]))
        bounds = _mean_bounds([delong_interval(*side) for side in sides])
        return (
            {"auc": area, "accuracy": float(right.mean())},
            {"auc": bounds, "accuracy": _wilson(right)},
        )
    if threshold is None:
        raise ValueError("expected a threshold for the scores of two classes, found none")
    predicted, positive = predicted_positive(scores, threshold), labels == 1
    found, spared = predicted[positive], ~predicted[~positive]
    return (
        {
            "auc": _area(positive, scores),
            "sensitivity": float(found.mean()),
            "specificity": float(spared.mean()),
        },
        {
            "auc": delong_interval(positive, scores),
            "sensitivity": _wilson(found),
            "specificity": _wilson(spared),
        },
    )


def _wilson(right: NDArray[np.bool_]) -> Interval | None:
    return wilson_interval(int(right.sum()), len(right))


def _mean_bounds(intervals: Sequence[Interval | None]) -> Interval | None:
    known = [pair for pair in intervals if pair is not None]
    if not known or len(known) < len(intervals):
        return None
    low, high = np.mean(known, axis=0)
    return float(low), float(high)


def _area(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    area = roc_auc(positive, scores)
    if area is None:
        raise ValueError("expected images of every class, found a class without any")
    return area
