"""Images of one patient resemble each other: what that does to the intervals of proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import Outcomes

Patients = NDArray[np.int32]
"""For each image the number of its patient, from 0 on."""

Cells = NDArray[np.int64]
"""Images by label and prediction: true negative, false positive, false negative, true positive."""

Sums = NDArray[np.float64]


def count_of(patient: Patients) -> int:
    """Return how many different patients there are."""
    known = np.zeros(int(patient.max(initial=-1)) + 1, dtype=bool)
    known[patient] = True
    return int(known.sum())


def confusion_of_patients(outcomes: Outcomes, patient: Patients) -> Cells:
    """Return the confusion matrix of each patient: (4, patients), cells as in `Cells`."""
    patients = int(patient.max(initial=-1)) + 1
    place = 2 * outcomes.positive.astype(np.int64) + outcomes.predicted
    place *= patients
    place += patient
    return cast(Cells, np.bincount(place, minlength=4 * patients).reshape(4, patients))


@dataclass(frozen=True)
class Moments:
    """Sums over patients of their confusion matrices c (4,), as in `Cells`.

    `sums` (4,) are of c, `squares` (4, 4) of the products of its cells; `having` (16,) counts the
    patients by which cells are above 0: 8 for the first of them, 4, 2, and 1 for the last.
    """

    sums: Sums
    squares: Sums
    having: NDArray[np.int64]

    def effective_size(self, successes: Sequence[int], trials: Sequence[int]) -> float:
        """Return that of the proportion of the cells `successes` among the cells `trials`."""
        is_success = np.isin(range(4), successes).astype(np.float64)
        is_trial = np.isin(range(4), trials).astype(np.float64)
        bits = sum(8 >> cell for cell in trials)
        having = [int(self.having[pattern]) for pattern in range(16) if pattern & bits]
        return effective_size(
            float(self.sums @ is_success),
            float(self.sums @ is_trial),
            float(is_success @ self.squares @ is_success),
            float(is_success @ self.squares @ is_trial),
            float(is_trial @ self.squares @ is_trial),
            sum(having),
        )


def moments_of(cells: Cells) -> Moments:
    """Sum the confusion matrices (4, patients) of patients and the products of their cells."""
    patterns = np.zeros(cells.shape[1], dtype=np.uint8)
    for cell in cells:
        patterns <<= 1
        patterns |= cell > 0
    exact = cells.astype(np.float64)
    return Moments(exact.sum(axis=1), exact @ exact.T, np.bincount(patterns, minlength=16))


def effective_size(
    success: float,
    trial: float,
    success_squares: float,
    products: float,
    trial_squares: float,
    patients: int,
) -> float:
    """Return how many independent images say as much about a proportion as these do.

    Given are sums over `patients` who have images: of their successes and trials, and of squares
    and products of these two. The number of images is divided by the design effect: the variance
    of the ratio of the two sums, patients taken as drawn, to that of a proportion of independent
    images (Rao and Scott 1992, Biometrics 48, 577-585). It is never taken as below 1; and where
    the proportion is 0 or 1, as that of images that are all alike within a patient. Returns 0 for
    fewer than two patients: then no interval can be stated.
    """
    if patients < 2:
        return 0.0
    share = success / trial
    if share in (0.0, 1.0):
        return trial * trial / trial_squares
    squares = success_squares - 2 * share * products + share * share * trial_squares
    between = squares * patients / (patients - 1)
    return trial / max(1.0, between / (trial * share * (1 - share)))
