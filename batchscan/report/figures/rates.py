"""Rates at a threshold: proportions of images, with Wilson's interval also for correlated ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batchscan.metrics.outcomes import Outcomes
from batchscan.metrics.statistics import Interval, wilson_interval
from batchscan.report.document import Estimate
from batchscan.report.figures.clusters import (
    Cells,
    Moments,
    Patients,
    confusion_of_patients,
    moments_of,
)


@dataclass(frozen=True)
class Rate:
    """A proportion of `n` images, which say as much as `effective` independent ones (at most n)."""

    successes: int
    n: int
    effective: float

    @property
    def share(self) -> float | None:
        """The proportion; None of no images."""
        return self.successes / self.n if self.n else None

    @property
    def effective_successes(self) -> float:
        """The proportion of the effective number of images; exact at 0 and 1."""
        return self.effective * (self.successes / self.n) if self.n else 0.0

    @property
    def complement(self) -> Rate:
        """The proportion of the others."""
        return Rate(self.n - self.successes, self.n, self.effective)

    def interval(self) -> Interval | None:
        """Return Wilson's interval; None where there is none."""
        return wilson_interval(self.effective_successes, self.effective)

    def estimate(self) -> Estimate:
        """Return the proportion with its interval."""
        return estimate_of(self.share, self.interval(), self.n)


def estimate_of(value: float | None, interval: Interval | None, n: int) -> Estimate:
    """Return a figure with its interval, where it has one."""
    low, high = interval or (None, None)
    return Estimate(value, low, high, n)


@dataclass(frozen=True)
class Rates:
    """The confusion matrix of a group, and the proportions made of it.

    `overlap` is TP / (TP + FP + FN), of which the F1 score is made.
    """

    true_negative: int
    false_positive: int
    false_negative: int
    true_positive: int
    sensitivity: Rate
    specificity: Rate
    positive_value: Rate
    negative_value: Rate
    accuracy: Rate
    overlap: Rate


def rates_of(outcomes: Outcomes, patient: Patients | None = None) -> Rates:
    """Count the images of a group and return its rates, clustered where `patient` (n,) is given."""
    if patient is not None:
        return rates_of_cells(confusion_of_patients(outcomes, patient))
    cell = (outcomes.positive.view(np.uint8) << 1) | outcomes.predicted.view(np.uint8)
    return _rates(np.bincount(cell, minlength=4), None)


def rates_of_cells(cells: Cells) -> Rates:
    """Return the rates, clustered, of the confusion matrices (4, patients) of patients."""
    return _rates(cells.sum(axis=1), moments_of(cells))


def _rates(counts: Cells, moments: Moments | None) -> Rates:
    """Return the rates of the sums of cells (4,), clustered where moments are given."""

    def rate(successes: tuple[int, ...], others: tuple[int, ...]) -> Rate:
        return _rate(counts, moments, successes, (*successes, *others))

    tn, fp, fn, tp = range(4)
    return Rates(
        true_negative=int(counts[tn]),
        false_positive=int(counts[fp]),
        false_negative=int(counts[fn]),
        true_positive=int(counts[tp]),
        sensitivity=rate((tp,), (fn,)),
        specificity=rate((tn,), (fp,)),
        positive_value=rate((tp,), (fp,)),
        negative_value=rate((tn,), (fn,)),
        accuracy=rate((tn, tp), (fp, fn)),
        overlap=rate((tp,), (fp, fn)),
    )


def _rate(
    counts: Cells, moments: Moments | None, successes: tuple[int, ...], trials: tuple[int, ...]
) -> Rate:
    hits = sum(int(counts[cell]) for cell in successes)
    n = sum(int(counts[cell]) for cell in trials)
    if moments is None or not n:
        return Rate(hits, n, float(n))
    return Rate(hits, n, moments.effective_size(successes, trials))
