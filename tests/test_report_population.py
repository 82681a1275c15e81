"""The report's section on patients, age and sex, and on what the labels rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from result_files import block, cells, digest, has_block, row, write_result_file

from batchscan.report.figures.discrimination import discrimination_section
from batchscan.report.input.reading import read_rows
from batchscan.report.population import population_section

ROWS = [
    row("1", 0.1, label="NORMAL", sex="F", age_years=4.9, patient_id_hmac=digest("p")),
    row("2", 0.9, label="NORMAL", sex="M", age_years=6.0, patient_id_hmac=digest("p")),
    row("3", 0.8, label="PNEUMONIA", sex=None, age_years=90.0, patient_id_hmac=digest("q")),
    row("4", 0.3, sex="F", patient_id_hmac=digest("r")),
    row("5", failure="empty", label="PNEUMONIA", sex="M", patient_id_hmac=digest("s")),
    row("6", 0.7, label="PNEUMONIA"),
]


def section(folder: Path, rows: list[dict[str, Any]] = ROWS, **more: Any) -> Any:
    return population_section(read_rows(write_result_file(folder / "r.parquet", rows, **more)))


def test_patients_are_counted_once(tmp_path: Path) -> None:
    """At each step a patient counts once, however many images there are; unknown ones are told."""
    table = block(section(tmp_path), "patients")
    assert cells(table, "patients") == {
        "found": 4, "scored": 3, "scored and labelled": 2,
        "scored, labelled NORMAL": 1, "scored, labelled PNEUMONIA": 1,
    }  # fmt: skip
    assert cells(table, "images")["scored and labelled"] == 3
    assert cells(table, "unknown")["scored and labelled"] == 1


def test_age_and_sex_by_label(tmp_path: Path) -> None:
    """Scored images are counted by sex; ages are full years, and unknown ones are told."""
    table = block(section(tmp_path), "people")
    assert cells(table, "n") == {
        "labelled NORMAL": 2, "labelled PNEUMONIA": 2, "no label": 1, "all scored": 5,
    }  # fmt: skip
    assert cells(table, "sex_F")["all scored"] == 2
    assert cells(table, "sex_M")["all scored"] == 1
    assert cells(table, "sex_unknown")["all scored"] == 2
    assert (cells(table, "age_0")["all scored"], cells(table, "age_1")["all scored"]) == (4, 90)
    assert cells(table, "age_0.5")["labelled NORMAL"] == 4
    assert cells(table, "age_unknown")["labelled PNEUMONIA"] == 1
    assert cells(table, "age_0.5")["no label"] is None


def test_columns_of_a_label_file(tmp_path: Path) -> None:
    """Where the result's own columns are empty, those that the scan kept of a label file count."""
    rows = [row("1", 0.1, label="NORMAL", label_sex="female", label_age_years=7)]
    further = {"label_sex": pa.string(), "label_age_years": pa.int64()}
    table = block(section(tmp_path, rows, further=further), "people")
    assert cells(table, "sex_female")["all scored"] == 1
    assert cells(table, "age_0.5")["all scored"] == 7


@pytest.mark.parametrize("age", ["7", "7.5", "", "old"])
def test_a_label_file_for_the_report(tmp_path: Path, age: str) -> None:
    """Sex and age of a label file that the report is given are tabulated; words are no age."""
    file = write_result_file(tmp_path / "r.parquet", [row("1", 0.1), row("2", 0.9)])
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,label,sex,age_years\n1,NORMAL,F,{age}\n2,PNEUMONIA,M,{age}\n")
    table = block(population_section(read_rows(file, labels=labels)), "people")
    assert cells(table, "sex_F") == {
        "labelled NORMAL": 1, "labelled PNEUMONIA": 0, "all scored": 1,
    }  # fmt: skip
    names = [column.key for column in table.columns]
    assert ("age_0.5" in names) == (age in {"7", "7.5"})
    if "age_0.5" in names:
        assert cells(table, "age_0.5")["all scored"] == 7


@pytest.mark.parametrize("values", [[200.0, -1.0], [float("nan"), None]])
def test_what_is_no_age(tmp_path: Path, values: list[float | None]) -> None:
    """Ages that nobody has are unknown, never part of a figure."""
    rows = [row(str(n), 0.1, age_years=value, sex="F") for n, value in enumerate(values)]
    table = block(section(tmp_path, rows), "people")
    assert cells(table, "age_unknown")["all scored"] == 2


def test_nothing_is_known(tmp_path: Path) -> None:
    """Without patients, ages and sexes the section says so."""
    found = section(tmp_path, [row("1", 0.1)])
    assert {each.key for each in found.blocks} == {
        "reference_standard", "no_patients", "no_people",
    }  # fmt: skip
    assert "no image has a label" in block(found, "reference_standard").text


def test_the_reference_standard(tmp_path: Path) -> None:
    """The report says where labels come from, and shows no name where paths are hidden."""
    assert "names of folders" in block(section(tmp_path), "reference_standard").text
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label\n1,NORMAL\n")
    for hidden in (False, True):
        footer = {"options": {"hide_paths": hidden}}
        file = write_result_file(tmp_path / "r.parquet", ROWS, footer=footer)
        text = block(population_section(read_rows(file, labels=labels)), "reference_standard").text
        assert "label file" in text
        assert ("truth.csv" in text) != hidden


def test_worst_case(tmp_path: Path) -> None:
    """Labelled images that failed or were skipped are errors in the worst case, and in no other."""
    file = write_result_file(tmp_path / "r.parquet", ROWS)
    table = block(discrimination_section(read_rows(file)), "worst_case")
    assert cells(table, "errors") == {"Sensitivity": 1, "Specificity": 0, "Accuracy": 1}
    found = {name: each.value for name, each in cells(table, "estimate").items()}
    assert found == pytest.approx({"Sensitivity": 2 / 3, "Specificity": 1 / 2, "Accuracy": 3 / 5})
    sound = [each for each in ROWS if each["status"] == "scored"]
    file = write_result_file(tmp_path / "r.parquet", sound)
    assert not has_block(discrimination_section(read_rows(file)), "worst_case")
