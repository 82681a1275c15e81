"""Tests of the worklist."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_rows import made_up, made_up_of_three

from batchscan.errors import BatchscanError, UsageError
from batchscan.report.input.rows import Rows
from batchscan.report.sheets import worklist
from batchscan.report.sheets.worklist import write_worklist

SCORES = [0.25, None, 0.75, 0.75, 1.0]
PATHS = ["=a", "b", "c\nd", 'e,"f"', "g"]


def with_file(rows: Rows, folder: Path, paths: list[str], **more: object) -> Rows:
    """Put a file with these paths behind rows."""
    result = folder / "result.parquet"
    pq.write_table(pa.table({"path": paths, **more}), result)
    return replace(rows, result=result)


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Return five rows, one of them without a score."""
    labels = ["NORMAL", None, "PNEUMONIA", None, "-x"]
    return with_file(made_up(SCORES, labels), tmp_path, PATHS, view=["PA", None, None, "AP", "PA"])


def test_parquet(rows: Rows, tmp_path: Path) -> None:
    """Scored images come by score, equal ones by path, with the columns that there are."""
    write_worklist(rows, tmp_path / "work.parquet")
    found = pq.read_table(tmp_path / "work.parquet")
    assert found.column_names == ["path", "score", "prediction", "label", "flags", "view"]
    assert found["path"].to_pylist() == ["g", "c\nd", 'e,"f"', "=a"]
    assert found["score"].to_pylist() == [1.0, 0.75, 0.75, 0.25]
    assert found["prediction"].to_pylist() == ["PNEUMONIA"] * 3 + ["NORMAL"]
    assert found["label"].to_pylist() == ["-x", "PNEUMONIA", None, "NORMAL"]
    assert found["view"].to_pylist() == ["PA", None, "AP", "PA"]


def test_csv(rows: Rows, tmp_path: Path) -> None:
    """Line ends and quotes in names survive CSV; what may be a formula has a `'` in front."""
    write_worklist(rows, tmp_path / "work.csv")
    with (tmp_path / "work.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["path"] for row in found] == ["g", "c\nd", 'e,"f"', "'=a"]
    assert [float(row["score"]) for row in found] == [1.0, 0.75, 0.75, 0.25]
    assert [row["label"] for row in found] == ["'-x", "PNEUMONIA", "", "NORMAL"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_formulas(start: str, tmp_path: Path) -> None:
    """Every sign that begins a formula is guarded, and only at the start."""
    rows = with_file(made_up([0.5, 0.4]), tmp_path, [f"{start}1", f"a{start}1"])
    write_worklist(rows, tmp_path / "work.csv")
    with (tmp_path / "work.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [f"'{start}1", f"a{start}1"]


def test_flags_are_joined_in_csv(rows: Rows, tmp_path: Path) -> None:
    """Flags are separated by semicolons."""
    flags = pa.array([["blank", "saturated"], None, [], None, None], pa.list_(pa.string()))
    place = rows.table.column_names.index("flags")
    write_worklist(
        replace(rows, table=rows.table.set_column(place, "flags", flags)), tmp_path / "work.csv"
    )
    with (tmp_path / "work.csv").open(newline="") as file:
        assert [row["flags"] for row in csv.DictReader(file)] == ["", "", "", "blank;saturated"]


def test_slices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Many slices give the same list as one."""
    scores = np.random.default_rng(0).integers(0, 20, 500) / 20
    rows = with_file(made_up(scores.tolist()), tmp_path, [f"{n:04d}" for n in range(500)])
    monkeypatch.setattr(worklist, "_SLICE", 7)
    for name in ("work.csv", "work.parquet"):
        write_worklist(rows, tmp_path / name)
    expected = [f"{n:04d}" for n in sorted(range(500), key=lambda n: (-scores[n], n))]
    assert pq.read_table(tmp_path / "work.parquet")["path"].to_pylist() == expected
    with (tmp_path / "work.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == expected


def test_three_classes(tmp_path: Path) -> None:
    """With more classes, the image least like the first class comes first, with all its scores."""
    rows = made_up_of_three([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], [None] * 3)
    write_worklist(with_file(rows, tmp_path, ["a", "b", "c"]), tmp_path / "work.parquet")
    found = pq.read_table(tmp_path / "work.parquet")
    assert found["path"].to_pylist() == ["b", "c", "a"]
    assert {"score_A", "score_B", "score_C"} <= set(found.column_names)


@pytest.mark.parametrize("name", ["work.csv", "work.parquet"])
def test_nothing_scored(name: str, tmp_path: Path) -> None:
    """A result without scores gives a list with a head and no rows."""
    rows = with_file(made_up([None, None]), tmp_path, ["a", "b"])
    write_worklist(rows, tmp_path / name)
    if name.endswith("csv"):
        assert (tmp_path / name).read_text() == '"path","score","prediction","label","flags"\n'
    else:
        assert pq.read_table(tmp_path / name).num_rows == 0


def test_other_endings_are_refused(rows: Rows, tmp_path: Path) -> None:
    """A name that says neither CSV nor Parquet is refused, and nothing is written."""
    with pytest.raises(UsageError, match=r"\.csv or \.parquet, found \.xlsx"):
        write_worklist(rows, tmp_path / "work.xlsx")
    assert not list(tmp_path.glob("*work*"))


@pytest.mark.parametrize("name", ["work.csv", "work.parquet"])
def test_whole_or_not_at_all(name: str, monkeypatch: pytest.MonkeyPatch, rows: Rows) -> None:
    """A disk that fills up leaves the earlier list as it was, and no piece of another."""
    folder = rows.result.parent
    (folder / name).write_text("earlier")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worklist, "replace_durably", full)
    with pytest.raises(BatchscanError, match="cannot be written \\(No space left on device\\)"):
        write_worklist(rows, folder / name)
    assert (folder / name).read_text() == "earlier"
    assert sorted(file.name for file in folder.iterdir()) == sorted(["result.parquet", name])


def test_no_folder(rows: Rows, tmp_path: Path) -> None:
    """A folder that is not there is named in one line."""
    with pytest.raises(BatchscanError, match=r"none/work\.csv: the worklist cannot be written"):
        write_worklist(rows, tmp_path / "none" / "work.csv")


def test_a_result_that_changed_is_refused(rows: Rows) -> None:
    """Paths are never put to other images' scores."""
    pq.write_table(pa.table({"path": ["a"]}), rows.result)
    with pytest.raises(UsageError, match="has changed"):
        write_worklist(rows, rows.result.with_name("work.csv"))
