"""The tables: what a row is, which columns the files have, and every reason why an image fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from batchscan.attributes import ATTRIBUTE_COLUMNS, NO_ATTRIBUTES, Attributes

SCORED = "scored"
SKIPPED = "skipped"
FAILED = "failed"

FAILURES = {
    "truncated": "The file ends before the image does. Copy it again from its source.",
    "corrupt": "The image data is damaged. Copy it again from its source.",
    "not_an_image": "The name says image, the content does not. Remove or rename the file.",
    "empty": "The file has no content. Copy it again from its source.",
    "too_large": "It exceeds a limit. If it is an X-ray, set --max-bytes or --max-pixels higher.",
    "permission_denied": "batchscan may not read the file. Grant access; the next run retries it.",
    "vanished": "The file went away while the scan ran. The next run retries or drops it.",
    "read_error": "The storage failed. Check the disk or mount; the next run retries it.",
    "changed": "The file changed while it was read. The next run retries it.",
    "unsupported": "The encoding is one that cannot be read. Convert the file.",
    "encrypted": "A password protects the content. Unpack it where that is allowed.",
    "unsafe_name": "A container names a file outside of itself. Look at it with care.",
    "container_limit": "A container holds or expands to more than is read. Unpack it first.",
    "not_finite": "The model gave no number for this image. Report it with the image's size.",
    "decoder_crash": "The file kills the worker that opens it. Look at it with care.",
    "timeout": "Decoding takes longer than allowed. Look at it, or set --decode-seconds higher.",
}
"""Every value of the column `failure`, and what a person should do about it."""

SKIPS = {
    "not_chest": "It shows another part of the body. Nothing to do.",
    "other_modality": "It is no plain radiograph (CR or DX). Nothing to do.",
    "lateral": "It is seen from the side; the model knows frontal images. Nothing to do.",
    "multi_frame": "It has several frames. Export the one that should be scored.",
    "multi_page": "It has several pages. Export the one that should be scored.",
    "for_processing": "It holds raw detector values. Score the image made for presentation.",
    "not_image_storage": "It is a DICOM object without pixels. Nothing to do.",
    "dicomdir": "It is the index of a DICOM medium. Nothing to do.",
    "colour": "It is a picture in colour, not a radiograph. Nothing to do.",
}
"""Every value of the column `skip`, and what a person should do about it."""

OUT_OF_DISTRIBUTION = "out_of_distribution"

FLAGS = {
    "lateral": "It is seen from the side, and scored because of --score-all.",
    "not_chest": "It shows another part of the body, and is scored because of --score-all.",
    "other_modality": "It is no plain radiograph, and is scored because of --score-all.",
    "multi_frame": "Its first frame is scored, because of --score-all.",
    "multi_page": "Its first page is scored, because of --score-all.",
    "for_processing": "It holds raw detector values, and is scored because of --score-all.",
    "colour": "It is a picture in colour, and is scored as grey because of --score-all.",
    "blank": "All pixels are alike: there is nothing to see.",
    "low_resolution": "A side has less than half of the pixels that the model sees.",
    "saturated": "Nearly all pixels are black or white.",
    "extreme_aspect": "One side is more than three times the other.",
    OUT_OF_DISTRIBUTION: "The model sees it as less like its training images than 99% of these.",
}
"""Every value in the column `flags`, and what it means."""

TRANSIENT = frozenset({"permission_denied", "vanished", "read_error", "changed"})
"""Failures that the next run tries again although the file looks unchanged."""

LIMITED = frozenset({"too_large", "timeout"})
"""Failures that a run with other limits tries again."""

TWO_CLASSES = ("negative", "positive")
"""Stands for any two classes where their names change nothing: a table then has one `score`."""

SCORE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("failure", pa.string()),
        pa.field("skip", pa.string()),
        pa.field("error", pa.string()),
        pa.field("flags", pa.list_(pa.string())),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
        pa.field("sha256", pa.string()),
        pa.field("phash", pa.string()),
        pa.field("ood_score", pa.float32()),
        pa.field("modality", pa.string()),
        pa.field("view", pa.string()),
        pa.field("sex", pa.string()),
        pa.field("age_years", pa.float32()),
        pa.field("manufacturer", pa.string()),
        pa.field("model_name", pa.string()),
        pa.field("study_year", pa.int16()),
        pa.field("patient_id_hmac", pa.string()),
    ]
)
"""What a worker knows of an image: the columns of a part, for a model with two classes."""

RESULT_SCHEMA = pa.schema(
    [
        *(SCORE_SCHEMA.field(name) for name in ("path", "status", "score")),
        pa.field("prediction", pa.string()),
        pa.field("label", pa.string()),
        *(SCORE_SCHEMA.field(name) for name in SCORE_SCHEMA.names[3:]),
    ]
)
"""The columns of `results.parquet` for a model with two classes; further columns of a label file
follow them."""

LATER_COLUMNS = ("phash", "ood_score")
"""Columns that parts and results of earlier versions of batchscan lack."""

DICTIONARY_COLUMNS = (
    *("status", "prediction", "label", "failure", "skip", "format"),
    *("modality", "view", "sex", "manufacturer", "model_name"),
)
"""Columns of few distinct values, stored as dictionaries."""


def score_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of scores: `score` for two classes, else `score_<class>` for each."""
    return ("score",) if len(classes) == 2 else tuple(f"score_{name}" for name in classes)


