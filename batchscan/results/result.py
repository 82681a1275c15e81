"""Parquet on disk: parts that finished shards leave behind, and their merge into one result.

Every table in here is sorted by `path`. A part is complete under its final name, or not there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchscan.errors import UsageError
from batchscan.results.disk import replace_durably
from batchscan.results.parts import Source as Source
from batchscan.results.parts import part_name as part_name
from batchscan.results.parts import part_sources as part_sources
from batchscan.results.parts import write_part as write_part
from batchscan.schema import (
    DICTIONARY_COLUMNS,
    LATER_COLUMNS,
    SCORE_SCHEMA,
    SCORED,
    TWO_CLASSES,
    result_schema,
    with_later_columns,
)
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import upload
from batchscan.storage.place import is_there, readable

FOOTER_KEY = b"batchscan"
_GENERATION = "generation"
_BATCH_ROWS = 1 << 16


@dataclass
class Counts:
    """What a result holds; it grows while the result is written.

    `predicted` counts the images by predicted class; `positive` those of the positive class, where
    there are two.
    """

    found: int = 0
    scored: int = 0
    labelled: int = 0
    positive: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)

    def add(self, table: pa.Table, positive_class: str | None) -> None:
        """Count the rows of a table in a result's schema; with more classes, none is positive."""
        self.found += table.num_rows
        self.scored += pc.sum(pc.equal(table["status"], SCORED)).as_py() or 0
        self.labelled += table.num_rows - table["label"].null_count
        for name, total in (
            ("failure", self.failed),
            ("skip", self.skipped),
            ("prediction", self.predicted),
        ):
            _count(table[name], total)
        _count(pc.list_flatten(table["flags"]), self.flagged)
        if positive_class is not None:
            self.positive = self.predicted[positive_class]

    def as_json(self, classes: Sequence[str] = TWO_CLASSES) -> dict[str, Any]:
        """Return the counts for the record in the result."""
        predicted = {name: self.predicted[name] for name in classes}
        return {
            "found": self.found,
            "scored": self.scored,
            "skipped": dict(sorted(self.skipped.items())),
            "failed": dict(sorted(self.failed.items())),
            "flagged": dict(sorted(self.flagged.items())),
            "labelled": self.labelled,
        } | ({"positive": self.positive} if len(classes) == 2 else {"predicted": predicted})


def _count(values: pa.ChunkedArray, total: Counter[str]) -> None:
    for entry in pc.value_counts(values.drop_null()).to_pylist():
        total[entry["values"]] += entry["counts"]


def result_sources(file: Location, schema: pa.Schema = SCORE_SCHEMA) -> list[Source]:
    """Take the row groups of an earlier result as sources, older than any part.

    `schema` is that of the parts it was made of (`batchscan.schema.score_schema`).
    """
    parquet = pq.ParquetFile(readable(file), pre_buffer=isinstance(file, Uri))
    sources = []
    for group in range(parquet.num_row_groups):
        first = parquet.read_row_group(group, columns=["path"])["path"][0].as_py()
        sources.append(Source(first, 0, partial(_load_group, parquet, group, schema)))
    return sources


def _load_group(parquet: pq.ParquetFile, group: int, schema: pa.Schema) -> pa.Table:
    table = parquet.read_row_group(group, columns=schema.names)
    return with_later_columns(table).select(schema.names)


