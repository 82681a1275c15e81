"""Rows for tests of the report: read from a small result, or made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchscan.report.input.rows import Rows
from batchscan.results.result import classes_of, read_footer

TEXTS = ("status", "failure", "skip", "prediction", "label")


def rows_of(result: Path, labels: Mapping[str, str] | None = None) -> Rows:
    """Read a result as the report does; `labels` (path -> class) take the place of its own."""
    footer, table = read_footer(result), pq.read_table(result)
    paths = table["path"].to_pylist()
    if labels is not None:
        table = table.drop_columns(["label"]).append_column(
            "label", pa.array([labels.get(path) for path in paths], pa.string())
        )
    digests = table["sha256"].to_pylist()
    first = [None if digest is None else int(digest[:16], 16) for digest in digests]
    scores = [name for name in table.column_names if name.startswith("score")]
    columns = {
        **{name: _dictionary(table[name].to_pylist()) for name in TEXTS},
        **{name: table[name].combine_chunks() for name in scores},
        "flags": table["flags"].combine_chunks(),
        "content": pa.array(first, pa.uint64()),
    }
    return Rows(result, footer, classes_of(footer), footer["threshold"], pa.table(columns))


def paths_of(rows: Rows, numbers: Any) -> list[str]:
    """Return the paths of some rows."""
    paths: list[str] = pq.read_table(rows.result)["path"].take(pa.array(numbers)).to_pylist()
    return paths


def made_up(
    scores: Sequence[float | None],
    labels: Sequence[str | None] | None = None,
    *,
    contents: Sequence[int | None] | None = None,
    threshold: float = 0.5,
) -> Rows:
    """Make rows of two classes without a file behind them."""
    score = pa.array(scores, pa.float32())
    above = pc.greater_equal(score, pa.scalar(threshold, pa.float32()))
    status = pc.if_else(pc.is_valid(score), "scored", "failed")
    columns = {
        "status": _dictionary(status.to_pylist()),
        "score": score,
        "prediction": _dictionary(pc.if_else(above, "PNEUMONIA", "NORMAL").to_pylist()),
        "label": _dictionary(labels or [None] * len(scores)),
        "flags": pa.array([[]] * len(scores), pa.list_(pa.string())),
        "content": pa.array(contents or [None] * len(scores), pa.uint64()),
    }
    return Rows(Path("none"), {}, ("NORMAL", "PNEUMONIA"), threshold, pa.table(columns))


def made_up_of_three(scores: Sequence[Sequence[float]], labels: Sequence[str | None]) -> Rows:
    """The same for the classes A, B and C."""
    stacked = np.array(scores, dtype=np.float32)
    classes = ("A", "B", "C")
    columns = {
        "status": _dictionary(["scored"] * len(stacked)),
        **{f"score_{name}": pa.array(stacked[:, n]) for n, name in enumerate(classes)},
        "prediction": _dictionary([classes[n] for n in stacked.argmax(axis=1)]),
        "label": _dictionary(labels),
        "flags": pa.array([[]] * len(stacked), pa.list_(pa.string())),
        "content": pa.nulls(len(stacked), pa.uint64()),
    }
    return Rows(Path("none"), {}, classes, None, pa.table(columns))


def _dictionary(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()
