"""How far probabilities can be believed, before a calibration and after: Brier score, bins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.statistics import Interval, bootstrap_interval, wilson_interval
from training.calibration import Calibration

BINS = 15  # as in Guo et al. 2017

METHOD = (
    "calibrated logit = (logit - intercept) / temperature, fitted by maximum likelihood with the "
    "softened targets of Platt (1999)"
)

Figure = Callable[[NDArray[np.uint8], NDArray[np.floating[Any]]], float]


@dataclass(frozen=True)
class ReliabilityBin:
    """Images of similar probability: the mean that was predicted, and the share that came true.

    `ci_low` and `ci_high` are Wilson's 95% interval of the share.
    """

    predicted: float
    observed: float
    ci_low: float
    ci_high: float
    count: int


@dataclass(frozen=True)
class CalibrationQuality:
    """How far probabilities can be believed; lower is better for both numbers.

    Their 95% intervals are `bootstrap_interval`'s.
    """

    brier: float
    brier_interval: Interval
    expected_calibration_error: float
    error_interval: Interval
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration has changed, on `images` images."""

    calibration: Calibration
    images: int
    before: CalibrationQuality
    after: CalibrationQuality


def brier_score(labels: NDArray[np.uint8], probabilities: NDArray[np.floating[Any]]) -> float:
    """Return the mean squared error of probabilities (N,) of the positive class, or (N, C).

    For (N, C) the errors are summed over the classes, as in Brier (1950): from 0 to 2, not to 1.
    """
    if probabilities.ndim == 1:
        return float(np.mean((probabilities - labels) ** 2))
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.mean(np.sum((probabilities - truth) ** 2, axis=1)))


def expected_calibration_error(
    labels: NDArray[np.uint8], probabilities: NDArray[np.floating[Any]], bins: int = BINS
) -> float:
    """Return the mean distance of predicted and observed, over the bins of `reliability`."""
    found = reliability(labels, probabilities, bins)
    gaps = [each.count * abs(each.predicted - each.observed) for each in found]
    return sum(gaps) / len(labels)


def reliability(
    labels: NDArray[np.uint8], probabilities: NDArray[np.floating[Any]], bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort images into up to `bins` bins of equal count, in ascending order of probability.

    With probabilities (N,), a bin compares them with the share of positive images; with (N, C), the
    probability of each image's likeliest class with the share of images where that class is right.
    Equal probabilities stay in one bin, so there may be fewer bins, of unequal count.
    """
    predicted, right = _claims(labels, probabilities)
    edges = np.sort(predicted)[np.arange(1, bins) * len(predicted) // bins]
    numbers = np.searchsorted(np.unique(edges), predicted, side="right")
    found = []
    for number in np.unique(numbers):
        inside = numbers == number
        count, true = int(inside.sum()), int(right[inside].sum())
        low, high = wilson_interval(true, count) or (0.0, 1.0)
        mean = float(predicted[inside].mean())
        found.append(ReliabilityBin(mean, true / count, low, high, count))
    return tuple(found)


def report_calibration(
    labels: NDArray[np.uint8], logits: NDArray[np.float64], calibration: Calibration
) -> CalibrationReport:
    """Compare probabilities before and after, on labels (N,) and logits (N,) or (N, C)."""
    before, after = (
        _quality(labels, probabilities)
        for probabilities in (Calibration().apply(logits), calibration.apply(logits))
    )
    return CalibrationReport(calibration, len(labels), before, after)


def _quality(
    labels: NDArray[np.uint8], probabilities: NDArray[np.floating[Any]]
) -> CalibrationQuality:
    def of_sample(figure: Figure) -> Interval:
        return bootstrap_interval(
            len(labels), lambda sample: figure(labels[sample], probabilities[sample])
        )

    return CalibrationQuality(
        brier_score(labels, probabilities),
        of_sample(brier_score),
        expected_calibration_error(labels, probabilities),
        of_sample(expected_calibration_error),
        reliability(labels, probabilities),
    )


def for_card(report: CalibrationReport) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {
        "method": METHOD,
        **asdict(report.calibration),
        "images": report.images,
        "before": _quality_for_card(report.before),
        "after": _quality_for_card(report.after),
    }


def _quality_for_card(quality: CalibrationQuality) -> dict[str, Any]:
    bins = [
        {name: round(value, 5) for name, value in asdict(each).items()} for each in quality.bins
    ]
    return {
        "brier": quality.brier,
        "expected_calibration_error": quality.expected_calibration_error,
        "intervals": {
            "brier": [round(bound, 5) for bound in quality.brier_interval],
            "expected_calibration_error": [round(bound, 5) for bound in quality.error_interval],
        },
        "bins": bins,
    }


def _claims(
    labels: NDArray[np.uint8], probabilities: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]:
    """Return what is claimed of each image (N,), and whether it is true."""
    if probabilities.ndim == 1:
        return probabilities, labels == 1
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
