"""Rows of a result made in memory, as the sections of a report get them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from batchscan.report.input.rows import Rows
from batchscan.schema import score_columns
from batchscan.storage.location import location

CLASSES = ("NORMAL", "PNEUMONIA")


def text_column(values: Sequence[str | None] | ArrayLike) -> pa.Array:
    return pa.array(values, pa.string(), from_pandas=True).dictionary_encode()


def make_rows(
    score: ArrayLike,
    label: Sequence[str | None] | ArrayLike,
    *,
    threshold: float | None = 0.5,
    classes: tuple[str, ...] = CLASSES,
    status: Sequence[str] | None = None,
    patient: Sequence[int | None] | ArrayLike | None = None,
    by: Mapping[str, Sequence[str | None] | ArrayLike] | None = None,
) -> Rows:
    """Make rows from scores (n,), or (n, C) of more than two classes, and names of classes."""
    scores = np.asarray(score, dtype=np.float32)
    n, by = len(scores), by or {}
    columns: dict[str, Any] = {
        "status": text_column(status or ["scored"] * n),
        "label": text_column(label),
        "patient": pa.array([None] * n if patient is None else patient, pa.int32()),
    }
    for name, values in zip(score_columns(classes), np.atleast_2d(scores.T), strict=True):
        columns[name] = pa.array(values, from_pandas=True)
    columns |= {name: text_column(values) for name, values in by.items()}
    return Rows(
        result=location("results.parquet"),
        footer={},
        classes=classes,
        threshold=threshold,
        table=pa.table(columns),
        by=tuple(by),
    )
