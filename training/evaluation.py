"""Figures of a model on labelled scores, as a scan would report them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.figures import Metric, class_figures, figures
from batchscan.metrics.outcomes import ClassOutcomes, Outcomes, likeliest, predicted_positive

Figures = Mapping[str, Metric]
"""By name; `name[CLASS]` for a figure of one class against the rest."""

PRINTED = (
    "threshold",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "auc",
    "macro_auc",
)
WIDTH = 32  # of a column


def evaluate(
    labels: NDArray[np.uint8],
    scores: NDArray[np.float32],
    threshold: float | None,
    classes: Sequence[str],
) -> Figures:
    """Return the figures that a scan would report for labels (N,) and scores (N,) or (N, C).

    `threshold` is that of two classes; of more, the likeliest is predicted.
    """
    if threshold is not None:
        predicted = predicted_positive(scores, threshold)
        found = figures(Outcomes(scores, labels == 1, predicted), threshold)
    else:
        outcomes = ClassOutcomes(scores, labels.astype(np.int64), likeliest(scores))
        found = class_figures(outcomes, classes)
    return {_name(metric): metric for metric in found}


def _name(metric: Metric) -> str:
    return f"{metric.metric}[{metric.class_name}]" if metric.class_name else metric.metric


def for_card(metrics: Figures) -> dict[str, dict[str, float | int | None]]:
    """Return figures as JSON values, each with its 95% interval where it has one."""
    return {
        name: {"value": m.value, "ci_low": m.ci_low, "ci_high": m.ci_high, "n": m.n}
        for name, m in metrics.items()
    }


def render(results: Mapping[str, Figures]) -> str:
    """Return a text table of the main figures, one column for each side of the split."""
    lines = [f"{'':<22}" + "".join(f"{side:<{WIDTH}}" for side in results)]
    counts = [_counts(metrics) for metrics in results.values()]
    lines += [
        f"{row:<22}" + "".join(f"{column[row]:<{WIDTH}}" for column in counts) for row in counts[0]
    ]
    lines += [
        f"{name:<22}" + "".join(f"{_with_interval(m[name]):<{WIDTH}}" for m in results.values())
        for name in next(iter(results.values()))
        if name.partition("[")[0] in PRINTED
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


def _counts(metrics: Figures) -> dict[str, str]:
    """Return what was counted, by the name of its row."""
    count = {name: int(metric.value or 0) for name, metric in metrics.items()}
    if "true_positive" not in count:
        return {"images": str(count["labelled"])}
    tp, tn = count["true_positive"], count["true_negative"]
    fp, fn = count["false_positive"], count["false_negative"]
    return {
        "images": str(tp + tn + fp + fn),
        "right": f"{tp} positive, {tn} negative",
        "wrong": f"{fn} missed, {fp} false",
    }


def _with_interval(metric: Metric) -> str:
    if metric.value is None:
        return "-"
    if metric.ci_low is None or metric.ci_high is None:
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f} ({metric.ci_low:.4f}-{metric.ci_high:.4f})"
