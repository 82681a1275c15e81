"""Scores of images by networks that were not trained on them: each fold's, of its own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.crossvalidation import SCORED_AT_A_TIME, Finished, open_network, score
from training.options import TrainingOptions
from training.prepare import PreparedData
from training.progress import Steps
from training.shift import SHIFTS, STRENGTHS, shifted

ShiftedScores = dict[tuple[str, str], NDArray[np.float32]]
_ROUNDED_TO_ONE = 1e-7  # float32 probabilities nearer to 0 and 1 are not told from them


@dataclass(frozen=True)
class HeldOut:
    """Labels uint8 (N,) and uncalibrated scores (N,) or (N, C) of the images at `positions`."""

    positions: NDArray[np.int64]
    labels: NDArray[np.uint8]
    scores: NDArray[np.float32]


def held_out_scores(
    folds: Sequence[Finished], data: PreparedData, options: TrainingOptions
) -> HeldOut:
    """Score the images that each training held out with its network."""
    positions = np.concatenate([fold.task.validation for fold in folds])
    scores = [
        score(open_network(fold, options, len(data.classes)), data.pixels, fold.task.validation)
        for fold in folds
    ]
    return HeldOut(positions, data.labels[positions], np.concatenate(scores))


def shifted_scores(
    folds: Sequence[Finished], data: PreparedData, options: TrainingOptions
) -> ShiftedScores:
    """Return the same scores, in the same order, for each shift and strength of the shift suite."""
    pieces: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    parts = [
        (fold, fold.task.validation[n : n + SCORED_AT_A_TIME])
        for fold in folds
        for n in range(0, len(fold.task.validation), SCORED_AT_A_TIME)
    ]
    variants = [(shift, strength) for shift in SHIFTS for strength in STRENGTHS]
    with Steps("shift suite", len(parts) * len(variants), "parts") as steps:
        for fold, positions in parts:
            scorer = open_network(fold, options, len(data.classes))
            images = data.pixels[positions]
            for shift, strength in variants:
                changed = shifted(images, shift, strength, threads=options.threads)
                pieces.setdefault((shift.name, strength), []).append(scorer.score(changed))
                steps.update()
    return {variant: np.concatenate(scores) for variant, scores in pieces.items()}


def logits(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logits (N,) of probabilities (N,), or logarithms (N, C) of those of classes."""
    kept = np.clip(scores.astype(np.float64), _ROUNDED_TO_ONE, 1 - _ROUNDED_TO_ONE)
    return np.log(kept) if kept.ndim == 2 else np.log(kept) - np.log1p(-kept)
