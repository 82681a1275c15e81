"""Labels from folders and from files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscan.errors import LabelError
from batchscan.labels.file import read_labels
from batchscan.labels.lookup import LabelLookup, LabelTable, folder_labels, label_of_folder
from batchscan.schema import RESULT_SCHEMA

CLASSES = ("NORMAL", "PNEUMONIA")


def read_text(folder: Path, content: str | bytes, archive_root: Path | None = None) -> LabelTable:
    file = folder / "truth.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_labels(file, CLASSES, archive_root=archive_root)


def refusal(folder: Path, content: str | bytes) -> str:
    with pytest.raises(LabelError) as caught:
        read_text(folder, content)
    text = str(caught.value)
    assert str(folder / "truth.csv") in text
    assert "\n" not in text
    return text


def as_dict(labels: LabelTable) -> dict[str, str | None]:
    columns = labels.table.to_pydict()
    return dict(zip(columns["path"], columns["label"], strict=True))


# ------------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("NORMAL/a.jpeg", None, "NORMAL"),
        ("site/2023/pneumonia/deep/er/a.jpeg", None, "PNEUMONIA"),
        ("NORMAL/Pneumonia/a.jpeg", None, "PNEUMONIA"),
        ("a.jpeg", "Normal", "NORMAL"),
        ("PNEUMONIA/a.jpeg", "Normal", "PNEUMONIA"),
        ("site/NORMAL", None, None),
        ("site/NORMAL_old/a.jpeg", "x", None),
        ("a.jpeg", None, None),
        ("", None, None),
    ],
)
def test_nearest_folder(path: str, root: str | None, expected: str | None) -> None:
    """The nearest parent folder named like a class, in any case, labels an image."""
    assert label_of_folder(path, CLASSES, root) == expected
    assert folder_labels(pa.array([path]), CLASSES, root).to_pylist() == [expected]


PARTS = st.sampled_from(["normal", "PNEUMONIA", "Normal", "site", "é", "a.jpeg", "normal.png"])


@given(
    st.lists(st.lists(PARTS, min_size=1, max_size=5).map("/".join), max_size=30),
    st.sampled_from([None, "archive", "Pneumonia"]),
    st.integers(0, 30),
)
def test_columns_as_single_paths(paths: list[str], root: str | None, cut: int) -> None:
    """A whole column of paths, chunked or not, gets the labels that its paths get one by one."""
    expected = [label_of_folder(path, CLASSES, root) for path in paths]
    whole = pa.array(paths, pa.string())
    chunked = pa.chunked_array([whole[:cut], whole[cut:]])
    assert folder_labels(whole, CLASSES, root).to_pylist() == expected
    labels = folder_labels(chunked, CLASSES, root)
    assert labels.to_pylist() == expected
    assert labels.type == pa.string()


# --------------------------------------------------------------------- files


def test_csv(tmp_path: Path) -> None:
    """Labels are read in any case, blanks around them ignored; empty means unknown."""
    labels = read_text(
        tmp_path, "path,label\nb.jpeg, pneumonia \na.jpeg,Normal\nc.jpeg,\nd.jpeg,  "
    )
    expected = {"a.jpeg": "NORMAL", "b.jpeg": "PNEUMONIA", "c.jpeg": None, "d.jpeg": None}
    assert as_dict(labels) == expected
    assert list(as_dict(labels)) == sorted(expected)
    assert len(labels) == 4


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_dialects(tmp_path: Path, delimiter: str, end: str, mark: bytes) -> None:
    """Commas, semicolons or tabs, both line ends, byte order mark: what spreadsheets write fits."""
    rows = [["Label", " PATH", "note, long; or not"], ["normal", "ü/a.jpeg", '"x\ny"']]
    rows[0][2] = f'"{rows[0][2]}"'
    text = end.join(delimiter.join(row) for row in rows) + end
    labels = read_text(tmp_path, mark + text.encode())
    assert as_dict(labels) == {"ü/a.jpeg": "NORMAL"}
    assert labels.table.column(2).to_pylist() == ["x\ny"]


def test_parquet(tmp_path: Path) -> None:
    """Parquet is known by its content, whatever the file's name and the columns' string types."""
    table = pa.table(
        {
            "LABEL": pa.array(["Normal", None, "PNEUMONIA"]).dictionary_encode(),
            "age": pa.array([3, 4, None], pa.int8()),
            "Path": pa.array(["b", "a", "c"], pa.large_string()),
            "__index_level_0__": [5, 6, 7],
        }
    )
    pq.write_table(table, tmp_path / "truth.csv")
    labels = read_labels(tmp_path / "truth.csv", CLASSES)
    assert as_dict(labels) == {"a": None, "b": "NORMAL", "c": "PNEUMONIA"}
    assert labels.extra_fields == [pa.field("age", pa.int8())]


def test_further_columns_get_types(tmp_path: Path) -> None:
    """A further column is typed only where nothing is lost: identifiers stay as they stand."""
    content = (
        "path,label,age,dose,smoker,day,patient,accession,site,none,odd\n"
        "a,NORMAL,61,0.5,true,2023-02-28,007,12345678901234567890,NA,,2023-02-30\n"
        "b,NORMAL,NA,,False,,012,1,,,2023-02-01\n"
    )
    table = read_text(tmp_path, content).table
    assert table.drop_columns(["path", "label"]).to_pydict() == {
        "age": [61, None],
        "dose": [0.5, None],
        "smoker": [True, False],
        "day": [date(2023, 2, 28), None],
        "patient": ["007", "012"],
        "accession": ["12345678901234567890", "1"],
        "site": ["NA", None],
        "none": [None, None],
        "odd": ["2023-02-30", "2023-02-01"],
    }
    assert table.schema.field("age").type == pa.int64()
    assert table.schema.field("dose").type == pa.float64()
    assert table.schema.field("day").type == pa.date32()


def test_type_of_a_late_text(tmp_path: Path) -> None:
    """A text after a million numbers makes a text column, not an error."""
    rows = "".join(f"{row:06d},normal,{row}\n" for row in range(100_000))
    labels = read_text(tmp_path, f"path,label,age\n{rows}x,normal,unknown\n")
    assert labels.extra_fields == [pa.field("age", pa.string())]
    assert len(labels) == 100_001


def test_renamed_columns(tmp_path: Path) -> None:
    """A column named like one of the result is kept under another name; one without name isn't."""
    labels = read_text(tmp_path, ",path,label,Score,bytes,age\n0,a,normal,1,2,3\n")
    names = [field.name for field in labels.extra_fields]
    assert names == ["label_Score", "label_bytes", "age"]
    assert not set(names) & set(RESULT_SCHEMA.names)


