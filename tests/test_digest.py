"""Digests of results: what they are computed from, and what makes no difference to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscan.run.digest import RowsDigest, record_digest, sealed

ROWS = {
    "path": ["a.png", "b/ä.png", "c\n.png"],
    "flags": [["blank", "colour"], None, []],
    "score": [0.25, None, float("nan")],
    "bytes": [1, None, 3],
    "modified": [datetime(2026, 1, 2, 3, 4, 5, 6, UTC), None, datetime(1969, 1, 1, tzinfo=UTC)],
}
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "flags": pa.list_(pa.string()),
        "score": pa.float32(),
        "bytes": pa.int64(),
        "modified": pa.timestamp("us", tz="UTC"),
    }
)
TABLE = pa.table(ROWS, SCHEMA)


def digest(table: pa.Table) -> str:
    taken = RowsDigest(table.schema.names)
    taken.add(table)
    return taken.rows()


def by_hand(name: str, present: bytes, lengths: Sequence[int], values: bytes) -> list[str]:
    counted = b"".join(length.to_bytes(8, "little") for length in lengths)
    return [name, *(hashlib.sha256(part).hexdigest() for part in (present, counted, values))]


def test_a_digest_can_be_computed_by_hand() -> None:
    """The docstring of `batchscan.run.digest` is all that is needed to compute the same digest."""
    table = pa.table({"path": ["a", None, "äb"], "bytes": [5, -1, None]})
    columns = [
        by_hand("path", b"\1\0\1", [1, 3], "aäb".encode()),
        by_hand("bytes", b"\1\1\0", [], bytes([5, *[0] * 7, *[255] * 8])),
    ]
    assert digest(table) == hashlib.sha256(json.dumps(columns).encode()).hexdigest()


@given(cuts=st.lists(st.integers(0, 3), max_size=5))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    """The same rows have the same digest, in tables of any size."""
    ends = [0, *sorted(cuts), 3]
    taken = RowsDigest(TABLE.schema.names)
    for start, end in pairwise(ends):
        taken.add(TABLE.slice(start, end - start))
    assert taken.rows() == digest(TABLE)


@pytest.mark.parametrize(
    ("name", "row", "value"),
    [
        ("path", 0, "a.pnG"),
        ("path", 1, None),
        ("flags", 0, ["blankcolour"]),
        ("flags", 0, ["blank", None]),
        ("flags", 1, []),
        ("score", 0, 0.25 + 2**-25),
        ("score", 1, 0.0),
        ("bytes", 1, 0),
        ("modified", 0, datetime(2026, 1, 2, 3, 4, 5, 7, UTC)),
    ],
)
def test_every_value_counts(name: str, row: int, value: Any) -> None:
    """One value more, less or other, by the last bit, makes another digest."""
    values = list(ROWS[name])
    values[row] = value
    assert digest(pa.table(ROWS | {name: values}, SCHEMA)) != digest(TABLE)


def test_order_and_names_count() -> None:
    """Rows in another order, columns in another order or under other names: another digest."""
    others = {
        digest(TABLE.take([1, 0, 2])),
        digest(TABLE.select(["score", "path", "flags", "bytes", "modified"])),
        digest(TABLE.rename_columns(["path", "flags", "risk", "bytes", "modified"])),
        digest(TABLE.slice(0, 2)),
    }
    assert len(others) == 4
    assert digest(TABLE) not in others


FURTHER = {
    "seconds": pa.array([datetime(2020, 1, 1), None], pa.timestamp("s")),
    "zoned": pa.array([datetime(2020, 1, 1, tzinfo=UTC), None], pa.timestamp("s", "Europe/Berlin")),
    "nanoseconds": pa.array([1, None], pa.timestamp("ns")),
    "clock": pa.array([time(1, 2, 3), None], pa.time32("s")),
    "clock_us": pa.array([time(1, 2, 3), None], pa.time64("us")),
    "date": pa.array([date(2020, 1, 1), None], pa.date32()),
    "date64": pa.array([date(2020, 1, 1), None], pa.date64()),
    "lasting": pa.array([timedelta(1), None], pa.duration("ms")),
    "truth": pa.array([True, None]),
    "nothing": pa.nulls(2),
    "small": pa.array([-1, None], pa.int8()),
    "large": pa.array([2**64 - 1, None], pa.uint64()),
    "half": pa.array([1.5, None], pa.float16()),
    "money": pa.array([Decimal("1.10"), None]),
    "bytes": pa.array([b"\xff", None]),
    "text": pa.array(["x", None], pa.large_string()),
    "word": pa.array(["x", None]).dictionary_encode(),
    "words": pa.array([["x", None], None], pa.large_list(pa.string())),
    "numbers": pa.array([[[1], []], None], pa.list_(pa.list_(pa.int32()))),
    "record": pa.array([{"a": 1}, None]),
}


@pytest.mark.parametrize("name", FURTHER)
@pytest.mark.parametrize("options", [{"store_schema": False}, {"compression": "none"}])
def test_parquet_makes_no_difference(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """What comes back from Parquet, in types of its own, has the digest of what was written."""
    table = pa.table({name: FURTHER[name]})
    pq.write_table(table, tmp_path / "x.parquet", **options)
    assert digest(pq.read_table(tmp_path / "x.parquet")) == digest(table)


def test_the_listing_is_three_columns() -> None:
    """A score changes the digest of the rows, and not that of the listing."""
    other = TABLE.set_column(2, "score", pa.array([0.5, None, None], pa.float32()))
    first, second = (RowsDigest(SCHEMA.names) for _ in range(2))
    first.add(TABLE)
    second.add(other)
    assert first.rows() != second.rows()
    assert (
        first.listing() == second.listing() == digest(TABLE.select(["path", "bytes", "modified"]))
    )


def test_a_record_seals_itself() -> None:
    """A record's own digest survives JSON, and shows any change of it."""
    taken = RowsDigest(SCHEMA.names)
    assert list(taken.passing([TABLE])) == [TABLE]
    record = json.loads(json.dumps(sealed({"threshold": 0.1, "options": {"include": ()}}, taken)))
    assert record["digests"]["rows"] == digest(TABLE)
    assert record["digests"]["record"] == record_digest(record)
    assert record_digest(record | {"threshold": 0.2}) != record_digest(record)
