"""Reading a result for a report: what is kept of the rows, and bad input one by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from result_files import digest, row, write_result_file

from batchscan.errors import BatchscanError, LabelError, UsageError
from batchscan.report.input import reading
from batchscan.report.input.reading import paths_of, read_rows

ROWS = [
    row("a/1.png", 0.25, label="NORMAL", view="PA", age_years=34.0, patient_id_hmac=digest("p")),
    row("a/2.png", 0.75, label="PNEUMONIA", view="AP", age_years=39.9, phash="00000000000000ff"),
    row("b/c/3.png", 0.5, flags=["blank"], ood_score=1.5, patient_id_hmac=digest("q")),
    row("b/c/4.png", failure="truncated", label="NORMAL", patient_id_hmac=digest("p")),
    row("top.png", skip="lateral", modified=datetime(2025, 1, 31, 23, tzinfo=UTC)),
]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return write_result_file(tmp_path / "results.parquet", ROWS)


def refusal(work: Callable[[], object], kind: type[BatchscanError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        work()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_columns_are_those_that_rows_promise(result: Path) -> None:
    """Each column of `Rows` holds what the result says, in one chunk."""
    rows = read_rows(result)
    assert all(column.num_chunks == 1 for column in rows.table.columns)
    found = rows.table.to_pydict()
    assert found["status"] == ["scored"] * 3 + ["failed", "skipped"]
    assert found["score"] == [0.25, 0.75, 0.5, None, None]
    assert found["label"] == ["NORMAL", "PNEUMONIA", None, "NORMAL", None]
    assert found["flags"] == [[], [], ["blank"], None, None]
    assert found["folder"] == ["a", "a", "b/c", "b/c", ""]
    assert found["month"] == ["2026-11"] * 4 + ["2025-01"]
    assert found["content"] == [int(digest(each["path"])[:16], 16) for each in ROWS]
    assert found["phash"] == [None, 255, None, None, None]
    assert found["ood_score"] == [None, None, 1.5, None, None]
    patients = found["patient"]
    assert patients[0] == patients[3] != patients[2]
    assert patients[1] is patients[4] is None
    assert (rows.classes, rows.threshold) == (("NORMAL", "PNEUMONIA"), 0.5)


def test_batches_do_not_show(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are the same in however many batches they are read."""
    whole = read_rows(result, by=("view",)).table.to_pydict()
    monkeypatch.setattr(reading, "_BATCH_ROWS", 2)
    assert read_rows(result, by=("view",)).table.to_pydict() == whole


def test_label_file_replaces_labels(tmp_path: Path, result: Path) -> None:
    """Labels and further columns come from the label file alone; its unknown paths are told."""
    labels = tmp_path / "truth.csv"
    labels.write_text(
        "path,label,site\nb/c/3.png,pneumonia,North\nno.png,normal,\na/1.png,,South\n"
    )
    rows = read_rows(result, labels=labels, by=("site", "view", "site"))
    assert rows.table["label"].to_pylist() == [None, None, "PNEUMONIA", None, None]
    assert rows.table["site"].to_pylist() == ["South", None, "North", None, None]
    assert rows.table["view"].to_pylist() == ["PA", "AP", None, None, None]
    assert rows.by == ("site", "view")
    assert (rows.unmatched_labels, rows.unmatched_examples) == (1, ("no.png",))


def test_ages_are_full_years(result: Path) -> None:
    """Ages come in full years, and folder and month can be divided by, too."""
    rows = read_rows(result, by=("age_years", "folder", "month"))
    assert rows.table["age_years"].to_pylist() == ["34", "39", None, None, None]
    assert rows.table.column_names.count("folder") == 1


def test_numbers_and_dates_become_groups(tmp_path: Path) -> None:
    """Columns of any plain type are divided by their values as text; no number is no value."""
    further = {"year": pa.int16(), "dose": pa.float64(), "old": pa.bool_()}
    rows = [row("a", 0.5, year=2020, dose=1.5, old=True), row("b", 0.5, dose=float("nan"))]
    file = write_result_file(tmp_path / "r.parquet", rows, further=further)
    found = read_rows(file, by=tuple(further)).table
    assert [found[name].to_pylist() for name in further] == [
        ["2020", None],
        ["1.5", None],
        ["true", None],
    ]


