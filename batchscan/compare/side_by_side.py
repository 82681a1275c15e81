"""Reading two results in step: rows cut at the same paths, with a batch of each in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchscan.errors import UsageError
from batchscan.results.result import classes_of, read_footer
from batchscan.schema import score_columns
from batchscan.storage.location import Location
from batchscan.storage.place import opened

_BATCH_ROWS = 1 << 16
_COLUMNS = ("path", "status", "prediction", "label", "sha256")


@dataclass(frozen=True)
class Side:
    """One of the two results."""

    result: Location
    footer: Mapping[str, Any]
    classes: tuple[str, ...]
    threshold: float | None


def read_side(result: Location) -> Side:
    """Read what a result says of itself; raises `UsageError` for what is no result."""
    footer = read_footer(result)
    threshold = footer.get("threshold")
    known = float(threshold) if isinstance(threshold, int | float) else None
    return Side(result, footer, classes_of(footer), known)


def rows_of(side: Side) -> Iterator[pa.Table]:
    """Yield the rows of a result in tables that ascend by path."""
    texts = [pa.field(name, pa.string()) for name in _COLUMNS]
    scores = [pa.field(name, pa.float32()) for name in score_columns(side.classes)]
    schema, last = pa.schema(texts + scores), None
    with opened(side.result) as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=schema.names):
            if batch.num_rows:
                table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
                last = _check_order(side, table["path"].chunk(0), last)
                yield table
    yield schema.empty_table()


def _check_order(side: Side, paths: pa.Array, last: str | None) -> str:
    """Return the last path; raises `UsageError` unless all are greater than the one before."""
    ascend = last is None or last.encode() < paths[0].as_py().encode()
    inside = pc.all(pc.less(paths.slice(0, len(paths) - 1), paths.slice(1))).as_py()
    if not ascend or inside is False:
        raise UsageError(
            f"{side.result}: expected each path once, in ascending order, as batchscan writes them;"
            " found others: somebody has sorted or joined the rows anew"
        )
    return str(paths[-1].as_py())


def side_by_side(
    first: Iterator[pa.Table], second: Iterator[pa.Table]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Cut two ascending sequences of tables (the last of each is empty) at the same paths."""
    one, other = next(first), next(second)
    while len(one) or len(other):
        ends = [table["path"][-1].as_py() for table in (one, other) if len(table)]
        limit = min(ends, key=str.encode)
        cuts = [_up_to(table, limit) for table in (one, other)]
        yield one.slice(0, cuts[0]), other.slice(0, cuts[1])
        one = one.slice(cuts[0]) if cuts[0] < len(one) else next(first, one.slice(0, 0))
        other = other.slice(cuts[1]) if cuts[1] < len(other) else next(second, other.slice(0, 0))


def _up_to(table: pa.Table, limit: str) -> int:
    return pc.sum(pc.less_equal(table["path"], limit)).as_py() or 0