def read_footer(file: Location) -> dict[str, Any]:
    """Read the record that a result carries; `UsageError` if the file is no batchscan result.

    One of an earlier version is a result, too: it may lack `LATER_COLUMNS`.
    """
    expected = f"{file}: expected a result of batchscan"
    if not (is_there(file) if isinstance(file, Uri) else file.is_file()):
        raise UsageError(f"{expected}, found no file of that name; check the path")
    try:
        schema = pq.read_schema(readable(file))
    except (pa.ArrowException, OSError) as error:
        if isinstance(file, Uri) and getattr(error, "errno", None):
            raise  # The store fails; the result may be sound.
        raise UsageError(
            f"{expected}, found no readable Parquet file; remove it or choose another name"
        ) from error
    try:
        footer = json.loads((schema.metadata or {})[FOOTER_KEY])
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"{expected}, found a Parquet file of something else; choose another name"
        ) from error
    if not isinstance(footer, dict):
        raise UsageError(f"{expected}, found a file whose record is damaged; choose another name")
    wanted = (n for n in result_schema(classes_of(footer)).names if n not in LATER_COLUMNS)
    missing = [name for name in wanted if name not in schema.names]
    if missing:
        raise UsageError(f"{expected}, found a file without the column(s) {', '.join(missing)}")
    return footer


def classes_of(footer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the class names that a result's record holds; any two where it says nothing of use."""
    model = footer.get("model")
    classes = model.get("classes") if isinstance(model, dict) else None
    if isinstance(classes, list) and len(classes) >= 2:
        return tuple(map(str, classes))
    return TWO_CLASSES


def sweep(sources: Iterable[Source], schema: pa.Schema = SCORE_SCHEMA) -> Iterator[pa.Table]:
    """Merge sources into one sorted sequence of tables, each path once, the newest row of it.

    Holds only sources whose paths overlap, plus a batch of rows. `schema` is that of the sources
    and of the tables (`batchscan.schema.score_schema`).
    """
    waiting: list[pa.Table] = []
    rows = 0
    ordered = sorted(sources, key=lambda source: source.first.encode())
    for source, following in pairwise([*ordered, None]):
        assert source is not None
        waiting.append(_with_generation(source, schema))
        rows += waiting[-1].num_rows
        if following is None:
            yield _newest(waiting)
        elif rows >= _BATCH_ROWS:
            table = _newest(waiting, drop=False)
            ready = pc.sum(pc.less(table["path"], following.first)).as_py() or 0
            waiting, rows = [table.slice(ready)], table.num_rows - ready
            if ready:
                yield _newest([table.slice(0, ready)])


def _with_generation(source: Source, schema: pa.Schema) -> pa.Table:
    table = with_later_columns(source.load()).select(schema.names).cast(schema)
    generations = pa.array(np.full(table.num_rows, source.generation, dtype=np.int32))
    return table.append_column(_GENERATION, generations)


def _newest(tables: list[pa.Table], *, drop: bool = True) -> pa.Table:
    """Sort; with `drop`, leave one row of each path, and the generation out."""
    table = pa.concat_tables(tables)
    table = table.sort_by([("path", "ascending"), (_GENERATION, "descending")]).combine_chunks()
    if not drop:
        return table
    if table.num_rows > 1:
        paths = table["path"].chunk(0)
        fresh = pc.not_equal(paths.slice(1), paths.slice(0, len(paths) - 1))
        table = table.filter(pa.concat_arrays([pa.array([True]), fresh]))
    return table.drop_columns([_GENERATION])


def write_result(
    out: Location,
    temporary: Path,
    schema: pa.Schema,
    tables: Iterator[pa.Table],
    footer: Callable[[], Mapping[str, Any]],
) -> None:
    """Write the final file under a temporary name on the same disk, then rename it.

    For an object store `temporary` is a file of this machine, which is uploaded when it is whole.
    `footer` is asked when all tables are written.
    """
    dictionary = [name for name in DICTIONARY_COLUMNS if name in schema.names]
    try:
        # Without a stored Arrow schema, readers take the schema's metadata from Parquet's own,
        # which can be written last: the footer then shows in `pyarrow.parquet.read_schema`, too.
        with pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=dictionary,
            store_schema=False,
        ) as writer:
            for table in tables:
                if table.num_rows:
                    writer.write_table(table)
            writer.add_key_value_metadata({FOOTER_KEY: json.dumps(footer()).encode()})
        if isinstance(out, Uri):
            upload(temporary, out)
        else:
            replace_durably(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
