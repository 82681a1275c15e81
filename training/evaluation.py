"""Figures of a model on labelled scores, at a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics import Metric, figures
from batchscan.outcomes import Outcomes, predicted_positive
from training.operating_point import YOUDEN
from training.operating_point import choose_threshold as choose_threshold

THRESHOLD_RULE = YOUDEN.words("the validation images")

PRINTED = ("threshold", "accuracy", "precision", "recall", "specificity", "f1", "auc")
WIDTH = 32  # of a column


def evaluate(
    labels: NDArray[np.uint8], scores: NDArray[np.float32], threshold: float
) -> dict[str, Metric]:
    """Return the figures that a scan would report for labels (N,), 0 or 1, and scores (N,)."""
    outcomes = Outcomes(scores, labels == 1, predicted_positive(scores, threshold))
    return {metric.metric: metric for metric in figures(outcomes, threshold)}


def for_card(metrics: Mapping[str, Metric]) -> dict[str, dict[str, float | int | None]]:
    """Return figures as JSON values, each with its 95% interval where it has one."""
    return {
        name: {"value": m.value, "ci_low": m.ci_low, "ci_high": m.ci_high, "n": m.n}
        for name, m in metrics.items()
    }


def render(results: Mapping[str, Mapping[str, Metric]]) -> str:
    """Return a text table of the main figures, one column for each side of the split."""
    lines = [f"{'':<14}" + "".join(f"{side:<{WIDTH}}" for side in results)]
    counts = [_counts(metrics) for metrics in results.values()]
    lines += [
        f"{name:<14}" + "".join(f"{column[row]:<{WIDTH}}" for column in counts)
        for row, name in enumerate(("images", "right", "wrong"))
    ]
    lines += [
        f"{name:<14}" + "".join(f"{_with_interval(m[name]):<{WIDTH}}" for m in results.values())
        for name in PRINTED
    ]
    return "\n".join(line.rstrip() for line in lines)


def roc_curve(
    labels: NDArray[np.uint8], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false and true positive rates from (0, 0) to (1, 1), a point for each score."""
    order = np.argsort(-scores, kind="stable")
    positive = labels[order] == 1
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    true = np.append(0, np.cumsum(positive)[last_of_ties])
    false = np.append(0, np.cumsum(~positive)[last_of_ties])
    return false / false[-1], true / true[-1]


def _counts(metrics: Mapping[str, Metric]) -> Sequence[str]:
    count = {name: int(metric.value or 0) for name, metric in metrics.items()}
    tp, tn = count["true_positive"], count["true_negative"]
    fp, fn = count["false_positive"], count["false_negative"]
    return (str(tp + tn + fp + fn), f"{tp} positive, {tn} negative", f"{fn} missed, {fp} false")


def _with_interval(metric: Metric) -> str:
    if metric.value is None:
        return "-"
    if metric.ci_low is None or metric.ci_high is None:
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f} ({metric.ci_low:.4f}-{metric.ci_high:.4f})"
