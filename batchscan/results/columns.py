"""Columns of a result that somebody may have written anew: are they those of a result at all?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from batchscan.errors import UsageError
from batchscan.metrics.outcomes import predictions
from batchscan.results.file import no_result
from batchscan.schema import FAILED, SCORED, SKIPPED, result_schema
from batchscan.storage.location import Location
from batchscan.terminal.text import one_line

_is: dict[str, Callable[[pa.DataType], bool]] = {
    "text": lambda kind: _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind),
    "numbers": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "times": pa.types.is_timestamp,
    "lists": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
}


def check_columns(result: Location, schema: pa.Schema, classes: Sequence[str]) -> None:
    """Raise `UsageError` where a column is there twice, or holds another kind of values.

    Other programs store a result's columns in other types (large or encoded text, all empty, more
    digits): these pass. `path` must be plain text.
    """
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise no_result(result, f"the column {one_line(twice[0])} twice")
    expected = result_schema(classes)
    for field in schema:
        if field.name not in expected.names:
            continue
        kind = _kind(expected.field(field.name).type)
        plain = field.name != "path" or _is_text(field.type)
        empty = pa.types.is_null(field.type) and field.name != "path"
        if not (empty or (plain and _is[kind](field.type))):
            raise no_result(result, f"{field.type} in place of {kind} in the column {field.name}")


def check_statuses(result: Location, statuses: pa.Array) -> None:
    """Raise `UsageError` where a row has none of the statuses that a scan gives."""
    names = statuses.cast(pa.string())
    known = pc.is_in(names, pa.array([SCORED, SKIPPED, FAILED]))
    place = pc.index(known, False).as_py()
    if place >= 0:
        raise no_result(result, f"the status {one_line(str(names[place].as_py()))!r}")


def check_predictions(
    result: Location, table: pa.Table, classes: Sequence[str], threshold: float | None
) -> None:
    """Raise `UsageError` where a prediction is not what the scores say.

    `table` has the columns of scores (float32, null in rows without) and `prediction`. Figures rest
    on the scores, and a person reads the predictions: they must tell the same.
    """
    found = table["prediction"].cast(pa.string())
    differs = pc.not_equal(found, predictions(table, classes, threshold))
    place = pc.index(differs, True).as_py()
    if place >= 0:
        raise UsageError(
            f"{result}: expected the predictions that its scores and its threshold give, found "
            f"{one_line(found[place].as_py())!r} where they say otherwise; its rows or its record "
            "were changed: scan anew"
        )


def _kind(expected: pa.DataType) -> str:
    """Name the kind of values that a column of this type holds."""
    return next(kind for kind, fits in _is.items() if fits(expected))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