def test_path_forms(tmp_path: Path) -> None:
    """Absolute paths below the archive, leading dots and doubled slashes mean the same image."""
    root = tmp_path / "archive"
    paths = ["./a.jpeg", "././b//c.jpeg", f"{root}/d/e.jpeg", "/elsewhere/f.jpeg", "x./y.jpeg"]
    content = "path,label\n" + "".join(f"{path},normal\n" for path in paths)
    found = set(as_dict(read_text(tmp_path, content, root)))
    assert found == {"a.jpeg", "b/c.jpeg", "d/e.jpeg", "/elsewhere/f.jpeg", "x./y.jpeg"}


def test_path_forms_through_a_link(tmp_path: Path) -> None:
    """The archive's path may lead through a link: both its spellings are known."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    content = f"path,label\n{tmp_path}/real/a,normal\n{tmp_path}/link/b,normal\n"
    assert set(as_dict(read_text(tmp_path, content, tmp_path / "link"))) == {"a", "b"}


def test_windows_paths(tmp_path: Path) -> None:
    """Backslashes separate where no path has a slash; elsewhere they are part of a name."""
    assert set(as_dict(read_text(tmp_path, "path,label\n.\\s\\a,normal\nb,normal"))) == {"s/a", "b"}
    assert set(as_dict(read_text(tmp_path, "path,label\ns\\a,normal\ns/b,normal"))) == {
        "s\\a",
        "s/b",
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path,label\na,normal\nb,0\n", ["data row 2", "NORMAL or PNEUMONIA", "'0'"]),
        ("path,label\na,1\n", ["data row 1", "'1'"]),
        ("path,label\na,nan\n", ["data row 1", "'nan'"]),
        ("path,label\na,normal\n,normal\n", ["data row 2", "expected a path"]),
        ("file,label\na,normal\n", ["one column named path", "none among: file, label"]),
        ("path;truth\na;normal\n", ["one column named label", "path, truth"]),
        ("path,Path,label\na,a,normal\n", ["one column named path, found 2"]),
        ("path,label,x,x\na,normal,1,2\n", ["column x is there twice"]),
        ("path,label,score,label_score\na,normal,1,2\n", ["column label_score is there twice"]),
        ("", ["found nothing"]),
        ("\n", ["found nothing"]),
        ("path,label\na,normal,what\n", ["cannot be read", "Expected 2 columns, got 3"]),
        ("path,label\nä,normal\n".encode("latin-1"), ["cannot be read", "UTF8"]),
        ("path,label\na,normal\n".encode("utf-16"), ["CSV in UTF-8 or Parquet", "ff fe"]),
        (b"PK\x03\x04\x14\x00\x06\x00", ["CSV in UTF-8 or Parquet", "50 4b 03 04"]),
        (b"PAR1 but no more", ["cannot be read"]),
        ("path,label\na,normal\na,pneumonia\n", ["a: expected one label", "PNEUMONIA"]),
        ("path,label\na,normal\nb,\na,\n", ["a: expected one label", "None"]),
        ("path,label,age\na,normal,1\n./a,normal,2\n", ["a: expected one age", "1 and 2"]),
    ],
)
def test_refusals(tmp_path: Path, content: str | bytes, expected: list[str]) -> None:
    """A label file that can't be trusted is refused in one line that says where and why."""
    text = refusal(tmp_path, content)
    for part in expected:
        assert part in text


def test_missing_file(tmp_path: Path) -> None:
    """A label file that isn't there, or is a folder, is named in the error."""
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(LabelError, match=path.name):
            read_labels(path, CLASSES)


def test_integer_labels_in_parquet(tmp_path: Path) -> None:
    """Numbers as labels are unknown labels, not an error about types."""
    pq.write_table(pa.table({"path": ["a"], "label": [1]}), tmp_path / "truth.parquet")
    with pytest.raises(LabelError, match="found '1'"):
        read_labels(tmp_path / "truth.parquet", CLASSES)
    pq.write_table(pa.table({"path": [["a"]], "label": ["x"]}), tmp_path / "truth.parquet")
    with pytest.raises(LabelError, match="expected text in the column path, found list"):
        read_labels(tmp_path / "truth.parquet", CLASSES)


def test_identical_repeats_collapse(tmp_path: Path) -> None:
    """Rows that say the same about one path count once."""
    labels = read_text(tmp_path, "path,label,x\nb,normal,\na,normal,1\nb,Normal,\nb, NORMAL,\n")
    assert as_dict(labels) == {"a": "NORMAL", "b": "NORMAL"}
    assert labels.table.column("x").to_pylist() == [1, None]


def test_no_rows(tmp_path: Path) -> None:
    """A label file with a header alone knows no image, and its columns all the same."""
    labels = read_text(tmp_path, "path,label,age\n")
    assert len(labels) == 0
    found = labels.lookup(pa.array(["a", "b"]))
    assert found.to_pydict() == {"label": [None, None], "age": [None, None]}
    assert LabelLookup(labels).unmatched() == (0, ())


# -------------------------------------------------------------------- lookup

NAMES = st.text(st.sampled_from("ab/é\U0001f9b4\uffff"), min_size=1, max_size=4)


@given(
    st.dictionaries(NAMES, st.sampled_from([None, *CLASSES]), max_size=20),
    st.sets(NAMES, max_size=20),
    st.integers(1, 8),
)
def test_lookup_by_chunks(known: dict[str, str | None], asked: set[str], size: int) -> None:
    """Sorted paths, looked up chunk by chunk, get what the file says of them, or nulls."""
    rows = sorted(known, key=str.encode)
    table = pa.table(
        {
            "path": pa.array(rows, pa.large_string()),
            "label": pa.array([known[row] for row in rows], pa.string()),
            "length": pa.array([len(row) for row in rows], pa.int64()),
        }
    )
    lookup = LabelLookup(LabelTable(table.combine_chunks(), Path("truth.csv")))
    paths = pa.array(sorted(asked, key=str.encode), pa.string())
    tables = [lookup.find(paths[start : start + size]) for start in range(0, len(paths), size)]
    found = [row for table in tables for row in table.to_pylist()]
    assert found == [
        {"label": known.get(path), "length": len(path) if path in known else None}
        for path in paths.to_pylist()
    ]
    missing = [row for row in rows if row not in asked]
    assert lookup.unmatched() == (len(missing), tuple(missing[:3]))


def test_lookup_of_a_chunked_column(tmp_path: Path) -> None:
    """A column in several chunks is looked up as a whole; texts come back as plain strings."""
    labels = read_text(tmp_path, "path,label,site\nb,normal,x\nd,pneumonia,y\n")
    found = labels.lookup(pa.chunked_array([["a", "b"], ["c", "d"]]))
    assert found.to_pydict() == {
        "label": [None, "NORMAL", None, "PNEUMONIA"],
        "site": [None, "x", None, "y"],
    }
    assert list(found.schema)[1:] == labels.extra_fields == [pa.field("site", pa.string())]
