"""Results that other programs wrote anew: refused in one line, by each command that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from result_files import row, write_result_file

from batchscan.compare.comparison import compare_results
from batchscan.errors import UsageError
from batchscan.metrics.measure import metrics_from_result
from batchscan.report.input.reading import read_rows
from batchscan.verify.sample import survey

CLASSES = ("NORMAL", "PNEUMONIA")
READERS: dict[str, Callable[[Path], object]] = {
    "report": read_rows,
    "compare": lambda file: compare_results(file, file),
    "verify": lambda file: survey(file, CLASSES),
    "metrics": metrics_from_result,
}
OTHER_KINDS = {
    "modified": pa.array(["yesterday"] * 3),
    "path": pa.array([b"a", b"b", b"c"]),
    "score": pa.array([[0.1], [0.2], [0.9]]),
    "sha256": pa.array([1, 2, 3]),
    "flags": pa.array(["blank"] * 3),
    "label": pa.array([0, 1, 0]),
}
LIES: dict[str, list[Any]] = {
    "score": [0.1, 1.5, 0.9],
    "status": ["scored", "done", "scored"],
    "label": ["NORMAL", "normal", "PNEUMONIA"],
    "prediction": ["NORMAL", "NORMAL", "NORMAL"],
}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    rows = [
        row(path, score, label="NORMAL") for path, score in (("a", 0.1), ("b", 0.2), ("c", 0.9))
    ]
    return write_result_file(tmp_path / "r.parquet", rows, footer={"counts": None})


def spoil(file: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Write a result anew with its own record."""
    with pq.ParquetFile(file) as parquet:
        table, record = parquet.read(), parquet.metadata.metadata[b"batchscan"]
    pq.write_table(change(table).replace_schema_metadata({b"batchscan": record}), file)
    return file


def with_column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize("command", READERS)
def test_sound_results_pass(sound: Path, command: str) -> None:
    """A result as it was written is read, and so is one whose empty columns have no type."""
    READERS[command](sound)
    READERS[command](spoil(sound, with_column("skip", pa.nulls(3))))
    if command != "metrics":  # It has nothing to say without labels, and says so.
        READERS[command](spoil(sound, with_column("label", pa.nulls(3))))


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("name", OTHER_KINDS)
def test_other_kinds_of_values(sound: Path, command: str, name: str) -> None:
    """A column that holds something else is named, with what it holds."""
    file = spoil(sound, with_column(name, OTHER_KINDS[name]))
    with pytest.raises(UsageError, match=rf"in the column {name}; check the path"):
        READERS[command](file)


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("name", ["path", "score"])
def test_a_column_twice(sound: Path, command: str, name: str) -> None:
    """Of two columns of one name nobody knows which is meant."""
    file = spoil(sound, lambda table: table.append_column(name, table[name]))
    with pytest.raises(UsageError, match=f"the column {name} twice"):
        READERS[command](file)


@pytest.mark.parametrize("command", ["report", "compare", "metrics"])
@pytest.mark.parametrize("name", LIES)
def test_values_that_no_scan_writes(sound: Path, command: str, name: str) -> None:
    """No figure is made of what no scan writes: such a result is refused, not mended."""
    values = pa.array(LIES[name], pa.float32() if name == "score" else pa.string())
    with pytest.raises(UsageError, match=r"expected"):
        READERS[command](spoil(sound, with_column(name, values)))


@pytest.mark.parametrize(
    "footer",
    [
        {"threshold": None},
        {"threshold": 0.15},
        {"model": "x"},
        {"model": {"name": "m", "digest": "d", "classes": "AB"}},
    ],
)
def test_a_record_that_does_not_fit(tmp_path: Path, footer: dict[str, Any]) -> None:
    """Neither command makes anything of a record that is damaged, or is not of these rows."""
    file = write_result_file(tmp_path / "r.parquet", [row("a", 0.2)], footer=footer)
    for command in ("report", "compare"):
        with pytest.raises(UsageError, match=r"r\.parquet: expected"):
            READERS[command](file)


def test_odd_records_are_read(tmp_path: Path) -> None:
    """What a record says beside the model and the threshold may be of any kind."""
    odd = {"options": "o", "host": [1], "packages": None, "digests": 3, "archive": 5}
    file = write_result_file(tmp_path / "r.parquet", [row("a", 0.2)], footer=odd)
    for command in ("report", "compare", "verify"):  # Of one row without a label, no figure.
        READERS[command](file)
