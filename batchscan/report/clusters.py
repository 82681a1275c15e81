"""Images of one patient resemble each other: what that does to the intervals of proportions."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from batchscan.outcomes import Outcomes

Patients = NDArray[np.int32]
"""For each image the number of its patient, from 0 on."""

Cells = NDArray[np.int64]
"""Images by label and prediction: true negative, false positive, false negative, true positive."""


def confusion_of_patients(outcomes: Outcomes, patient: Patients) -> Cells:
    """Return the confusion matrix of each patient: (patients, 4), cells as in `Cells`."""
    cell = (outcomes.positive.astype(np.int64) << 1) | outcomes.predicted
    cell += patient.astype(np.int64) << 2
    patients = int(patient.max(initial=-1)) + 1
    return cast(Cells, np.bincount(cell, minlength=4 * patients).reshape(patients, 4))


def effective_size(successes: NDArray[np.integer], trials: NDArray[np.integer]) -> float:
    """Return how many independent images say as much about a proportion as these do.

    `successes` and `trials` (patients,) are sums of each patient's images. Their number is divided
    by the design effect: the variance of the ratio of the two sums, patients taken as drawn, to
    that of a proportion of independent images (Rao and Scott 1992, Biometrics 48, 577-585). It is
    never taken as below 1. Where the proportion is 0 or 1 the images of a patient count as one
    and the same, in the sense that the design effect is that of complete correlation.
    Returns 0 where fewer than two patients have images: then no interval can be stated.
    """
    taken = trials > 0
    return effective_size_of_sums(
        float(successes.sum()),
        float(trials.sum()),
        float(np.square(successes, dtype=np.float64).sum()),
        float(np.multiply(successes, trials, dtype=np.float64).sum()),
        float(np.square(trials, dtype=np.float64).sum()),
        int(taken.sum()),
    )


def effective_size_of_sums(
    success: float,
    trial: float,
    success_squares: float,
    products: float,
    trial_squares: float,
    patients: int,
) -> float:
    """Do what `effective_size` does, with sums over patients of squares and products."""
    if patients < 2:
        return 0.0
    share = success / trial
    if share in (0.0, 1.0):
        return trial / (trial_squares / trial)
    squares = success_squares - 2 * share * products + share * share * trial_squares
    between = squares * patients / (patients - 1)
    return trial / max(1.0, between / (trial * share * (1 - share)))
