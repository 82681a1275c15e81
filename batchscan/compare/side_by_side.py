"""Reading two results in step: rows cut at the same paths, with a batch of each in memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchscan.errors import UsageError
from batchscan.metrics.outcomes import predictions
from batchscan.results.columns import check_columns, check_predictions
from batchscan.results.file import checked_footer, no_result, opened_result
from batchscan.results.result import read_footer
from batchscan.schema import FAILED, SCORED, SKIPPED, score_columns
from batchscan.storage.location import Location
from batchscan.terminal.text import one_line

_BATCH_ROWS = 1 << 16
_COLUMNS = ("path", "status", "prediction", "label", "sha256", "patient_id_hmac")


@dataclass(frozen=True)
class Side:
    """One of the two results."""

    result: Location
    footer: Mapping[str, Any]
    classes: tuple[str, ...]
    threshold: float | None


def read_side(result: Location) -> Side:
    """Read what a result says of itself; raises `UsageError` for what is no result."""
    read_footer(result)  # Says what is missing from a result of another version.
    with opened_result(result) as file:
        footer = checked_footer(result, file.metadata.metadata)
        classes = tuple(footer["model"]["classes"])
        check_columns(result, file.schema_arrow, classes)
    threshold = footer["threshold"]
    return Side(result, footer, classes, None if threshold is None else float(threshold))


def rows_of(side: Side) -> Iterator[pa.Table]:
    """Yield the rows of a result in tables that ascend by path.

    Predictions are those that the scores give; both are null where a row is not scored, or a score
    is no number. Raises `UsageError` for what no result holds.
    """
    texts = [pa.field(name, pa.string()) for name in _COLUMNS]
    scores = [pa.field(name, pa.float32()) for name in score_columns(side.classes)]
    schema, last = pa.schema(texts + scores), None
    with opened_result(side.result) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=schema.names):
            if batch.num_rows:
                table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
                table = table.combine_chunks()
                last = _check_order(side, table["path"].chunk(0), last)
                yield _checked(side, table)
    yield schema.empty_table()


def _checked(side: Side, table: pa.Table) -> pa.Table:
    """Return the rows with scores where all of them are numbers, and what these say.

    Raises `UsageError` for values that no result holds.
    """
    _check_words(side, "status", table["status"], (SCORED, SKIPPED, FAILED))
    for name in ("prediction", "label"):
        _check_words(side, name, table[name], side.classes)
    names = score_columns(side.classes)
    finite = [pc.fill_null(pc.is_finite(table[name]), False) for name in names]
    scored = functools.reduce(pc.and_, finite, pc.equal(table["status"], SCORED))
    for name in names:
        score = pc.if_else(scored, table[name], None)
        ends = pc.min_max(score).as_py()
        if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] <= 1:
            raise no_result(side.result, "scores that are not between 0 and 1")
        table = table.set_column(table.column_names.index(name), name, score)
    check_predictions(side.result, table, side.classes, side.threshold)
    decided = predictions(table, side.classes, side.threshold)
    return table.set_column(table.column_names.index("prediction"), "prediction", decided)


def _check_words(side: Side, name: str, column: pa.ChunkedArray, known: Sequence[str]) -> None:
    strange = set(column.unique().to_pylist()) - {None, *known}
    if strange:
        raise UsageError(
            f"{side.result}: expected each {name} to be {' or '.join(known)}, found "
            f"{one_line(min(strange))!r}; compare results as batchscan wrote them"
        )


def _check_order(side: Side, paths: pa.Array, last: str | None) -> str:
    """Return the last path; raises `UsageError` unless all are greater than the one before."""
    if paths.null_count:
        raise no_result(side.result, "a row without a path")
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
