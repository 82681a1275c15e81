"""Columns by which the figures are divided: of the result or the label file, of any type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscan.errors import UsageError
from batchscan.report.figures.groups import groups_of
from batchscan.report.input import dividing
from batchscan.report.input.reading import read_rows
from batchscan.schema import result_schema
from batchscan.storage.location import location

MODEL = {"name": "m", "digest": "d" * 64, "classes": ["NORMAL", "PNEUMONIA"]}


def result(folder: Path, *, without: str | None = None, **columns: list[Any]) -> Path:
    """Write a result of as many images as the columns are long, and other columns null."""
    n = len(next(iter(columns.values())))
    filled = {
        "path": [f"{number:05d}.png" for number in range(n)],
        "status": ["scored"] * n,
        "score": [0.5] * n,
    } | columns
    schema = result_schema(tuple(MODEL["classes"]))
    table = pa.table({s: filled.get(s, [None] * n) for s in schema.names}, schema=schema)
    if without:
        table = table.drop_columns([without])
    footer = json.dumps({"model": MODEL, "threshold": 0.5})
    file = folder / "results.parquet"
    pq.write_table(table.replace_schema_metadata({"batchscan": footer}), file)
    return file


def labels(folder: Path, name: str, values: list[Any]) -> Path:
    file = folder / "labels.csv"
    rows = [f"{number:05d}.png,NORMAL,{value}" for number, value in enumerate(values)]
    file.write_text("\n".join([f"path,label,{name}", *rows]) + "\n")
    return file


def names(file: Path, column: str, *, truth: Path | None = None) -> tuple[str, ...]:
    """Return the groups of a report by this column."""
    of_file = None if truth is None else location(str(truth))
    rows = read_rows(location(str(file)), labels=of_file, by=[column])
    return groups_of(rows.by[0], rows.table[rows.by[0]].combine_chunks()).names


@pytest.mark.parametrize("spelling", ["sex", "Sex"])
def test_the_label_file_fills_in(spelling: str, tmp_path: Path) -> None:
    """A column that is empty in the result is the label file's of that name, and called so."""
    truth = labels(tmp_path, spelling, ["F", "M"])
    file = result(tmp_path, width=[1, 2])
    rows = read_rows(location(str(file)), labels=location(str(truth)), by=["sex"])
    assert rows.by == (f"label_{spelling}",)
    assert names(file, "sex", truth=truth) == ("F", "M")
    older = result(tmp_path, width=[1, 2], without="sex")
    assert names(older, "sex", truth=truth) == ("F", "M")


def test_the_result_comes_first(tmp_path: Path) -> None:
    """A column of which the result has a value is its own, not the label file's."""
    truth = labels(tmp_path, "sex", ["F", "M"])
    file = result(tmp_path, sex=["O", None])
    assert names(file, "sex", truth=truth) == ("O", "unknown")
    assert names(file, "label_sex", truth=truth) == ("F", "M")


def test_ages_of_children(tmp_path: Path) -> None:
    """Ages of a result are put into bands as those of a label file: infants, children, adults."""
    ages = [0.5, 1.33, 2, 3, 4, 5.9, 6, 17.9, 39, 90, None]
    bands = ("0", "1-5", "6-17", "18-39", "65+", "unknown")
    assert names(result(tmp_path, age_years=ages), "age_years") == bands


def test_days_are_cut_to_months(tmp_path: Path) -> None:
    """Days of a label file are put together by month."""
    truth = labels(tmp_path, "taken", ["2020-01-31", "2020-02-01", "2020-02-29"])
    assert names(result(tmp_path, width=[1, 2, 3]), "taken", truth=truth) == ("2020-01", "2020-02")


def test_many_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of any count are put into quarters; too many texts are refused."""
    file = result(tmp_path, bytes=list(range(1200)))
    assert names(file, "bytes") == ("0 to 299", "300 to 599", "600 to 899", "900 to 1199")
    monkeypatch.setattr(dividing, "MOST_NUMBERS", 1100)
    with pytest.raises(UsageError, match=r"at most 1,100 distinct numbers.* 1,200 in bytes"):
        names(file, "bytes")
    file = result(tmp_path, manufacturer=[f"m{number}" for number in range(1001)])
    with pytest.raises(UsageError, match="at most 1,000 distinct texts"):
        names(file, "manufacturer")


@pytest.mark.parametrize("column", ["label", "prediction", "score", "path"])
def test_what_no_figures_are_divided_by(column: str, tmp_path: Path) -> None:
    """Groups of label or prediction differ by what they are, not by the model: they are refused."""
    with pytest.raises(UsageError, match=f"found '{column}', which is none"):
        names(result(tmp_path, width=[1]), column)