def score_schema(classes: Sequence[str]) -> pa.Schema:
    """Return the columns of a part: `SCORE_SCHEMA`, with the score columns of these classes."""
    return _with_scores(SCORE_SCHEMA, classes)


def result_schema(classes: Sequence[str]) -> pa.Schema:
    """Return the columns of a result: `RESULT_SCHEMA`, with the score columns of these classes."""
    return _with_scores(RESULT_SCHEMA, classes)


def with_later_columns(table: pa.Table) -> pa.Table:
    """Add those of `LATER_COLUMNS` that a table of an earlier version lacks; all null."""
    for name in LATER_COLUMNS:
        if name not in table.schema.names:
            field = SCORE_SCHEMA.field(name)
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def _with_scores(schema: pa.Schema, classes: Sequence[str]) -> pa.Schema:
    place = schema.get_field_index("score")
    scores = [schema.field("score").with_name(name) for name in score_columns(classes)]
    return pa.schema([*list(schema)[:place], *scores, *list(schema)[place + 1 :]])


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One image's row of a part. `modified` is in microseconds since 1970, UTC.

    `phash` is the perceptual hash (`batchscan.image.perceptual_hash`) as text, `ood_score` how
    unlike the training images the image is (`batchscan.model.reference`). Every scored row has a
    hash.

    `score` is one number for a model with two classes, else one for each class, in their order.
    """

    path: str
    status: str
    score: float | tuple[float, ...] | None = None
    failure: str | None = None
    skip: str | None = None
    error: str | None = None
    flags: tuple[str, ...] | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    bytes: int | None = None
    modified: int | None = None
    sha256: str | None = None
    phash: str | None = None
    ood_score: float | None = None
    attributes: Attributes = NO_ATTRIBUTES


def score_table(rows: Iterable[ScoreRow], classes: Sequence[str] = TWO_CLASSES) -> pa.Table:
    """Tabulate rows in the schema of a part, in ascending order of `path`."""
    ordered = sorted(rows, key=lambda row: row.path.encode())
    schema, scores = score_schema(classes), score_columns(classes)
    own = [name for name in schema.names if name not in (*scores, *ATTRIBUTE_COLUMNS)]
    columns = {name: [getattr(row, name) for row in ordered] for name in own}
    columns |= {
        name: [getattr(row.attributes, name) for row in ordered] for name in ATTRIBUTE_COLUMNS
    }
    values = [_scores(row, len(scores)) for row in ordered]
    columns |= {name: [row[place] for row in values] for place, name in enumerate(scores)}
    return pa.table(columns, schema=schema)


def _scores(row: ScoreRow, count: int) -> tuple[float | None, ...]:
    """Return a row's value for each of `count` columns of scores."""
    if row.score is None:
        return (None,) * count
    return row.score if isinstance(row.score, tuple) else (row.score,)
