"""The file of figures beside a result, `results.metrics.parquet`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchscan.errors import BatchscanError
from batchscan.metrics.figures import Metric
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import write_object
from batchscan.storage.place import readable, remove_file

METRICS_SCHEMA = pa.schema(
    [
        pa.field("subgroup", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),
    ]
)
"""The columns of `results.metrics.parquet`: one row for each figure of each subgroup."""

CLASS_METRICS_SCHEMA = METRICS_SCHEMA.insert(1, pa.field("class", pa.string()))
"""The same for more than two classes: `class` is null for figures of all classes together."""


def write_metrics(
    metrics: Iterable[Metric], path: Location, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write figures as Parquet, whole or not at all; `provenance` becomes the footer `batchscan`.

    Raises `BatchscanError` if the file cannot be written.
    """
    footer = {"batchscan": json.dumps(provenance or {}, ensure_ascii=False, allow_nan=False)}
    table = _table(list(metrics)).replace_schema_metadata(footer)
    try:
        _write_whole(table, path)
    except OSError as problem:
        raise BatchscanError(
            f"{path}: the metrics cannot be written ({problem.strerror or problem}); make room "
            "there, then run the same command again"
        ) from problem


def _write_whole(table: pa.Table, path: Location) -> None:
    if isinstance(path, Uri):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_object(path, sink.getvalue())
        return
    partial = path.with_name(f".{path.name}.partial")  # One name: a killed run leaves one at most.
    try:
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _table(rows: list[Metric]) -> pa.Table:
    of_classes = any(row.class_name is not None for row in rows)
    schema = CLASS_METRICS_SCHEMA if of_classes else METRICS_SCHEMA
    columns = {
        name: [getattr(row, "class_name" if name == "class" else name) for row in rows]
        for name in schema.names
    }
    return pa.table(columns, schema=schema)


def remove_stale_metrics(path: Location) -> None:
    """Remove the figures of an earlier scan, but none from a label file that came later."""
    try:
        footer = json.loads((pq.read_schema(readable(path)).metadata or {})[b"batchscan"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return  # There is none, or it is not ours.
    if not footer.get("labels"):
        remove_file(path)
