"""Pseudonyms: patients and paths that only who has the key can tell."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from pathlib import Path

import dicom_phantoms as phantoms
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import run
from conftest import encode, picture
from hypothesis import given
from hypothesis import strategies as st

import batchscan
from batchscan.config import ScanConfig
from batchscan.display import display_path
from batchscan.errors import UsageError
from batchscan.hidden_paths import hide_paths, recognise
from batchscan.pseudonym import key_check, patient_hmac, read_key
from batchscan.results import read_footer
from batchscan.summary import ScanSummary

KEY = b"a key of more than sixteen bytes"
SENTINEL = "Zebulon"


def expected(text: str, key: bytes = KEY) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Clinic:
    """An archive whose names all hold a patient's, and scans of it that hide them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.archive = folder / f"{SENTINEL}-archive"
        self.out = folder / "results.parquet"
        self.key = folder / "key"
        self.key.write_bytes(KEY + b"\n")
        self._model = model
        grey = encode(picture(64, 48), "jpeg")
        self.put(f"NORMAL/{SENTINEL}-a.jpeg", grey)
        self.put(f"PNEUMONIA/{SENTINEL}-b.jpeg", grey)
        self.put(f"{SENTINEL}-c.jpeg", grey)
        self.put(f"{SENTINEL}/cut.jpeg", grey[:300])
        self.put(f"notes.{SENTINEL}", b"text")
        self.put(f"{SENTINEL}.dcm", phantoms.file(phantoms.chest(), PatientID=SENTINEL))

    def put(self, name: str, data: bytes) -> None:
        file = self.archive / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def scan(self, **options: object) -> ScanSummary:
        hiding = {"id_key": KEY, "hide_paths": True} | options
        return batchscan.scan(self.archive, self.out, model=self._model, workers=0, **hiding)

    def rows(self) -> dict[str, dict[str, object]]:
        return {str(row["path"]): row for row in pq.read_table(self.out).to_pylist()}


@pytest.fixture
def clinic(tmp_path: Path, tiny_bundle: Path) -> Clinic:
    return Clinic(tmp_path, tiny_bundle)


def written(folder: Path, besides: Path) -> Iterator[bytes]:
    """Yield every file's content, each Parquet file also as text."""
    for file in folder.rglob("*"):
        if file.is_file() and besides not in file.parents:
            yield file.read_bytes()
            if file.suffix == ".parquet":
                yield str(pq.read_table(file).to_pylist()).encode()
                yield str(pq.read_schema(file).metadata).encode()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_no_name_gets_out(clinic: Clinic, tmp_path: Path, workers: str) -> None:
    """No part of a path, and no PatientID, is in any file that is written, or printed."""
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,label\n{SENTINEL}-c.jpeg,NORMAL\n{SENTINEL}-gone.jpeg,NORMAL\n")
    options = ("--labels", labels, "--id-key", clinic.key, "--hide-paths", "--workers", workers)
    done = run("run", clinic.archive, "--out", clinic.out, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 labelled paths have no image in the archive\n" in done.stdout
    labels.unlink()
    for text in (done.stdout.encode(), done.stderr.encode(), *written(tmp_path, clinic.archive)):
        assert SENTINEL.encode() not in text
        assert KEY not in text.replace(clinic.key.read_bytes(), b"")


def test_paths_and_patients_are_keyed_hashes(clinic: Clinic) -> None:
    """Each path is the HMAC of the path, each patient that of PatientID; labels are right."""
    summary = clinic.scan()
    rows = clinic.rows()
    assert list(rows) == sorted(rows)
    assert summary.counts.found == len(rows) == 5
    assert rows[expected(f"NORMAL/{SENTINEL}-a.jpeg")]["label"] == "NORMAL"
    assert rows[expected(f"PNEUMONIA/{SENTINEL}-b.jpeg")]["label"] == "PNEUMONIA"
    assert rows[expected(f"{SENTINEL}/cut.jpeg")]["failure"] == "truncated"
    assert rows[expected(f"{SENTINEL}.dcm")]["patient_id_hmac"] == expected(SENTINEL)
    footer = read_footer(clinic.out)
    assert footer["archive"] == expected(display_path(os.path.realpath(clinic.archive)))
    assert footer["pseudonyms"] == f"patients and paths, key {key_check(KEY)}"


def test_a_later_run_knows_its_rows_again(clinic: Clinic) -> None:
    """What is unchanged stays, what is new comes in, what is gone goes; labels stay right."""
    clinic.scan()
    clinic.put(f"NORMAL/{SENTINEL}-new.jpeg", encode(picture(64, 48), "jpeg"))
    (clinic.archive / f"{SENTINEL}-c.jpeg").unlink()
    again = clinic.scan()
    assert (again.unchanged, again.scored_now, again.dropped) == (4, 1, 1)
    rows = clinic.rows()
    assert len(rows) == 5
    assert rows[expected(f"NORMAL/{SENTINEL}-a.jpeg")]["label"] == "NORMAL"
    assert rows[expected(f"NORMAL/{SENTINEL}-new.jpeg")]["status"] == "scored"
    assert clinic.scan().unchanged == 5


@pytest.mark.parametrize(
    "other",
    [
        {"id_key": b"another key of enough bytes"},
        {"hide_paths": False},
        {"id_key": None, "hide_paths": False},
    ],
    ids=["key", "paths", "none"],
)  # fmt: skip
def test_rows_of_one_key_only(clinic: Clinic, other: dict[str, object]) -> None:
    """Rows with other pseudonyms do not come into one result."""
    clinic.scan()
    with pytest.raises(UsageError, match="holds rows with other pseudonyms"):
        clinic.scan(**other)


def test_patients_alone(clinic: Clinic) -> None:
    """With a key alone, patients get pseudonyms and paths stay."""
    clinic.scan(hide_paths=False)
    rows = clinic.rows()
    assert rows[f"{SENTINEL}.dcm"]["patient_id_hmac"] == patient_hmac(KEY, SENTINEL)
    assert rows[f"{SENTINEL}-c.jpeg"]["patient_id_hmac"] is None
    assert KEY.decode() not in str(read_footer(clinic.out))


def test_bad_keys(clinic: Clinic, tmp_path: Path) -> None:
    """A key that is missing or short, or paths without one, are errors that say what to do."""
    with pytest.raises(UsageError, match="cannot be read"):
        read_key(tmp_path / "nowhere")
    (tmp_path / "short").write_bytes(b"  short \n")
    with pytest.raises(UsageError, match=r"at least 16 bytes, found 5; .*secrets"):
        read_key(tmp_path / "short")
    with pytest.raises(UsageError, match="--id-key"):
        clinic.scan(id_key=None)
    assert KEY.decode() not in repr(ScanConfig(clinic.archive, clinic.out, id_key=KEY))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_hiding_can_be_recognised(paths: list[str]) -> None:
    """Hidden rows are as many as before, sorted, and found again by their names and by no other."""
    paths = sorted((display_path(path) for path in paths), key=str.encode)
    paths = list(dict.fromkeys(paths))
    table = pa.table({"path": pa.array(paths, pa.string()), "row": list(range(len(paths)))})
    tables = list(hide_paths([table], KEY))
    assert sum(each.num_rows for each in tables) == len(paths)
    if not tables:
        return
    hidden = pa.concat_tables(tables)
    assert hidden.equals(hidden.sort_by("path"))
    some = paths[::2]
    known, others = recognise(hidden, some, KEY)
    assert known["path"].to_pylist() == some
    assert known["row"].to_pylist() == list(range(len(paths)))[::2]
    assert others.num_rows == len(paths) - len(some)
