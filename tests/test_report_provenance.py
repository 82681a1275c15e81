"""The provenance section: all that the record says, and what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

import batchscan
from batchscan.report.document import Section, Table, Text
from batchscan.report.input.rows import Rows
from batchscan.report.provenance import NOT_RECORDED, provenance_section
from batchscan.results.result import read_footer


def section(footer: dict[str, Any]) -> Section:
    classes = ("NORMAL", "PNEUMONIA")
    return provenance_section(Rows(Path("r.parquet"), footer, classes, 0.5, pa.table({})))


def values(found: Section) -> dict[str, dict[str, Any]]:
    tables = [block for block in found.blocks if isinstance(block, Table)]
    return {table.key: {str(name): value for name, value in table.rows} for table in tables}


def warnings(found: Section) -> list[str]:
    return [b.text for b in found.blocks if isinstance(b, Text) and b.tone == "warning"]


def test_a_result_of_today(archive: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """Everything the section knows of is in the record of a new result."""
    out = tmp_path / "r.parquet"
    batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    footer = read_footer(out)
    found = section(footer)
    assert not warnings(found)
    shown = values(found)
    assert not [
        value for table in shown.values() for value in table.values() if value == NOT_RECORDED
    ]
    assert shown["program"]["batchscan"] == batchscan.__version__
    assert shown["model"]["Digest"] == footer["model"]["digest"]
    assert shown["digests"]["Rows of the result"] == footer["digests"]["rows"]
    assert shown["options"]["shard_size"] == "256"
    assert shown["packages"]["numpy"] == footer["packages"]["numpy"]


def test_an_older_result() -> None:
    """What an older record lacks is named, and shown as not recorded; null is no lack."""
    model = {"name": "m", "digest": "d", "classes": ["NORMAL", "PNEUMONIA"]}
    found = section({"version": "0.1", "model": model, "commit": None, "threshold": None})
    (warning,) = warnings(found)
    for name in ("preprocessing_digest", "model.created", "host", "digests", "options"):
        assert name in warning
    assert "commit" not in warning
    shown = values(found)
    assert shown["program"]["Commit"] == "unknown"
    assert shown["run"]["Threshold"] == "none"
    assert shown["run"]["Started"] == NOT_RECORDED
    assert shown["packages"] == {}


def test_a_record_of_something_else() -> None:
    """A record whose parts are no tables is shown as one that says nothing."""
    found = section({"model": "a name", "options": [1], "host": None})
    assert set(values(found)["model"].values()) == {NOT_RECORDED}
    assert warnings(found)
