"""Calibration: turning a network's logits into probabilities that mean what they say.

A network that is trained until it is nearly always right says 0.999 where 0.95 would be true (Guo
et al. 2017, "On Calibration of Modern Neural Networks"). Of the images that score 0.8, eight in ten
should show pneumonia. A few numbers mend most of it: a temperature that divides the logits and an
intercept that is taken off before, one for each of several classes. The latter undoes what weighing
the classes equally in training did to their frequencies. With two classes the order of scores, and
so the AUC, stays.

Fit it on scores of images that the network was not trained on. The figures after the fit are of the
same images; with a few numbers fitted to thousands of images, that flatters them little.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLDEST, HOTTEST = 0.2, 10.0
"""Bounds of the temperature: far beyond what trained networks need, and short of where float32
probabilities all become 0 or 1, or one half."""

STEPS = 60  # of a bisection: 2 ** -60 of the first interval
SCALING_STEPS = 200
TINY = 1e-300  # keeps a logarithm finite


@dataclass(frozen=True)
class Calibration:
    """Makes logits calibrated: (logit - intercept) / temperature.

    The intercept is in logits; for several classes there is one for each, and they sum to 0.
    """

    temperature: float = 1.0
    intercept: float | tuple[float, ...] = 0.0

    def apply(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return probabilities of the same shape: (N,) of the positive class, or (N, C) of each."""
        shifted = np.asarray(logits, dtype=np.float64) - np.asarray(self.intercept)
        calibrated = shifted / self.temperature
        return _sigmoid(calibrated) if calibrated.ndim == 1 else _softmax(calibrated)


def fit_calibration(labels: NDArray[np.uint8], logits: NDArray[np.float64]) -> Calibration:
    """Fit to labels (N,), 0 to C - 1, each present, and finite logits (N,) or (N, C).

    For two classes, logits (N,) are of the positive one. The likelihood is that of Platt (1999,
    "Probabilistic Outputs for Support Vector Machines"): with n images of a class, its target is
    not 1 but (n + 1) / (n + C), Laplace's rule. So the fit is finite even where the scores separate
    the classes, and 40 images cannot prove a probability of 0.9999. The temperature stays between
    `COLDEST` and `HOTTEST` in any case: also where the scores are no better than chance.

    Raises `ValueError` for logits that are not finite, and where a class has no image.
    """
    logits = np.asarray(logits, dtype=np.float64)
    targets = _softened(labels, logits)
    if logits.ndim == 2:
        slope = _best_slope(lambda slope: _slope_excess(slope, logits, targets))
        offsets = _best_offsets(slope, logits, targets)
        return Calibration(1 / slope, tuple((-offsets / slope).tolist()))
    positive = targets[:, 1]

    def excess(slope: float) -> float:
        error = _sigmoid(slope * logits + _best_offset(slope, logits, positive)) - positive
        return float(error @ logits)

    slope = _best_slope(excess)
    return Calibration(1 / slope, -_best_offset(slope, logits, positive) / slope)


def _softened(labels: NDArray[np.uint8], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return targets (N, C) that sum to 1 in each row: nearly 1 for the class of the label."""
    if not np.isfinite(logits).all():
        raise ValueError("expected finite logits, found infinity or NaN")
    classes = 2 if logits.ndim == 1 else logits.shape[1]
    counts = np.bincount(labels, minlength=classes)
    if len(counts) != classes or not counts.all():
        raise ValueError(f"expected images of each of {classes} classes, found {counts.tolist()}")
    rest = 1.0 / (counts + classes)
    rows = np.eye(classes) * ((counts + 1) * rest)[:, None] + (1 - np.eye(classes)) * rest[:, None]
    targets: NDArray[np.float64] = rows[labels]
    return targets


def _slope_excess(slope: float, logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Return the derivative of the loss with respect to the slope, for logits (N, C)."""
    offsets = _best_offsets(slope, logits, targets)
    return float(np.sum((_softmax(slope * logits + offsets) - targets) * logits))


def _best_slope(excess: Callable[[float], float]) -> float:
    """Return the slope, 1 / temperature. The loss is convex: its derivative `excess` rises."""
    return _root(excess, 1 / HOTTEST, 1 / COLDEST)


def _best_offset(slope: float, logits: NDArray[np.float64], positive: NDArray[np.float64]) -> float:
    """Return the offset at which the probabilities sum up to the targets; there always is one."""
    room = math.log(len(logits) + 2) + 1
    low, high = -slope * logits.max() - room, -slope * logits.min() + room
    wanted = positive.sum()
    return _root(lambda offset: float(_sigmoid(slope * logits + offset).sum() - wanted), low, high)


def _best_offsets(
    slope: float, logits: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the offsets (C,) at which each class's probabilities sum up to its targets.

    Each step corrects every class by the factor that it is off (Darroch and Ratcliff 1972,
    "Generalized Iterative Scaling"), which comes ever closer to the one maximum of the likelihood.
    """
    offsets = np.zeros(logits.shape[1])
    wanted = targets.sum(axis=0)
    for _ in range(SCALING_STEPS):
        change = np.log(wanted / np.maximum(_softmax(slope * logits + offsets).sum(axis=0), TINY))
        offsets += change
        if np.abs(change).max() < 1e-9:
            break
    centred: NDArray[np.float64] = offsets - offsets.mean()
    return centred


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return where a rising function is 0, by bisection; an end where it is 0 nowhere between."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without overflow: the exponent is never positive."""
    small = np.exp(-np.abs(logits))
    probabilities: NDArray[np.float64] = np.where(logits < 0, small, 1.0) / (1 + small)
    return probabilities


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities
