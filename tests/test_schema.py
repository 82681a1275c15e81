"""Tests of the tables' columns and of the list of failures."""

from __future__ import annotations

import string

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from batchscan.attributes import Attributes
from batchscan.schema import (
    DICTIONARY_COLUMNS,
    FAILURES,
    RESULT_SCHEMA,
    SCORE_SCHEMA,
    TRANSIENT,
    ScoreRow,
    result_schema,
    score_columns,
    score_schema,
    score_table,
)

COLUMNS = {
    "path": pa.string(),
    "status": pa.string(),
    "score": pa.float32(),
    "prediction": pa.string(),
    "label": pa.string(),
    "failure": pa.string(),
    "skip": pa.string(),
    "error": pa.string(),
    "flags": pa.list_(pa.string()),
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
    "bytes": pa.int64(),
    "modified": pa.timestamp("us", tz="UTC"),
    "sha256": pa.string(),
    "phash": pa.string(),
    "ood_score": pa.float32(),
    "modality": pa.string(),
    "view": pa.string(),
    "sex": pa.string(),
    "age_years": pa.float32(),
    "manufacturer": pa.string(),
    "model_name": pa.string(),
    "study_year": pa.int16(),
    "patient_id_hmac": pa.string(),
}


def test_columns_of_a_result() -> None:
    """A result has the promised columns, with their types, in their order."""
    assert {field.name: field.type for field in RESULT_SCHEMA} == COLUMNS
    assert RESULT_SCHEMA.names == list(COLUMNS)


def test_columns_of_a_part() -> None:
    """A part has the columns of a result, but for those that follow from options and labels."""
    derived = ("prediction", "label")
    assert SCORE_SCHEMA.names == [name for name in COLUMNS if name not in derived]
    assert all(SCORE_SCHEMA.field(name).type == COLUMNS[name] for name in SCORE_SCHEMA.names)
    assert [field.name for field in SCORE_SCHEMA if not field.nullable] == ["path", "status"]


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
             min_size=2, max_size=6, unique_by=str.casefold)
)  # fmt: skip
def test_columns_for_classes(classes: list[str]) -> None:
    """Two classes have one `score`, more have one each in its place; no name is there twice."""
    scores = list(score_columns(classes))
    assert scores == (["score"] if len(classes) == 2 else [f"score_{name}" for name in classes])
    for schema, constant in (
        (score_schema(classes), SCORE_SCHEMA),
        (result_schema(classes), RESULT_SCHEMA),
    ):
        assert schema.names == [*constant.names[:2], *scores, *constant.names[3:]]
        assert len({name.casefold() for name in schema.names}) == len(schema.names)
        assert {schema.field(name).type for name in scores} == {pa.float32()}
        assert (schema == constant) == (len(classes) == 2)


def test_dictionary_columns_exist() -> None:
    """Columns that are stored as dictionaries are columns of texts."""
    assert all(COLUMNS[name] == pa.string() for name in DICTIONARY_COLUMNS)


def test_failures() -> None:
    """Each category is one short word and comes with advice in whole sentences."""
    letters = set(string.ascii_lowercase + "_")
    for category, advice in FAILURES.items():
        assert set(category) <= letters
        assert advice.endswith(".")
        assert "\n" not in advice
    assert set(FAILURES) > TRANSIENT


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True))
@example(["\U0001f9b4", "\uffe5"])  # the other way round as UTF-16
def test_rows_are_sorted_by_bytes_of_the_path(paths: list[str]) -> None:
    """A table's rows come in the order in which Parquet and Arrow sort texts."""
    table = score_table(ScoreRow(path, "failed") for path in paths)
    assert table.schema == SCORE_SCHEMA
    assert table["path"].to_pylist() == sorted(paths, key=str.encode)
    assert table.equals(table.sort_by("path"))


def test_values_of_a_row() -> None:
    """A row's values arrive in their columns; time is in microseconds of UTC."""
    row = ScoreRow(
        path="a.jpg",
        status="scored",
        score=0.25,
        flags=("blank",),
        width=3,
        height=2,
        format="png",
        bytes=1 << 40,
        modified=-1,
        sha256="ab",
        phash="00000000000000ff",
        ood_score=1.5,
        attributes=Attributes(view="PA"),
    )
    (values,) = score_table([row]).to_pylist()
    assert values.pop("modified").isoformat() == "1969-12-31T23:59:59.999999+00:00"
    assert list(values.values()) == [
        "a.jpg", "scored", 0.25, None, None, None, ["blank"], 3, 2, "png", 1 << 40, "ab",
        "00000000000000ff", 1.5, None, "PA", None, None, None, None, None, None,
    ]  # fmt: skip
    assert score_table([]).num_rows == 0
