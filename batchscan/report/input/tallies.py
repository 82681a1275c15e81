"""Counts of rows by the columns of text in `Rows`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchscan.report.input.rows import Rows
from batchscan.schema import SCORED, score_columns

Mask = NDArray[np.bool_]


def column(rows: Rows, name: str) -> pa.Array:
    """Return a column in one chunk."""
    whole = rows.table.column(name)
    return whole.chunk(0) if whole.num_chunks == 1 else whole.combine_chunks()


def codes(rows: Rows, name: str) -> tuple[NDArray[np.int32], list[str]]:
    """Return the code of each row (n,) in a column of text, and the texts; null has the code -1.

    Equal texts have one code, and each text has at least one row.
    """
    encoded = column(rows, name)
    texts = encoded.dictionary.cast(pa.string())
    numbers = encoded.indices.fill_null(-1).to_numpy().astype(np.int32, copy=False)
    return numbers, texts.to_pylist()


def count_texts(rows: Rows, name: str, where: Mask | None = None) -> dict[str | None, int]:
    """Count the rows of each text of a column, among those `where` (n,) says True; None is null.

    The largest count comes first; texts without a row are left out.
    """
    numbers, texts = codes(rows, name)
    counts = np.bincount((numbers if where is None else numbers[where]) + 1)
    found = {([None, *texts])[place]: int(counts[place]) for place in np.flatnonzero(counts)}
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0] or "")))


def is_text(rows: Rows, name: str, text: str) -> Mask:
    """Say which rows (n,) have this text in a column."""
    numbers, texts = codes(rows, name)
    if text not in texts:
        return np.zeros(numbers.size, dtype=bool)
    chosen: Mask = numbers == texts.index(text)
    return chosen


def score_of(rows: Rows, name: str = "score") -> NDArray[np.float32]:
    """Return a column of scores as float32 (n,), NaN where there is none."""
    values: NDArray[np.float32] = column(rows, name).to_numpy(zero_copy_only=False)
    return values.astype(np.float32, copy=False)


def has_score(rows: Rows) -> Mask:
    """Say which rows (n,) are scored with a number."""
    mask = is_text(rows, "status", SCORED)
    for name in score_columns(rows.classes):
        mask &= np.isfinite(score_of(rows, name))
    return mask


def has_label(rows: Rows) -> Mask:
    """Say which rows (n,) have a label."""
    known: Mask = column(rows, "label").is_valid().to_numpy(zero_copy_only=False)
    return known
