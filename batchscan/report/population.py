"""Whom the images show, and what their labels rest on (STARD 2015, items 20 and 10a)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.report.document import Block, Column, Section, Table, Text, Value
from batchscan.report.figures.clusters import count_of
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, column, has_label, has_score, is_text
from batchscan.results.file import opened_result

_QUARTERS = (
    (0.0, "youngest"),
    (0.25, "age 25%"),
    (0.5, "age 50%"),
    (0.75, "age 75%"),
    (1.0, "oldest"),
)
_OLDEST = 150  # Years; what is beyond, or below 0, is no age.
_UNKNOWN = -1
_MOST_SEXES = 6
"""A column of more distinct texts tells something else."""
_SEXES = {"F": "female", "M": "male", "O": "other"}


def population_section(rows: Rows) -> Section:
    """Return numbers of patients, age and sex by label, and where the labels come from.

    Raises `UsageError` where the result can't be read again.
    """
    blocks: list[Block] = [_reference_standard(rows), _patients(rows), *_people(rows)]
    return Section("population", "Population and reference standard", tuple(blocks))


def _reference_standard(rows: Rows) -> Text:
    """Say where labels come from; who made them, and from what, no result knows."""
    if not has_label(rows).any():
        return Text("reference_standard", "Reference standard: no image has a label.", "note")
    options = rows.footer.get("options")
    options = options if isinstance(options, dict) else {}
    classes = " and ".join(rows.classes)
    if rows.labels is not None or options.get("labels"):
        own = rows.labels is not None and options.get("hide_paths") is not True
        named = f" {rows.labels.name}" if own and rows.labels is not None else ""
        source = f"the column label of the label file{named}" + (
            "" if rows.labels is not None else ", as the scan read it"
        )
    else:
        source = f"names of folders ({classes})"
    text = (
        f"Reference standard: {source}. Who decided what an image shows, from which information, "
        "and whether the scores were known to them, is for the authors of the audit to state."
    )
    return Text("reference_standard", text, "note")


def _patients(rows: Rows) -> Table | Text:
    """Count patients at each step, where they are known."""
    patient = column(rows, "patient")
    if patient.null_count == len(patient):
        text = (
            "Numbers of patients are not known: no row has a patient key, which --id-key makes of "
            "DICOM files' PatientID."
        )
        return Text("no_patients", text, "note")
    known = patient.is_valid().to_numpy(zero_copy_only=False)
    number = patient.fill_null(0).to_numpy()
    scored, labelled = has_score(rows), has_label(rows)
    steps: list[tuple[str, Mask]] = [
        ("found", np.ones(known.size, dtype=bool)),
        ("scored", scored),
        ("scored and labelled", scored & labelled),
    ]
    steps += [
        (f"scored, labelled {name}", scored & is_text(rows, "label", name)) for name in rows.classes
    ]
    lines: list[tuple[Value, ...]] = [
        (
            name,
            count_of(number[where & known]),
            int((where & known).sum()),
            int((where & ~known).sum()),
        )
        for name, where in steps
    ]
    columns = (
        Column("step", "Images"),
        Column("patients", "Patients", "count"),
        Column("images", "Images of these", "count"),
        Column("unknown", "Images of unknown patients", "count"),
    )
    note = "A patient with images of several labels is counted with each."
    return Table("patients", "Patients", columns, tuple(lines), note)


def _people(rows: Rows) -> list[Block]:
    """Tabulate age and sex of the images that have a score, by label."""
    sex, age = _sex_and_age(rows)
    if sex is None and age is None:
        text = "Age and sex are not known: the result has no values of sex or age_years."
        return [Text("no_people", text, "note")]
    scored, labelled = has_score(rows), has_label(rows)
    groups: list[tuple[str, Mask]] = [
        (f"labelled {name}", scored & is_text(rows, "label", name)) for name in rows.classes
    ]
    groups += [("no label", scored & ~labelled), ("all scored", scored)]
    columns = [Column("group", "Group"), Column("n", "Images", "count")]
    codes = sorted(set(sex.unique().drop_null().to_pylist())) if sex is not None else []
    columns += [Column(f"sex_{code}", _SEXES.get(code, code), "count") for code in codes]
    columns += [Column("sex_unknown", "sex unknown", "count")] if sex is not None else []
    if age is not None:
        columns += [Column(f"age_{share:g}", title, "count") for share, title in _QUARTERS]
        columns += [Column("age_unknown", "age unknown", "count")]
    lines = tuple(
        (name, int(where.sum()), *_sexes(sex, codes, where), *_ages(age, where))
        for name, where in groups
        if where.any()
    )
    note = (
        "In full years. These are images: a person counts as often as there are images. A scan "
        "writes 90 for all ages from 90 on."
    )
    return [Table("people", "Age and sex of the scored images", tuple(columns), lines, note)]


def _sexes(sex: pa.ChunkedArray | None, codes: Sequence[str], where: Mask) -> list[Value]:
    if sex is None:
        return []
    here = sex.filter(pa.array(where))
    counts = {each["values"]: each["counts"] for each in pc.value_counts(here).to_pylist()}
    return [*(counts.get(code, 0) for code in codes), here.null_count]


def _ages(age: NDArray[np.int16] | None, where: Mask) -> list[Value]:
    if age is None:
        return []
    here = age[where]
    known = here[here != _UNKNOWN]
    if not known.size:
        return [*(None for _ in _QUARTERS), here.size]
    quantiles = np.quantile(known, [share for share, _ in _QUARTERS], method="lower")
    return [*(int(each) for each in quantiles), here.size - known.size]


def _sex_and_age(rows: Rows) -> tuple[pa.ChunkedArray | None, NDArray[np.int16] | None]:
    """Read both columns of the result; None for one that has no value, or none of such.

    Where the result's own say nothing, those of the label file are taken, else those of a label
    file that the scan kept.
    """
    names = ("sex", "age_years")
    with opened_result(rows.result) as file:
        kinds = set(file.schema_arrow.names)
        read = file.read([each for name in names for each in _homes(name) if each in kinds])
    sources = (read.select(kinds.intersection(names)), rows.table, read)
    sexes, ages = (
        [source[each] for source in sources for each in _homes(name) if each in source.column_names]
        for name in names
    )
    texts = [values.cast(pa.string()) for values in sexes if _has_text(values)]
    numbers = [_numbers(values) for values in ages]
    years = [_years(values) for values in numbers if values is not None]
    return texts[0] if texts else None, years[0] if years else None


def _homes(name: str) -> tuple[str, str]:
    return name, f"label_{name}"


def _has_text(values: pa.ChunkedArray) -> bool:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(text) and 0 < len(values.cast(pa.string()).unique().drop_null()) <= _MOST_SEXES


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return values as float32; None where there is none, or where they are no numbers."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    elif not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    try:
        return values.cast(pa.float32()) if values.null_count < len(values) else None
    except pa.ArrowInvalid:  # Of a label file: text.
        return None


def _years(values: pa.ChunkedArray) -> NDArray[np.int16]:
    """Return ages in full years (n,), `_UNKNOWN` where there is none."""
    years = values.to_numpy()
    known = (years >= 0) & (years <= _OLDEST)
    return np.where(known, years, np.float32(_UNKNOWN)).astype(np.int16)
