"""Outcomes: what the labelled images of a group were scored and predicted to be.

Of two classes, the positive one is the last (`Outcomes`). Of more, the likeliest is predicted
(`ClassOutcomes`).
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
from batchscan.schema import score_columns


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


@dataclass(frozen=True)
class ClassOutcomes:
    """The labelled images of a group, for three or more classes, which are numbered from 0.

    `score` is float32 (n, C), each in [0, 1]; `truth` and `predicted` are int64 (n,), numbers of
    classes. The arrays hold the images that are scored; `not_scored` counts the other labelled
    ones.
    """

    score: NDArray[np.float32]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    not_scored: int = 0

    @classmethod
    def joined(cls, parts: Sequence[ClassOutcomes], class_count: int) -> Self:
        """Put several groups together."""
        none = np.empty(0, dtype=np.int64)
        scores = [np.empty((0, class_count), np.float32), *(part.score for part in parts)]
        return cls(
            np.concatenate(scores),
            np.concatenate([none, *(part.truth for part in parts)]),
            np.concatenate([none, *(part.predicted for part in parts)]),
            sum(part.not_scored for part in parts),
        )

    def against_the_rest(self, number: int) -> Outcomes:
        """Take one class as positive, and all others together as negative."""
        return Outcomes(
            self.score[:, number],
            self.truth == number,
            self.predicted == number,
            self.not_scored,
        )


def likeliest(score: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of the class with the highest score (n, C); of equal ones the first."""
    numbers: NDArray[np.int64] = score.argmax(axis=1).astype(np.int64)
    return numbers


def predictions(
    table: pa.Table, classes: Sequence[str], threshold: float | None
) -> pa.Array | pa.ChunkedArray:
    """Return the predicted class of each row of a part: its name, null where there is no score.

    `threshold` is that of the positive one of two classes, and None for more.
    """
    columns = [table[name] for name in score_columns(classes)]
    if threshold is not None:
        # As float32: a score that shows as 0.7 reaches a threshold of 0.7.
        above = pc.greater_equal(columns[0], pa.scalar(threshold, pa.float32()))
        return pc.if_else(above, classes[-1], classes[0])
    # A row has all scores or none; those without become NaN here, and null again.
    numbers = pa.array(likeliest(np.stack([column.to_numpy() for column in columns], axis=1)))
    names = pa.array(classes, pa.string()).take(numbers)
    return pc.if_else(pc.is_valid(columns[0]), names, None)


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

    The columns are those of `batchscan.metrics.measure.compute_metrics`, as Arrow arrays; without
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


def select_class_outcomes(
    scores: Sequence[pa.Array], label: pa.Array, prediction: pa.Array, classes: Sequence[str]
) -> ClassOutcomes:
    """Pick the labelled images out of columns of equal length, with one of scores for each class.

    A score is null where an image has none. Raises `UsageError` for a label or prediction that is
    no class name.
    """
    labelled = pc.is_valid(label)
    used = labelled
    for score in scores:
        used = pc.and_(used, pc.fill_null(pc.is_finite(score), False))
    columns = [score.filter(used).to_numpy(zero_copy_only=False) for score in scores]
    stacked = np.stack(columns, axis=1).astype(np.float32, copy=False)
    return ClassOutcomes(
        score=stacked,
        truth=_numbers(label.filter(used), "label", classes),
        predicted=_numbers(prediction.filter(used), "prediction", classes),
        not_scored=(pc.sum(labelled).as_py() or 0) - len(stacked),
    )


def _is_positive(values: pa.Array, column: str, classes: Sequence[str]) -> NDArray[np.bool_]:
    positive: NDArray[np.bool_] = _numbers(values, column, classes) == len(classes) - 1
    return positive


def _numbers(values: pa.Array, column: str, classes: Sequence[str]) -> NDArray[np.int64]:
    """Turn class names into their numbers; whatever is no class is refused, not left out."""
    if pa.types.is_dictionary(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.string())
    codes = pc.index_in(values, value_set=pa.array(classes, values.type))
    if codes.null_count:
        found = values.filter(pc.is_null(codes))[0].as_py()
        raise UsageError(
            f"expected each {column} to be {' or '.join(classes)}, found {found!r}; "
            "use the labels and the results of the same model"
        )
    numbers: NDArray[np.int64] = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
