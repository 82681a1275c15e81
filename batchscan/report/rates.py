"""Rates at a threshold: proportions of images, with Wilson's interval also for correlated ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from batchscan.outcomes import Outcomes
from batchscan.report.clusters import Cells, Patients, confusion_of_patients, effective_size
from batchscan.report.document import Estimate
from batchscan.statistics import Interval, wilson_interval


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
    counts = np.bincount(cell, minlength=4)
    return rates_of_cells(counts[None, :], clustered=False)


def rates_of_cells(cells: Cells, clustered: bool = True) -> Rates:
    """Return the rates of confusion matrices (patients, 4), or of one (1, 4) of single images."""

    def rate(successes: tuple[int, ...], others: tuple[int, ...]) -> Rate:
        hits = cells[:, list(successes)].sum(axis=1)
        trials = hits + cells[:, list(others)].sum(axis=1)
        n = int(trials.sum())
        effective = effective_size(hits, trials) if clustered and n else float(n)
        return Rate(int(hits.sum()), n, effective)

    tn, fp, fn, tp = range(4)
    counts = cells.sum(axis=0)
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
