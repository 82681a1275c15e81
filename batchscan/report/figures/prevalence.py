"""Predictive values where the disease is as frequent as somebody says, not as in the archive."""

from __future__ import annotations

import math

from batchscan.report.document import Estimate
from batchscan.report.figures.agreement import Z
from batchscan.report.figures.rates import Rate, Rates


def positive_value_at(rates: Rates, prevalence: float) -> Estimate:
    """Return the share of positives among those predicted so, at a prevalence between 0 and 1.

    By Bayes' theorem; the interval is the logit one of Mercaldo, Lau and Zhou (2007, Statistics in
    Medicine 26, 2170-2183), the adjusted one where a cell of the confusion matrix is empty.
    """
    return _value_at(rates.sensitivity, rates.specificity.complement, prevalence)


def negative_value_at(rates: Rates, prevalence: float) -> Estimate:
    """Return the share of negatives among those predicted so; see `positive_value_at`."""
    return _value_at(rates.specificity, rates.sensitivity.complement, 1 - prevalence)


def _value_at(right: Rate, wrong: Rate, prevalence: float) -> Estimate:
    """Return the predictive value for a class, `prevalence` of all images.

    `right` is the share of its images that are predicted so, `wrong` that of the other class.
    """
    n = right.n + wrong.n
    if right.share is None or wrong.share is None or not right.share + wrong.share:
        return Estimate(None, n=n)
    part = right.share * prevalence
    value = part / (part + wrong.share * (1 - prevalence))
    if not right.effective or not wrong.effective:
        return Estimate(value, n=n)
    low, high = _logit_interval(_adjusted(right, wrong), prevalence)
    return Estimate(value, min(low, value), max(high, value), n)


def _adjusted(*rates: Rate) -> tuple[tuple[float, float], ...]:
    """Return effective successes and images, with some added where a cell is empty."""
    pairs = tuple((rate.effective_successes, rate.effective) for rate in rates)
    if all(0 < rate.successes < rate.n for rate in rates):
        return pairs
    return tuple((successes + Z * Z / 2, n + Z * Z) for successes, n in pairs)


def _logit_interval(
    counts: tuple[tuple[float, float], ...], prevalence: float
) -> tuple[float, float]:
    (right, right_n), (wrong, wrong_n) = counts
    odds = (right / right_n * prevalence) / (wrong / wrong_n * (1 - prevalence))
    half = Z * math.sqrt(1 / right - 1 / right_n + 1 / wrong - 1 / wrong_n)
    low, high = (1 / (1 + math.exp(-math.log(odds) + side * half)) for side in (1, -1))
    return low, high
