"""Figures: how well the predictions of a group of images agree with their labels.

With two classes, figures are those of the positive class. With more, some are of all classes
together, and the others of each class against the rest: the same as for two, under the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import ClassOutcomes, Outcomes
from batchscan.metrics.statistics import (
    Interval,
    delong_interval,
    f1_interval,
    mean_interval,
    roc_auc,
    wilson_interval,
)

AGAINST_THE_REST = (
    "true_positive",
    "false_positive",
    "true_negative",
    "false_negative",
    "prevalence",
    "precision",
    "recall",
    "specificity",
    "f1",
    "auc",
)
"""The figures of each class against the rest, for more than two classes."""


@dataclass(frozen=True)
class Metric:
    """One figure. `value` is None where it is not defined; `n` images are what it rests on.

    For a proportion, `n` is its denominator; for `f1`, the images that are positive by label or
    prediction. An interval is None where none can be stated. `class_name` is the class that the
    figure is of, with more than two; None for figures of all classes together.
    """

    subgroup: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    class_name: str | None = None


def figures(outcomes: Outcomes, threshold: float | None, subgroup: str = "all") -> list[Metric]:
    """Return every figure of one group for two classes, in the order of the file.

    `threshold` is reported as it is given; None where predictions do not come from one.
    """
    truth, predicted = outcomes.positive, outcomes.predicted
    n = truth.size
    tp, fp = int((truth & predicted).sum()), int((~truth & predicted).sum())
    fn, tn = int((truth & ~predicted).sum()), int((~truth & ~predicted).sum())
    rows: list[tuple[str, float | None, Interval | None, int]] = [
        *_labelled(n, outcomes.not_scored),
        ("true_positive", tp, None, n),
        ("false_positive", fp, None, n),
        ("true_negative", tn, None, n),
        ("false_negative", fn, None, n),
        ("threshold", threshold, None, n),
        _proportion("prevalence", tp + fn, n),
        _proportion("accuracy", tp + tn, n),
        _proportion("precision", tp, tp + fp),
        _proportion("recall", tp, tp + fn),
        _proportion("specificity", tn, tn + fp),
        ("f1", _ratio(2 * tp, 2 * tp + fp + fn), f1_interval(tp, fp, fn), tp + fp + fn),
        ("auc", roc_auc(truth, outcomes.score), delong_interval(truth, outcomes.score), n),
    ]
    return [_metric(subgroup, *row) for row in rows]


def class_figures(
    outcomes: ClassOutcomes, classes: Sequence[str], subgroup: str = "all"
) -> list[Metric]:
    """Return every figure of one group for three or more classes, in the order of the file.

    First those of all classes together: `balanced_accuracy` is the mean of the classes' recalls,
    `macro_auc` that of their areas under the ROC curve, each class against the rest. Then for each
    class its row of the confusion matrix, `predicted_<class>`, and `AGAINST_THE_REST`.
    """
    n = outcomes.truth.size
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (outcomes.truth, outcomes.predicted), 1)
    each = [
        _against_the_rest(outcomes, number, classes, confusion[number], subgroup)
        for number in range(len(classes))
    ]
    areas = [metric.value for metrics in each for metric in metrics if metric.metric == "auc"]
    together = [
        *_labelled(n, outcomes.not_scored),
        _proportion("accuracy", int(confusion.trace()), n),
        ("balanced_accuracy", *_balanced_accuracy(confusion), n),
        ("macro_auc", _mean(areas), None, n),
    ]
    return [_metric(subgroup, *row) for row in together] + [row for rows in each for row in rows]


def _balanced_accuracy(confusion: NDArray[np.int64]) -> tuple[float | None, Interval | None]:
    """Return the mean of the classes' recalls; not defined where a class has no image."""
    pairs = list(zip(confusion.diagonal().tolist(), confusion.sum(axis=1).tolist(), strict=True))
    intervals = [wilson_interval(right, images) for right, images in pairs]
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(pairs):
        return None, None
    recalls = [right / images for right, images in pairs]
    return _mean(recalls), mean_interval(recalls, known)


def _against_the_rest(
    outcomes: ClassOutcomes,
    number: int,
    classes: Sequence[str],
    predicted: NDArray[np.int64],
    subgroup: str,
) -> list[Metric]:
    """Return the figures of one class; `predicted` (C,) counts what its images were taken for."""
    found = {metric.metric: metric for metric in figures(outcomes.against_the_rest(number), None)}
    rows = [
        _metric(subgroup, f"predicted_{name}", int(count), None, int(predicted.sum()))
        for name, count in zip(classes, predicted, strict=True)
    ]
    rows += [replace(found[name], subgroup=subgroup) for name in AGAINST_THE_REST]
    return [replace(row, class_name=classes[number]) for row in rows]


def _labelled(n: int, not_scored: int) -> list[tuple[str, float | None, Interval | None, int]]:
    labelled = n + not_scored
    return [
        ("labelled", labelled, None, labelled),
        ("labelled_not_scored", not_scored, None, labelled),
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, where each class has a value: without one of them it is another figure."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _proportion(name: str, part: int, n: int) -> tuple[str, float | None, Interval | None, int]:
    return name, _ratio(part, n), wilson_interval(part, n), n


def _metric(
    subgroup: str, name: str, value: float | None, interval: Interval | None, n: int
) -> Metric:
    low, high = interval or (None, None)
    return Metric(subgroup, name, None if value is None else float(value), low, high, n)
