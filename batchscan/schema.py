"""The tables: what a row is, which columns the files have, and every reason why an image fails."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

SCORED = "scored"
FAILED = "failed"

FAILURES = {
    "truncated": "The file ends before the image does. Copy it again from its source.",
    "corrupt": "The image data is damaged. Copy it again from its source.",
    "not_an_image": "The name says image, the content does not. Remove or rename the file.",
    "empty": "The file has no content. Copy it again from its source.",
    "too_large": "The file or its pixels exceed the limits. Check that it is an X-ray at all.",
    "permission_denied": "batchscan may not read the file. Grant access; the next run retries it.",
    "vanished": "The file went away while the scan ran. The next run retries or drops it.",
    "read_error": "The storage failed. Check the disk or mount; the next run retries it.",
    "not_finite": "The model gave no number for this image. Report it with the image's size.",
    "decoder_crash": "The file kills the worker that opens it. Look at it with care.",
}
"""Every value of the column `failure`, and what a person should do about it."""

TRANSIENT = frozenset({"permission_denied", "vanished", "read_error"})
"""Failures that the next run tries again although the file looks unchanged."""

SCORE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("failure", pa.string()),
        pa.field("error", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
        pa.field("sha256", pa.string()),
    ]
)
"""What a worker knows of an image: the columns of a part."""

RESULT_SCHEMA = pa.schema(
    [
        *(SCORE_SCHEMA.field(name) for name in ("path", "status", "score")),
        pa.field("prediction", pa.string()),
        pa.field("label", pa.string()),
        *(SCORE_SCHEMA.field(name) for name in SCORE_SCHEMA.names[3:]),
    ]
)
"""The columns of `results.parquet`; further columns of a label file follow them."""

DICTIONARY_COLUMNS = ("status", "prediction", "label", "failure", "format")
"""Columns of few distinct values, stored as dictionaries."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One image's row of a part. `modified` is in microseconds since 1970, UTC."""

    path: str
    status: str
    score: float | None = None
    failure: str | None = None
    error: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    bytes: int | None = None
    modified: int | None = None
    sha256: str | None = None


def score_table(rows: Iterable[ScoreRow]) -> pa.Table:
    """Tabulate rows in the schema of a part, in ascending order of `path`."""
    ordered = sorted(rows, key=lambda row: row.path.encode())
    columns = {name: [getattr(row, name) for row in ordered] for name in SCORE_SCHEMA.names}
    return pa.table(columns, schema=SCORE_SCHEMA)