def test_score_that_is_no_number_is_none(tmp_path: Path) -> None:
    """NaN and infinity are no scores, and neither is one of a row that isn't scored."""
    rows = [row("a", 0.5), row("b", float("nan")), row("c", float("inf")),
            row("d", 0.9, status="failed", failure="corrupt")]  # fmt: skip
    found = read_rows(write_result_file(tmp_path / "r.parquet", rows)).table["score"]
    assert found.to_pylist() == [0.5, None, None, None]


def test_older_results_lack_columns(tmp_path: Path) -> None:
    """A result without the newer columns is read; these are there, and all null."""
    lacking = ["phash", "ood_score", "patient_id_hmac", "view", "flags", "modified", "sha256"]
    rows = read_rows(write_result_file(tmp_path / "r.parquet", ROWS, without=lacking)).table
    for name in ("phash", "ood_score", "patient", "flags", "month", "content"):
        assert rows[name].null_count == len(ROWS)


def test_several_classes(tmp_path: Path) -> None:
    """Of more than two classes, each has its column of scores, and there is no threshold."""
    scores = {"score_A": 0.2, "score_B": 0.3, "score_C": 0.5}
    own = row("a", **scores) | {"status": "scored", "prediction": "C", "label": "A"}
    broken = own | {"path": "b", "score_A": float("nan")}
    del own["score"], broken["score"]
    file = write_result_file(tmp_path / "r.parquet", [own, broken], classes=("A", "B", "C"))
    rows = read_rows(file)
    assert rows.threshold is None
    assert rows.table["score_B"].to_pylist() == [pytest.approx(0.3), None]


def test_empty_result(tmp_path: Path) -> None:
    """A result without rows has all columns, and none in them."""
    rows = read_rows(write_result_file(tmp_path / "r.parquet", []), by=("view",))
    assert rows.table.num_rows == 0
    assert {"status", "score", "label", "folder", "phash", "view"} <= {*rows.table.column_names}


def test_paths_are_looked_up(result: Path) -> None:
    """Paths come back in the order asked for, also twice, from any row group."""
    rows = read_rows(result)
    assert paths_of(rows, np.array([4, 0, 3, 0])) == ["top.png", "a/1.png", "b/c/4.png", "a/1.png"]
    assert paths_of(rows, np.array([], dtype=np.int64)) == []


def test_paths_of_another_file_are_refused(result: Path) -> None:
    """A result that was replaced meanwhile gives no paths."""
    rows = read_rows(result)
    write_result_file(result, ROWS[:2])
    assert "changed while" in refusal(lambda: paths_of(rows, np.array([0])))


def test_unknown_column_is_named(tmp_path: Path, result: Path) -> None:
    """A column that is nowhere is refused with the list of those there are."""
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label,site\na/1.png,normal,North\n")
    text = refusal(lambda: read_rows(result, labels=labels, by=("sight",)))
    assert "'sight'" in text
    assert all(name in text for name in ("site", "view", "manufacturer", "folder", "month"))
    assert "flags" not in text.split("there are:")[1]


@pytest.mark.parametrize("name", ["score", "flags", "phash", "path"])
def test_columns_that_divide_nothing_are_refused(result: Path, name: str) -> None:
    """Scores, flags and what only names an image make no groups."""
    assert repr(name) in refusal(lambda: read_rows(result, by=(name,)))


