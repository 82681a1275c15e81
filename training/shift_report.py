"""What the shift suite found: figures on changed images, beside those on the images as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.outcomes import predicted_positive
from batchscan.statistics import roc_auc
from training.shift import SHIFTS, STRENGTHS

Figures = Mapping[str, float]
"""For two classes `auc`, `sensitivity`, `specificity`; for more `auc` and `accuracy`; 0 to 1."""


@dataclass(frozen=True)
class ShiftRow:
    """The figures on images with one change."""

    shift: str
    strength: str
    figures: Figures


@dataclass(frozen=True)
class ShiftReport:
    """`clean` is without any change; `mean` and `worst` are over all rows, each figure by itself.

    `worst_at` says for each figure which row that is, such as "blur, strong".
    """

    images: int
    threshold: float | None
    clean: Figures
    rows: tuple[ShiftRow, ...]
    mean: Figures
    worst: Figures
    worst_at: Mapping[str, str]


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
    """
    rows = tuple(
        ShiftRow(shift, strength, _figures(labels, scores, threshold))
        for (shift, strength), scores in scores_by_shift.items()
    )
    clean = _figures(labels, clean_scores, threshold)
    lowest = {name: min(rows, key=lambda row: row.figures[name]) for name in clean}
    return ShiftReport(
        images=len(labels),
        threshold=threshold,
        clean=clean,
        rows=rows,
        mean={name: float(np.mean([row.figures[name] for row in rows])) for name in clean},
        worst={name: row.figures[name] for name, row in lowest.items()},
        worst_at={name: f"{row.shift}, {row.strength}" for name, row in lowest.items()},
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
        "rows": [
            {
                "shift": row.shift,
                "strength": row.strength,
                **_short(row.figures),
                "what": what.get((row.shift, row.strength), ""),
            }
            for row in report.rows
        ],
    }


def _short(figures: Figures) -> dict[str, float]:
    return {name: round(value, 5) for name, value in figures.items()}


def _figures(
    labels: NDArray[np.uint8], scores: NDArray[np.float32], threshold: float | None
) -> Figures:
    if scores.ndim == 2:
        areas = [_area(labels == number, scores[:, number]) for number in range(scores.shape[1])]
        right = scores.argmax(axis=1) == labels
        return {"auc": float(np.mean(areas)), "accuracy": float(right.mean())}
    if threshold is None:
        raise ValueError("expected a threshold for the scores of two classes, found none")
    predicted = predicted_positive(scores, threshold)
    return {
        "auc": _area(labels == 1, scores),
        "sensitivity": float(predicted[labels == 1].mean()),
        "specificity": float(1 - predicted[labels == 0].mean()),
    }


def _area(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    area = roc_auc(positive, scores)
    if area is None:
        raise ValueError("expected images of every class, found a class without any")
    return area
