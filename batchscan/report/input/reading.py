"""Reads the rows of a result for a report: in batches, and without ever holding all paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchscan.errors import UsageError
from batchscan.labels.file import read_labels
from batchscan.labels.lookup import LabelTable
from batchscan.report.input.dividing import find_columns
from batchscan.report.input.row_reader import RowReader
from batchscan.report.input.rows import Rows
from batchscan.results.columns import check_columns
from batchscan.results.file import checked_footer, no_result, opened_result
from batchscan.schema import score_columns
from batchscan.storage.location import Location, location

_BATCH_ROWS = 1 << 16


def read_rows(results: Location, *, labels: Location | None = None, by: Sequence[str] = ()) -> Rows:
    """Read a result. `labels` replaces its labels altogether; `by` is as in `Rows`.

    A column of the label file with the name of one of the result's is called `label_<name>`; where
    the result's own is empty, it is found by the name alone. Times are cut to months. A score that
    is no number is taken as none. A result of an older version may lack columns.

    Raises `UsageError` where the file is no result, holds a path twice or values that no result
    has, or where no column is there that `by` names; and `LabelError` as
    `batchscan.labels.file.read_labels` does, and where the result has none of its paths.
    """
    with opened_result(results) as file:
        footer = checked_footer(results, file.metadata.metadata)
        schema = file.schema_arrow
        classes = tuple(footer["model"]["classes"])
        threshold = None if footer["threshold"] is None else float(footer["threshold"])
        for name in ("path", "status", *score_columns(classes)):
            if name not in schema.names:
                raise no_result(results, f"no column {name}")
        check_columns(results, schema, classes)
        table = None if labels is None else _read_labels(labels, footer, classes)
        is_empty = partial(_is_empty, file)
        division = find_columns(by, results, schema, score_columns(classes), table, is_empty)
        reader = RowReader(results, classes, threshold, schema.names, division, table)
        del table
        for batch in file.iter_batches(_BATCH_ROWS, columns=reader.wanted):
            reader.add(batch)
        if not file.metadata.num_rows:
            reader.add(pa.RecordBatch.from_pylist([], schema=schema))
    unmatched, examples = reader.unmatched()
    return Rows(
        result=results,
        footer=footer,
        classes=classes,
        threshold=threshold,
        table=reader.table(),
        by=division.by,
        labels=labels,
        unmatched_labels=unmatched,
        unmatched_examples=examples,
    )


def paths_of(rows: Rows, numbers: NDArray[np.int64]) -> list[str]:
    """Return the paths of rows, given by their numbers from 0 on, in the order given.

    Only the row groups in which they lie are read, one at a time. Raises `UsageError` where the
    file can't be read, or is no longer the one that the rows are from.
    """
    found: dict[int, str] = {}
    wanted = np.unique(numbers)
    with opened_result(rows.result) as file:
        if file.metadata.num_rows != rows.table.num_rows:
            raise UsageError(f"{rows.result}: changed while the report was made; start it again")
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = wanted[(wanted >= start) & (wanted < end)]
            if here.size:
                paths = file.read_row_group(group, columns=["path"])["path"].take(here - start)
                found |= dict(zip(here.tolist(), paths.to_pylist(), strict=True))
            start = end
    return [found[number] for number in numbers.tolist()]


def _is_empty(file: pq.ParquetFile, name: str) -> bool:
    """Say whether a column of the result has no value at all."""
    batches = file.iter_batches(_BATCH_ROWS, columns=[name])
    return all(batch.column(0).null_count == batch.num_rows for batch in batches)


def _read_labels(
    labels: Location, footer: Mapping[str, Any], classes: tuple[str, ...]
) -> LabelTable:
    archive = footer.get("archive")
    root = location(archive) if isinstance(archive, str) else None
    return read_labels(labels, classes, archive_root=root)
