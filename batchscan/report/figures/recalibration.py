"""Logistic recalibration: by how much scores would have to be shifted and stretched."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Estimate
from batchscan.report.figures.agreement import Z
from batchscan.report.figures.clusters import Patients, count_of

CLIP = 1e-6
"""Scores this close to 0 and 1 have no usable logit, and are taken as this far from them."""


@dataclass(frozen=True)
class Recalibration:
    """What turns scores into probabilities: logit(probability) = intercept + slope * logit(score).

    `in_the_large` is the intercept with the slope held at 1: 0 for scores that are right on
    average, above it where they are too low. The ideal slope is 1; below it scores are too extreme.
    `clipped` counts the scores that were within `CLIP` of 0 or 1.
    """

    in_the_large: Estimate
    intercept: Estimate
    slope: Estimate
    clipped: int


def recalibration_of(outcomes: Outcomes, patient: Patients | None = None) -> Recalibration:
    """Fit a logistic regression of the labels on the logit of scores (n,) in [0, 1] (Cox 1958).

    `outcomes` holds images of both classes. Intervals are Wald's, with a variance that is
    clustered where `patient` (n,) is given (Liang and Zeger 1986). Without an intercept and slope
    where the scores separate the classes or are all the same: then no slope is likeliest. Without
    any estimate where all scores are clipped: it would be that of `CLIP`, not of the scores.
    """
    score = outcomes.score.astype(np.float64)
    clipped = int(((score < CLIP) | (score > 1 - CLIP)).sum())
    unknown = Estimate(None, n=score.size)
    if clipped == score.size:
        return Recalibration(unknown, unknown, unknown, clipped)
    np.clip(score, CLIP, 1 - CLIP, out=score)
    logit = np.log(score / (1 - score))
    truth = outcomes.positive.astype(np.float64)
    ones = np.ones((logit.size, 1))
    (in_the_large,) = _fit(truth, ones, patient, offset=logit)
    intercept = slope = unknown
    if _has_slope(logit, outcomes.positive):
        intercept, slope = _fit(truth, np.column_stack([ones, logit]), patient)
    return Recalibration(in_the_large, intercept, slope, clipped)


def _has_slope(logit: NDArray[np.float64], positive: NDArray[np.bool_]) -> bool:
    """Say whether the classes overlap, which a likeliest slope needs (Albert, Anderson 1984)."""
    positives, negatives = logit[positive], logit[~positive]
    above, below = positives.min() >= negatives.max(), positives.max() <= negatives.min()
    return not (above or below)


def _fit(
    truth: NDArray[np.float64],
    columns: NDArray[np.float64],
    patient: Patients | None,
    offset: NDArray[np.float64] | None = None,
) -> list[Estimate]:
    """Return each coefficient of a logistic regression of `truth` (n,) on `columns` (n, k)."""
    n = truth.size
    fitted = _converged(truth, columns, offset)
    if fitted is None:
        return [Estimate(None, n=n) for _ in columns.T]
    if patient is None:
        covariance = fitted.cov_params()
    elif count_of(patient) > 1:
        residual = truth - fitted.predict()
        covariance = _sandwich(fitted.cov_params(), columns, residual, patient)
    else:
        return [Estimate(float(value), n=n) for value in fitted.params]
    halves = Z * np.sqrt(np.diag(covariance))
    return [
        Estimate(value, value - half, value + half, n)
        for value, half in zip(fitted.params.tolist(), halves.tolist(), strict=True)
    ]


def _converged(
    truth: NDArray[np.float64], columns: NDArray[np.float64], offset: NDArray[np.float64] | None
) -> Any | None:
    """Return the fit of statsmodels; None where none is found."""
    from statsmodels.discrete.discrete_model import Logit

    model = Logit(truth, columns, offset=offset, check_rank=False)
    start = None if offset is None else [_intercept(truth, offset)]
    # Far from the likeliest values the information is 0, and Newton's step is not defined.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # What goes wrong shows below.
        try:
            fitted = model.fit(start, method="newton", maxiter=100, disp=False)
            errors = fitted.bse
        except np.linalg.LinAlgError:
            return None
    known = np.isfinite(fitted.params).all() and np.isfinite(errors).all()
    return fitted if fitted.mle_retvals["converged"] and known else None


def _intercept(truth: NDArray[np.float64], offset: NDArray[np.float64]) -> float:
    """Return the likeliest intercept, with which as many positives (n,) are expected as found.

    Newton's method finds it only from near by: of scores that are mostly close to 0 or 1, not from
    0 on. Between the bounds it always is.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    share = float(logit(truth.mean()))
    low, high = share - float(offset.max()), share - float(offset.min())
    if low == high:
        return low
    excess = lambda value: float(expit(offset + value).mean() - truth.mean())  # noqa: E731
    return float(brentq(excess, low - 1e-6, high + 1e-6, xtol=1e-3))


def _sandwich(
    bread: NDArray[np.float64],
    columns: NDArray[np.float64],
    residual: NDArray[np.float64],
    patient: Patients,
) -> NDArray[np.float64]:
    """Return the covariance (k, k) of coefficients from the sums of patients' scores."""
    sums = np.stack([np.bincount(patient, column * residual) for column in columns.T])
    (n, k), patients = columns.shape, count_of(patient)
    factor = patients / (patients - 1) * (n - 1) / (n - k)
    found: NDArray[np.float64] = bread @ (sums @ sums.T) @ bread * factor
    return found
