"""The worklist: scored images, most suspicious first, as a file for people or their programs.

Ten million rows are sorted as numbers; texts are put in order in slices, as they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchscan.errors import BatchscanError, UsageError
from batchscan.report.input.rows import Rows
from batchscan.report.sheets.picture_choice import is_scored, scores_of
from batchscan.results.disk import replace_durably
from batchscan.results.file import is_result
from batchscan.schema import score_columns
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import upload
from batchscan.storage.place import check_new_file, is_there, readable, remedy

_FROM_RESULT = ("path", "view", "study_year")
_SLICE = 1 << 18
_FORMULA = "^[=+\\-@\\t\\r\\n]"
"""How a text begins that spreadsheets may run as a formula (OWASP, "CSV Injection")."""


def check_worklist_place(out: Location, *taken: Location) -> None:
    """Raise `UsageError` where no worklist can be written, or a file that must stay would go.

    That is any of `taken`, and any result.
    """
    _suffix(out)
    check_new_file(out, f"--worklist {out}", *taken)
    if is_there(out) and is_result(out):
        raise UsageError(
            f"--worklist {out}: this would overwrite a result of batchscan; choose another name"
        )


def write_worklist(rows: Rows, out: Location) -> None:
    """Write path, score(s), prediction, label, flags, view and study_year of all scored images.

    The highest score comes first, of more than two classes the lowest of the first class; images
    with equal scores come in the order of their paths. Columns that the result lacks are left out.

    `out` ends in `.csv` or `.parquet`. In CSV every text is quoted, flags are separated by `;`, and
    a text that a spreadsheet could take for a formula has a `'` in front; Parquet has all as it is.
    The file appears whole, or not at all. Raises `UsageError` for another ending, `BatchscanError`
    where nothing can be written.
    """
    tables = _slices(rows, _order(rows))
    write = _write_csv if _suffix(out) == ".csv" else _write_parquet
    try:
        _write_whole(out, lambda file: write(file, tables))
    except OSError as problem:
        raise BatchscanError(
            f"{out}: the worklist cannot be written ({problem.strerror or problem}); "
            f"{remedy(out)}, then run the same command again"
        ) from problem


def _suffix(out: Location) -> str:
    suffix = Path(out.name).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UsageError(
            f"{out}: expected the name of a worklist to end in .csv or .parquet, found "
            f"{suffix or 'none of them'}; choose such a name"
        )
    return suffix


def _order(rows: Rows) -> NDArray[np.int64]:
    """Return the numbers of the scored rows in the order of the worklist."""
    scores = scores_of(rows)
    numbers = np.flatnonzero(is_scored(rows, scores))
    keys = -scores[numbers, 0] if len(rows.classes) == 2 else scores[numbers, 0]
    # Rows lie in the order of paths, which a stable sort keeps among equals.
    order: NDArray[np.int64] = numbers[np.argsort(keys, kind="stable")]
    return order


def _slices(rows: Rows, order: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Yield the worklist's rows, some at a time; the first table is there even if it is empty."""
    table = _columns(rows)
    for start in range(0, max(1, len(order)), _SLICE):
        yield table.take(pa.array(order[start : start + _SLICE]))


def _columns(rows: Rows) -> pa.Table:
    """Put the columns together, each in one chunk: only so is taking single rows of them fast."""
    parquet = pq.ParquetFile(readable(rows.result))
    found = parquet.read([name for name in _FROM_RESULT if name in parquet.schema_arrow.names])
    if found.num_rows != rows.table.num_rows:
        raise UsageError(f"{rows.result}: the result has changed; run the same command again")
    columns = {"path": found["path"].cast(pa.large_string()).combine_chunks()}
    for name in (*score_columns(rows.classes), "prediction", "label", "flags"):
        columns[name] = _plain(rows.table[name].combine_chunks())
    for name in _FROM_RESULT[1:]:
        if name in found.column_names:
            columns[name] = _plain(found[name].combine_chunks())
    return pa.table(columns)


def _plain(column: pa.Array) -> pa.Array:
    """Return a column that needs little room: texts as a dictionary, all else as it is."""
    return column.dictionary_encode() if pa.types.is_string(column.type) else column


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn dictionaries of text into text."""
    is_dictionary = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if is_dictionary else column


def _write_csv(file: Path, tables: Iterator[pa.Table]) -> None:
    from pyarrow import csv

    writer = None
    for table in tables:
        columns = {name: _harmless(_text(table[name])) for name in table.column_names}
        harmless = pa.table(columns)
        writer = writer or csv.CSVWriter(str(file), harmless.schema)
        writer.write_table(harmless)
    assert writer is not None
    writer.close()


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put a `'` before what may be a formula, and join lists of flags."""
    if pa.types.is_list(column.type):
        column = pc.binary_join(column, ";")
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return column
    mark, nothing = (pa.scalar(text, column.type) for text in ("'", ""))
    guarded = pc.binary_join_element_wise(mark, column, nothing)
    return pc.if_else(pc.match_substring_regex(column, _FORMULA), guarded, column)


def _write_parquet(file: Path, tables: Iterator[pa.Table]) -> None:
    writer = None
    for table in tables:
        plain = pa.table({name: _text(table[name]) for name in table.column_names})
        writer = writer or pq.ParquetWriter(file, plain.schema, compression="zstd")
        writer.write_table(plain)
    assert writer is not None
    writer.close()


def _write_whole(out: Location, write: Callable[[Path], None]) -> None:
    """Let a file be written under another name, then put it in its place."""
    if isinstance(out, Uri):
        with TemporaryDirectory(prefix="batchscan-") as folder:
            write(Path(folder) / "worklist")
            upload(Path(folder) / "worklist", out)
        return
    partial = out.with_name(f".{out.name}.partial")  # One name: a killed run leaves one at most.
    try:
        write(partial)
        replace_durably(partial, out)
    finally:
        partial.unlink(missing_ok=True)
