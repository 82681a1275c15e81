"""Two results on the same images, where patients have several images: what is known, by patient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.paired import FEW
from batchscan.metrics.statistics import CONFIDENCE, Interval
from batchscan.report.figures.clusters import Patients, Sums, effective_size
from batchscan.report.figures.rates import Rate

Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class ClusteredPair:
    """Two proportions of the same images; `difference` is second minus first, with `interval`.

    `interval` is None for fewer than two patients. `exact` says how `p_value` was found.
    """

    first: Rate
    second: Rate
    difference: float
    interval: Interval | None
    p_value: float
    exact: bool


def clustered_pair(first: Truths, second: Truths, patient: Patients) -> ClusteredPair:
    """Compare proportions of True (n,), of one image at least, by patient (n,).

    A patient's sum of differences is as likely to be above 0 as below, if both are as good: the
    p-value is that of all changes of sign, exact where fewer than `FEW` patients have another sum
    than 0, else from chi-squared (Yang, Sun and Hardin 2010, Biometrical Journal, doi
    10.1002/bimj.201000035). With one image a patient both are McNemar's. The interval puts Wilson's
    intervals of both proportions (of effective numbers of images) together by their correlation
    (MOVER, Zou and Donner 2008).
    """
    images = np.bincount(patient).astype(np.float64)
    sums = [np.bincount(patient, side, images.size).astype(np.float64) for side in (first, second)]
    rates = [_rate(side, images) for side in sums]
    gaps = sums[1] - sums[0]
    difference = float(gaps.sum()) / float(images.sum())
    interval = _interval(rates[0], rates[1], _variance(gaps, images, difference))
    changed = gaps[gaps != 0]
    exact = changed.size < FEW
    p_value = _exact(changed) if exact else _chi_squared(changed)
    return ClusteredPair(rates[0], rates[1], difference, interval, p_value, exact)


def clustered_area_error(
    positive: Truths, gain: NDArray[np.float64], loss: NDArray[np.float64], patient: Patients
) -> float | None:
    """Return the standard error of a difference of areas (Obuchowski 1997, Biometrics 53, 567).

    `gain` holds for each positive image how much larger its share of negatives below it is by the
    second scores, `loss` for each negative how much larger that of positives below it is. None for
    fewer than two patients with either.
    """
    patients = int(patient.max()) + 1
    sides = [
        (patient[positive], gain - gain.mean()),
        (patient[~positive], loss.mean() - loss),
    ]
    counts = [np.unique(number).size for number, _ in sides]
    if min(counts) < 2:
        return None
    of_positives, of_negatives = (
        np.bincount(number, share, patients) / share.size for number, share in sides
    )
    variance = 2 * float(of_positives @ of_negatives) * _freedom(np.unique(patient).size)
    for side, count in ((of_positives, counts[0]), (of_negatives, counts[1])):
        variance += float(side @ side) * _freedom(count)
    return math.sqrt(variance) if variance > 0 else None


def _rate(successes: Sums, images: Sums) -> Rate:
    """Return a proportion of the images, by the sums of patients."""
    effective = effective_size(
        float(successes.sum()),
        float(images.sum()),
        float(successes @ successes),
        float(successes @ images),
        float(images @ images),
        int((images > 0).sum()),
    )
    return Rate(int(successes.sum()), int(images.sum()), effective)


def _variance(gaps: Sums, images: Sums, difference: float) -> float:
    """Return the variance of the ratio of two sums over patients."""
    rest = gaps - difference * images
    patients = int((images > 0).sum())
    return float(rest @ rest) * _freedom(patients) / float(images.sum()) ** 2


def _interval(first: Rate, second: Rate, variance: float) -> Interval | None:
    one, other = first.interval(), second.interval()
    if one is None or other is None or first.share is None or second.share is None:
        return None
    own = [
        share * (1 - share) / rate.effective
        for rate, share in ((first, first.share), (second, second.share))
    ]
    product = math.sqrt(own[0] * own[1])
    alike = (own[0] + own[1] - variance) / (2 * product) if product else 0.0
    alike = min(max(alike, -1.0), 1.0)
    difference = second.share - first.share
    below = _side(second.share - other[0], one[1] - first.share, alike)
    above = _side(other[1] - second.share, first.share - one[0], alike)
    return difference - below, difference + above


def _side(one: float, other: float, alike: float) -> float:
    return math.sqrt(max(one**2 - 2 * alike * one * other + other**2, 0.0))


def _exact(changed: Sums) -> float:
    """Return the share of all changes of sign whose sum is as far from 0, or farther."""
    sizes = np.abs(changed).astype(np.int64)
    largest = int(sizes.sum())
    chances = np.zeros(2 * largest + 1)
    chances[largest] = 1.0
    for size in sizes.tolist():
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    far = np.abs(np.arange(-largest, largest + 1)) >= abs(int(changed.sum()))
    return min(float(chances[far].sum()), 1.0)


def _chi_squared(changed: Sums) -> float:
    z = abs(float(changed.sum())) / math.sqrt(float(changed @ changed))
    return 2 * NormalDist().cdf(-z)


def _freedom(patients: int) -> float:
    return patients / (patients - 1) if patients > 1 else 0.0


def normal_interval(value: float, error: float) -> Interval:
    """Return the 95% interval of a difference of proportions or areas, within -1 and 1."""
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return max(value - half, -1.0), min(value + half, 1.0)