def test_too_many_groups_are_refused(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column with more distinct values than anyone reads is refused."""
    monkeypatch.setattr("batchscan.report.input.dividing.MOST_GROUPS", 1)
    assert "found 2 in view" in refusal(lambda: read_rows(result, by=("view",)))


def test_column_with_a_name_of_the_reports_is_refused(tmp_path: Path, result: Path) -> None:
    """A label file's column called month would be mistaken for the report's own."""
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label,month\na/1.png,normal,May\n")
    assert "rename it" in refusal(lambda: read_rows(result, labels=labels, by=("month",)))


def test_label_file_with_no_path_of_the_result_is_refused(tmp_path: Path, result: Path) -> None:
    """Where not one path is known, the labels are of another archive."""
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label\nx.png,normal\n")
    text = refusal(lambda: read_rows(result, labels=labels), LabelError)
    assert "'x.png'" in text


@pytest.mark.parametrize(
    ("content", "found"),
    [("a/1.png,measles\n", "'measles'"), ("a/1.png,normal\na/1.png,pneumonia\n", "a/1.png")],
)
def test_bad_labels_are_refused(tmp_path: Path, result: Path, content: str, found: str) -> None:
    """Unknown classes and paths with two labels are refused by name."""
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label\n" + content)
    assert found in refusal(lambda: read_rows(result, labels=labels), LabelError)


def test_path_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Of a path with two rows no figure would be right; also across batches."""
    file = write_result_file(tmp_path / "r.parquet", [row("a", 0.1), row("a", 0.9), row("b", 0.2)])
    assert "'a' there twice" in refusal(lambda: read_rows(file))


def test_duplicate_across_batches_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a batch is compared with the start of the next one."""
    monkeypatch.setattr(reading, "_BATCH_ROWS", 1)
    file = write_result_file(tmp_path / "r.parquet", [row("a\n", 0.1), row("a\n", 0.9)])
    assert r"'a\\n' there twice" in refusal(lambda: read_rows(file))


def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    """A result that was sorted otherwise is refused: labels could not be found in it."""
    file = write_result_file(
        tmp_path / "r.parquet", ROWS, key=lambda path: [-byte for byte in path.encode()]
    )
    assert "out of order" in refusal(lambda: read_rows(file))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"status": "lost"}, "'lost'"),
        ({"label": "MEASLES"}, "'MEASLES'"),
        ({"prediction": "MEASLES"}, "'MEASLES'"),
        ({"score": 1.5}, "scores from 0 to 1"),
        ({"sha256": "short"}, "64 hexadecimal digits"),
        ({"sha256": "g" * 64}, "64 hexadecimal digits"),
        ({"phash": "xy"}, "16 hexadecimal digits"),
    ],
)
def test_values_that_no_result_has_are_refused(
    tmp_path: Path, change: dict[str, object], found: str
) -> None:
    """A row that says what no scan writes is refused."""
    file = write_result_file(tmp_path / "r.parquet", [row("a", 0.5) | change, row("b", 0.5)])
    text = refusal(lambda: read_rows(file))
    assert found in text
    assert str(file) in text


def test_files_that_are_no_result_are_refused(tmp_path: Path, result: Path) -> None:
    """Text, foreign Parquet, a cut file, a folder and nothing at all are no results."""
    text, foreign, cut = (tmp_path / name for name in ("text", "foreign", "cut"))
    text.write_text("score,label\n")
    pq.write_table(pa.table({"path": ["a"]}), foreign)
    cut.write_bytes(result.read_bytes()[:-20])
    for file in (text, foreign, cut, tmp_path, tmp_path / "nothing"):
        assert refusal(lambda file=file: read_rows(file)).startswith(f"{file}: ")


@pytest.mark.parametrize(
    "footer", [{"threshold": None}, {"threshold": 2}, {"model": {}}, {"model": None}]
)
def test_damaged_footers_are_refused(tmp_path: Path, footer: dict[str, object]) -> None:
    """Without a threshold or the classes nothing can be computed."""
    file = write_result_file(tmp_path / "r.parquet", ROWS, footer=footer)
    assert "footer" in refusal(lambda: read_rows(file))


def test_result_without_scores_is_refused(tmp_path: Path) -> None:
    """A file without the columns that every version has is no result."""
    file = write_result_file(tmp_path / "r.parquet", ROWS, without=["score"])
    assert "no column score" in refusal(lambda: read_rows(file))
