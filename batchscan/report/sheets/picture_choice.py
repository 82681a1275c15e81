"""Which images go into the contact sheets: those that a radiologist would want to see first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.report.input.rows import Rows
from batchscan.schema import SCORED, score_columns

PER_SHEET = 12
MOST_PICTURES = 48

_LOOKED_AT = 50  # So many times more rows than needed are looked at, to get past copies.

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """A sheet to be made: the numbers of its rows, int64 (k,), in the order they are shown in.

    `nothing` is said in place of a sheet without rows.
    """

    key: str
    caption: str
    note: str
    numbers: Numbers
    nothing: str


def choose(rows: Rows) -> tuple[Choice, ...]:
    """Choose the images of each sheet among those with a score; copies are shown once.

    Where nothing is labelled, there are no sheets of mistakes. Of images that are equally far up,
    the first in the result come first.
    """
    scores = scores_of(rows)
    scored = is_scored(rows, scores)
    truth = _class_numbers(rows)
    if len(rows.classes) == 2:
        return _of_two(rows, scores[:, 0], scored, truth)
    return _of_more(rows, scores, scored, truth)


def scores_of(rows: Rows) -> Scores:
    """Return all scores: float32 (n, 1) of two classes, else (n, C); NaN where there is none."""
    columns = [_column(rows, name).cast(pa.float32()) for name in score_columns(rows.classes)]
    return np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)


def is_scored(rows: Rows, scores: Scores) -> Mask:
    """Say which rows (n,) have the status `scored`, and only finite scores."""
    return _is(rows, "status", SCORED) & np.isfinite(scores).all(axis=1)


def has_labels(rows: Rows) -> bool:
    """Say whether any row has a label."""
    return bool(rows.table["label"].null_count < rows.table.num_rows)


def _of_two(
    rows: Rows, score: Scores, scored: Mask, truth: NDArray[np.int16]
) -> tuple[Choice, ...]:
    negative, positive = rows.classes
    sheets = []
    if rows.threshold is not None:
        above = score >= np.float32(rows.threshold)
        if has_labels(rows):
            false_positive, false_negative = (
                _first(rows, -score, scored & above & (truth == 0)),
                _first(rows, score, scored & ~above & (truth == 1)),
            )
            sheets += [
                _sheet(
                    "false_positives",
                    f"Labelled {negative}, predicted {positive}",
                    "False positives, highest scores first.",
                    false_positive,
                ),
                _sheet(
                    "false_negatives",
                    f"Labelled {positive}, predicted {negative}",
                    "False negatives, lowest scores first.",
                    false_negative,
                ),
            ]
    highest = _first(rows, -score, scored)
    sheets.append(
        _sheet("highest", f"Most like {positive}", "All images, highest scores first.", highest)
    )
    if rows.threshold is not None:
        sheets.append(_borderline(rows, score, scored, rows.threshold))
    return tuple(sheets)


def _borderline(rows: Rows, score: Scores, scored: Mask, threshold: float) -> Choice:
    """Choose the nearest on either side, and show them in ascending order."""
    distance = np.abs(score - np.float32(threshold))
    above = score >= np.float32(threshold)
    below = _first(rows, distance, scored & ~above, PER_SHEET // 2)
    reaching = _first(rows, distance, scored & above, PER_SHEET // 2)
    caption = f"Closest to the threshold, {threshold:.4f}, on either side"
    return _sheet(
        "borderline", caption, "In ascending order of the score.", np.append(below[::-1], reaching)
    )


def _of_more(
    rows: Rows, scores: Scores, scored: Mask, truth: NDArray[np.int16]
) -> tuple[Choice, ...]:
    best, second = _two_highest(scores)
    predicted = np.nan_to_num(scores, nan=-1.0).argmax(axis=1)
    each = max(1, min(PER_SHEET, MOST_PICTURES // (2 + len(rows.classes))))
    sheets = []
    if has_labels(rows):
        wrong = _first(rows, -best, scored & (truth >= 0) & (truth != predicted), each)
        text = "Most certain first. The score is that of the predicted class."
        sheets.append(
            _sheet("mistakes", "Predicted to be another class than labelled", text, wrong)
        )
    close = _first(rows, best - second, scored, each)
    text = "Smallest difference between the two likeliest classes first."
    sheets.append(_sheet("borderline", "Undecided between two classes", text, close))
    for number, name in enumerate(rows.classes):
        highest = _first(rows, -scores[:, number], scored, each)
        text = f"All images, highest scores for {name} first."
        sheets.append(_sheet(f"highest_{number + 1}", f"Most like {name}", text, highest))
    return tuple(sheets)


def _sheet(key: str, caption: str, note: str, numbers: Numbers) -> Choice:
    return Choice(key, caption, note, numbers, f"{caption}: there are none.")


def _two_highest(scores: Scores) -> tuple[Scores, Scores]:
    ordered = np.partition(np.nan_to_num(scores, nan=-1.0), -2, axis=1)
    return ordered[:, -1], ordered[:, -2]


def _first(rows: Rows, order: Scores, where: Mask, count: int = PER_SHEET) -> Numbers:
    """Return the rows with the smallest `order` among those in `where`, each content once."""
    numbers = np.flatnonzero(where)
    keys, looked_at = order[numbers], count * _LOOKED_AT
    if len(keys) > looked_at:
        near = keys <= np.partition(keys, looked_at - 1)[looked_at - 1]
        numbers, keys = numbers[near], keys[near]
    numbers = numbers[np.argsort(keys, kind="stable")[:looked_at]]
    contents = rows.table["content"].take(pa.array(numbers)).to_pylist()
    seen: set[int] = set()
    kept = []
    for number, content in zip(numbers.tolist(), contents, strict=True):
        if content is None or content not in seen:
            kept.append(number)
            seen.add(content)
    return np.array(kept[:count], dtype=np.int64)


def _class_numbers(rows: Rows) -> NDArray[np.int16]:
    """Return the number of each row's labelled class (n,), -1 where there is none."""
    label = _column(rows, "label")
    known = pc.index_in(label.dictionary.cast(pa.string()), value_set=pa.array(rows.classes))
    numbers = np.append(known.fill_null(-1).to_numpy().astype(np.int16), np.int16(-1))
    found: NDArray[np.int16] = numbers[label.indices.fill_null(-1).to_numpy()]
    return found


def _is(rows: Rows, name: str, value: str) -> Mask:
    """Say which rows (n,) have a value in a column that is a dictionary."""
    column = _column(rows, name)
    code = column.dictionary.cast(pa.string()).index(value).as_py()
    found: Mask = column.indices.fill_null(-1).to_numpy() == (code if code >= 0 else -2)
    return found


def _column(rows: Rows, name: str) -> pa.Array:
    """Return a column in one chunk."""
    column = rows.table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
