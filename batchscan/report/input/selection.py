"""Which rows of a result the figures rest on: those with a label and a score."""

from __future__ import annotations

from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.errors import UsageError
from batchscan.metrics.outcomes import ClassOutcomes, Outcomes, likeliest, predicted_positive
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, column, has_label, has_score, score_of
from batchscan.schema import score_columns


def usable(rows: Rows, where: Mask | None = None) -> Mask:
    """Say which rows (n,) have a label and are scored with a number, among those `where` says."""
    return _within(has_score(rows) & has_label(rows), where)


def outcomes_of(rows: Rows, where: Mask | None = None) -> Outcomes:
    """Return what the labelled images were scored and predicted to be, of two classes.

    `where` (n,) picks rows, all by default. The arrays follow the order of the rows; predicted
    positive is whose score reaches the threshold. An image that is labelled and has no finite
    score is counted in `not_scored`. Raises `UsageError` for a label that is no class name.
    """
    if rows.threshold is None or len(rows.classes) != 2:
        raise ValueError(f"expected two classes and a threshold, found {len(rows.classes)} classes")
    used = usable(rows, where)
    score = score_of(rows)[used]
    return Outcomes(
        score=score,
        positive=_labels(rows)[used] == 1,
        predicted=predicted_positive(score, rows.threshold),
        not_scored=int(_within(has_label(rows), where).sum()) - score.size,
    )


def class_outcomes_of(rows: Rows, where: Mask | None = None) -> ClassOutcomes:
    """Return what `outcomes_of` does, for more than two classes: the likeliest is predicted."""
    used = usable(rows, where)
    score = np.stack([score_of(rows, name)[used] for name in score_columns(rows.classes)], axis=1)
    return ClassOutcomes(
        score=score,
        truth=_labels(rows)[used].astype(np.int64),
        predicted=likeliest(score),
        not_scored=int(_within(has_label(rows), where).sum()) - len(score),
    )


def patients_of(rows: Rows, where: Mask | None = None) -> NDArray[np.int32] | None:
    """Return a number of the patient of each usable row, from 0 on without gaps.

    A row whose patient is unknown is taken as a patient of its own. None where no patient has two
    rows: then there is nothing to be clustered.
    """
    here = column(rows, "patient").filter(pa.array(usable(rows, where)))
    known = here.cast(pa.int32()).dictionary_encode()
    count = len(known.dictionary)
    if count == len(known) - known.null_count:
        return None
    number = known.indices.fill_null(-1).to_numpy().astype(np.int32)
    unknown = number < 0
    number[unknown] = count + np.arange(int(unknown.sum()), dtype=np.int32)
    return cast(NDArray[np.int32], number)


def _within(rows: Mask, where: Mask | None) -> Mask:
    return rows if where is None else rows & where


def _labels(rows: Rows) -> NDArray[np.int8]:
    """Return the number of each row's class, -1 without a label; refuse what is no class."""
    label = column(rows, "label")
    names = label.dictionary.cast(pa.string())
    known = pc.index_in(names, value_set=pa.array(rows.classes, pa.string()))
    of_name = known.fill_null(-1).to_numpy().astype(np.int8)
    number = label.indices.fill_null(len(names)).to_numpy()
    used = np.bincount(number, minlength=len(names) + 1)[:-1]
    if (strange := np.flatnonzero((of_name < 0) & (used > 0))).size:
        raise UsageError(
            f"expected each label to be {' or '.join(rows.classes)}, "
            f"found {names[int(strange[0])].as_py()!r}; "
            "use the labels and the results of the same model"
        )
    return cast(NDArray[np.int8], np.append(of_name, np.int8(-1))[number])
