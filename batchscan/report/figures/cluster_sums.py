"""Sums over patients at many thresholds in one sweep, for intervals along a curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.report.figures.clusters import Patients

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SumsAlong:
    """Sums over patients at m thresholds, descending: float64 (m,).

    For a patient with `tp` and `fp` images that reach a threshold, of `positives` and `negatives`:
    `tp_fp` sums tp * fp and so on, `tp_all` tp * positives, `fp_all` fp * negatives. `with_any`
    counts the patients of whom an image reaches the threshold, `with_positives` and
    `with_negatives` those who have such images at all.
    """

    tp_tp: Floats
    tp_fp: Floats
    fp_fp: Floats
    tp_all: Floats
    fp_all: Floats
    with_any: Floats
    with_positives: int
    with_negatives: int


def sums_along(
    positive: NDArray[np.bool_], patient: Patients, reached: NDArray[np.int64]
) -> SumsAlong:
    """Sum over patients at thresholds that the first `reached` (m,) images of (n,) reach.

    Images come by descending score; `reached` ascends and ends with n. With each image of a
    patient a square tp * tp grows by 2 tp + 1, and so on: each image adds its share to the first
    threshold that it reaches, and the shares are summed up.
    """
    order = np.argsort(patient, kind="stable")
    own = positive[order]
    starts = np.flatnonzero(np.diff(patient[order], prepend=-1))
    sizes = np.diff(starts, append=own.size)
    positives = np.add.reduceat(own, starts, dtype=np.int32)
    tp = np.cumsum(own, dtype=np.int32) - own
    tp -= np.repeat(tp[starts], sizes)
    fp = np.arange(own.size, dtype=np.int32) - np.repeat(starts.astype(np.int32), sizes) - tp
    steps = np.arange(reached.size, dtype=np.int32)
    step = np.repeat(steps, np.diff(reached, prepend=0))[order]

    def along(growth: NDArray[np.generic]) -> Floats:
        return np.cumsum(np.bincount(step, growth, reached.size))

    return SumsAlong(
        tp_tp=along(own * (2 * tp + 1)),
        tp_fp=along(np.where(own, fp, tp)),
        fp_fp=along(~own * (2 * fp + 1)),
        tp_all=along(own * np.repeat(positives, sizes)),
        fp_all=along(~own * np.repeat(sizes - positives, sizes)),
        with_any=along((tp + fp) == 0),
        with_positives=int((positives > 0).sum()),
        with_negatives=int((sizes > positives).sum()),
    )
