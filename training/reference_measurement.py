"""What a reference is made of: a network's scores, features and hashes of its training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchscan.image.perceptual_hash import NEAR, perceptual_hashes
from batchscan.model.reference import QUANTILES, Reference, distances, reference_bytes
from batchscan.model.scorer import Scorer
from training.crossvalidation import SCORED_AT_A_TIME
from training.options import TrainingOptions
from training.prepare import PreparedData
from training.progress import say

if TYPE_CHECKING:
    from training.outcome import Exported, Measured  # It imports Keras.

ABOVE = 0.01  # share of the training images whose distance is above the limit
IN_SAMPLE = "in_sample"

LIMIT_RULE = (
    "the distance of an image's features from the nearest class mean (Mahalanobis, one covariance "
    "for all classes, shrunk as Ledoit and Wolf, 2004) that 1% of the training images exceed; each "
    "of them is measured by means and covariance of the folds that it is not in. The network has "
    "been trained on all of them: of new images of the same kind, more may exceed it"
)


@dataclass(frozen=True)
class Measurement:
    """A reference, and how it came about.

    `scores` says whose scores `score_images` images have: `out_of_fold` or `validation` (networks
    that were not trained on them) or `in_sample`.
    """

    reference: Reference
    scores: str
    score_images: int

    def to_bytes(self) -> bytes:
        """Return the content of `reference.npz`."""
        return reference_bytes(self.reference)

    def for_card(self) -> dict[str, Any]:
        """Return the card's field `reference`."""
        found = self.reference
        return {
            "images": len(found.phashes),
            "scores": self.scores,
            "score_images": self.score_images,
            "features": found.means.shape[1],
            "limit": found.limit,
            "limit_rule": LIMIT_RULE,
            "near_bits": NEAR,
        }


@dataclass(frozen=True)
class Seen:
    """What a network makes of its training images: scores (N,) or (N, C), features (N, F), hashes.

    `labels` are positions in the classes, `folds` say in which part of the images each is; both
    int64 (N,).
    """

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    phashes: NDArray[np.uint64]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]


def training_reference(
    data: PreparedData, measured: Measured, exported: Exported, options: TrainingOptions
) -> Measurement | None:
    """Make the reference of a training that is finished; None, and a note, where there can be none.

    Scores are those that the figures are measured on.
    """
    from training.outcome import open_exported

    scorer = open_exported(exported, data, options)
    positions = np.flatnonzero(data.split.fold >= 0)
    seen = look_at(
        scorer, data.pixels, positions, data.labels[positions], data.split.fold[positions]
    )
    if seen is None:
        return None
    held_out = measured.scored[measured.side][1]
    return measure_reference(seen, held_out, measured.side)


def look_at(
    scorer: Scorer,
    pixels: NDArray[np.uint8],
    positions: NDArray[np.int64],
    labels: NDArray[np.integer[Any]],
    folds: NDArray[np.int64],
) -> Seen | None:
    """Score images and keep what a reference is made of; None if the network has no features."""
    parts = []
    for start in range(0, len(positions), SCORED_AT_A_TIME):
        squares = pixels[positions[start : start + SCORED_AT_A_TIME]]
        scores, features = scorer.score_with_features(squares)
        if features is None:
            return None
        parts.append((scores, features, perceptual_hashes(squares)))
    scores, features, phashes = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return Seen(scores, features, phashes, labels.astype(np.int64), folds)


def measure_reference(seen: Seen, scores: NDArray[np.float32], side: str) -> Measurement | None:
    """Put a reference together; `scores` are those to take quantiles of, and `side` says whose.

    None, and a note, where the features are all alike, so that no image is further than others.
    """
    classes = 2 if scores.ndim == 1 else scores.shape[1]
    far = _held_out_distances(seen, classes)
    limit = float(np.quantile(far, 1 - ABOVE))
    if not (np.isfinite(limit) and limit > 0):
        say("note: the features of all training images are alike; there is no reference.npz")
        return None
    means, whitening = _fit(seen.features, seen.labels, classes)
    quantiles = np.quantile(scores, np.linspace(0, 1, QUANTILES), axis=0).astype(np.float32)
    found = Reference(quantiles, np.sort(seen.phashes), means, whitening, limit)
    return Measurement(found, side, len(scores))


def _held_out_distances(seen: Seen, classes: int) -> NDArray[np.float64]:
    """Return the distance of each image, by means and covariance of all other folds."""
    far = np.empty(len(seen.labels))
    for fold in np.unique(seen.folds):
        inside = seen.folds == fold
        fitted = _fit(seen.features[~inside], seen.labels[~inside], classes)
        far[inside] = distances(seen.features[inside], *fitted)
    return far


def _fit(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the means (C, F) of the classes, and the whitening (F, F) of what differs from them.

    The covariance is shrunk, so that there is one for fewer images than features, too.
    """
    from sklearn.covariance import LedoitWolf

    wide = features.astype(np.float64)
    means = np.stack([wide[labels == label].mean(axis=0) for label in range(classes)])
    covariance = LedoitWolf(assume_centered=True).fit(wide - means[labels]).covariance_
    # Where features never differ, nothing can be shrunk: a little of all directions is added.
    least = max(1e-6 * np.trace(covariance) / len(covariance), 1e-12)
    precision = np.linalg.inv(covariance + least * np.eye(len(covariance)))
    return means.astype(np.float32), np.linalg.cholesky(precision).astype(np.float32)
