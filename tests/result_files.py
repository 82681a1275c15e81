"""Results written without a scan: real files whose rows a test has chosen."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchscan.report.document import Block, Section
from batchscan.schema import result_schema

CLASSES = ("NORMAL", "PNEUMONIA")


def digest(content: object) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


def row(path: str, score: float | None = None, **more: Any) -> dict[str, Any]:
    """Return a row: scored if it has a score; each path has a content of its own."""
    status = "scored" if score is not None else "failed" if "failure" in more else "skipped"
    moment = datetime(2026, 11, 5, tzinfo=UTC)
    own = {"path": path, "score": score, "status": status, "modified": moment}
    own |= {"sha256": digest(path), "flags": [] if score is not None else None}
    if score is not None:
        own["prediction"] = CLASSES[int(score >= 0.5)]
    return own | more


def write_result_file(
    file: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    classes: tuple[str, ...] = CLASSES,
    without: Sequence[str] = (),
    further: Mapping[str, pa.DataType] | None = None,
    footer: Mapping[str, Any] | None = None,
    group_rows: int = 3,
    key: Callable[[str], Any] = str.encode,
) -> Path:
    """Write rows as a result, sorted by path, in small row groups, with the record of a real one.

    `without` leaves columns out, as an older version does; `further` adds some; another `key` sorts
    otherwise.
    """
    schema = result_schema(classes)
    more = {"phash": pa.string(), "ood_score": pa.float32()} | dict(further or {})
    for name, kind in more.items():
        if name not in schema.names:
            schema = schema.append(pa.field(name, kind))
    ordered = sorted(rows, key=lambda each: key(each["path"]))
    table = pa.Table.from_pylist([{"score": None} | each for each in ordered], schema=schema)
    table = table.drop_columns(list(without))
    record = {
        "model": {"name": "tiny", "digest": "0" * 64, "classes": list(classes)},
        "threshold": 0.5 if len(classes) == 2 else None,
        "archive": "/archive",
        "counts": _counts(ordered),
    } | dict(footer or {})
    with pq.ParquetWriter(file, table.schema, store_schema=False) as writer:
        writer.write_table(table, row_group_size=group_rows)
        writer.add_key_value_metadata({b"batchscan": json.dumps(record).encode()})
    return file


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "found": len(rows),
        "scored": sum(each["status"] == "scored" for each in rows),
        "labelled": sum(each.get("label") is not None for each in rows),
        "skipped": dict(Counter(each["skip"] for each in rows if each.get("skip"))),
        "failed": dict(Counter(each["failure"] for each in rows if each.get("failure"))),
    }


def block(section: Section, key: str) -> Any:
    """Return a section's block with this key; the keys of a section are unique."""
    keys = [each.key for each in section.blocks]
    assert len(keys) == len(set(keys))
    return next(each for each in section.blocks if each.key == key)


def has_block(section: Section, key: str) -> bool:
    return any(each.key == key for each in section.blocks)


def cells(table: Block, key: str) -> dict[Any, Any]:
    """Return a column of a table by the names of its rows."""
    place = [column.key for column in table.columns].index(key)  # type: ignore[union-attr]
    return {line[0]: line[place] for line in table.rows}  # type: ignore[union-attr]
