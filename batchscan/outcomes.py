"""Outcomes: what the labelled images of a group were scored and predicted to be.

The positive class is the last of the two class names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.errors import UsageError


@dataclass(frozen=True)
class Outcomes:
    """The labelled images of a group. The arrays hold those that are scored, one entry for each.

    `score` is float32 in [0, 1]; `positive` (the truth) and `predicted` are bool, True for the
    positive class. `not_scored` counts the labelled images that have no score.
    """

    score: NDArray[np.float32]
    positive: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    not_scored: int = 0

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Self:
        """Put several groups together."""
        empty = np.empty(0, dtype=bool)
        return cls(
            np.concatenate([np.empty(0, np.float32), *(part.score for part in parts)]),
            np.concatenate([empty, *(part.positive for part in parts)]),
            np.concatenate([empty, *(part.predicted for part in parts)]),
            sum(part.not_scored for part in parts),
        )


def predicted_positive(score: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Say which scores (n,) reach the threshold, compared as float32.

    So a score that shows as 0.7 reaches a threshold of 0.7, which float32 cannot hold exactly.
    """
    return score >= np.float32(threshold)


def select_outcomes(
    score: pa.Array,
    label: pa.Array,
    prediction: pa.Array | None,
    threshold: float,
    classes: Sequence[str],
) -> Outcomes:
    """Pick the labelled images out of columns of equal length.

    The columns are those of `batchscan.metrics.compute_metrics`, as Arrow arrays; without
    `prediction` it is derived from the threshold. Raises `UsageError` for a label or prediction
    that is no class name.
    """
    labelled = pc.is_valid(label)
    scored = pc.fill_null(pc.is_finite(score), False)
    used = pc.and_(labelled, scored)
    scores = score.filter(used).to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if prediction is None:
        predicted = predicted_positive(scores, threshold)
    else:
        predicted = _is_positive(prediction.filter(used), "prediction", classes)
    return Outcomes(
        score=scores,
        positive=_is_positive(label.filter(used), "label", classes),
        predicted=predicted,
        not_scored=(pc.sum(labelled).as_py() or 0) - len(scores),
    )


def _is_positive(values: pa.Array, column: str, classes: Sequence[str]) -> NDArray[np.bool_]:
    """Turn class names into truth values; whatever is neither class is refused, not negative."""
    if pa.types.is_dictionary(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.string())
    codes = pc.index_in(values, value_set=pa.array(classes, values.type))
    if codes.null_count:
        found = values.filter(pc.is_null(codes))[0].as_py()
        raise UsageError(
            f"expected each {column} to be {' or '.join(classes)}, found {found!r}; "
            "use the labels and the results of the same model"
        )
    positive: NDArray[np.bool_] = codes.to_numpy(zero_copy_only=False) == len(classes) - 1
    return positive
