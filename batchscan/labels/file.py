r"""Label files: what is already known about the images of an archive.

A label file is CSV or Parquet, told apart by content:

- Columns `path` and `label` are required, in any case. Paths are those of the column `path` of the
  result: relative to the archive, `/` between parts. Absolute paths below the archive, a leading
  `./` and doubled slashes fit too. If no path in the file has a `/`, a `\` separates parts.
- A label is a class name in any case; blanks around it don't matter; empty means unknown.
- CSV is UTF-8 with or without a byte order mark, separated by commas, semicolons or tabs.
- Further columns are kept. In CSV a column becomes integers, decimal numbers, true/false or dates
  if *all* its values are such (empty, `NA` and `NaN` set aside), otherwise text: numbers with
  leading zeros are identifiers, and stay text. Columns without a name are left out.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from batchscan.errors import LabelError
from batchscan.labels.lookup import LabelTable, names_by_spelling
from batchscan.schema import result_schema
from batchscan.storage.location import Location, Uri, location
from batchscan.storage.objects import open_object
from batchscan.storage.place import opened, readable

_MISSING = pa.array(["", "NA", "N/A", "NaN", "nan", "NULL", "null"], pa.large_string())


def read_labels(
    file: Location,
    classes: Sequence[str],
    *,
    archive_root: Location | None = None,
    quote: bool = True,
) -> LabelTable:
    """Read a label file; the module's docstring says what fits.

    Paths below `archive_root` may be absolute. Raises `LabelError` if the file cannot be read,
    lacks a column or a path, holds an unknown label, or says two things about one path; without
    `quote`, the message holds nothing of the file's rows.
    """
    file = location(file)
    try:
        with opened(file) as stream:
            is_parquet = stream.read(4) == b"PAR1"
        table = _read_parquet(file) if is_parquet else _read_csv(file)
    except (OSError, pa.ArrowException) as problem:
        reason = getattr(problem, "strerror", None) or (
            str(problem).splitlines()[0][:200] if quote else "its rows do not fit together"
        )
        cause = problem if quote else None
        raise LabelError(f"{file}: the label file cannot be read: {reason}") from cause
    # Each step replaces the table of the step before: with millions of paths, two are a lot.
    table = _named(file, table, result_schema(classes).names)
    _check_paths(file, table.column("path"))
    table = table.set_column(0, "path", _normalised(table.column("path"), archive_root))
    table = table.set_column(1, "label", _canonical(file, table.column("label"), classes, quote))
    table = _sorted(table)
    return LabelTable(_unique(file, table, quote), file)


def _read_parquet(file: Location) -> pa.Table:
    with pq.ParquetFile(readable(file)) as parquet:
        table = parquet.read()
    # Row numbers that pandas stores along with a filtered table.
    index = [name for name in table.column_names if name.startswith("__index_level_")]
    return table.drop_columns(index).replace_schema_metadata(None)


def _read_csv(file: Location) -> pa.Table:
    """Read all columns as text, then give the further ones their types."""
    names, delimiter = _csv_header(file)
    numbered = [str(number) for number in range(len(names))]
    with open_object(file) if isinstance(file, Uri) else pa.OSFile(str(file)) as stream:
        table = pa_csv.read_csv(
            stream,
            read_options=pa_csv.ReadOptions(column_names=numbered, skip_rows=1),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(numbered, pa.large_string())
            ),
        )
    for number, name in enumerate(names):
        if name.casefold() not in ("path", "label"):
            table = table.set_column(number, str(number), _typed(table.column(number)))
    return table.rename_columns(names)


def _csv_header(file: Location) -> tuple[list[str], str]:
    """Return the column names of a CSV file, and what separates them."""
    with opened(file) as stream:
        line = stream.read(1 << 16).partition(b"\n")[0].partition(b"\r")[0]
    if not line.strip():
        raise LabelError(f"{file}: expected a header line with path and label, found nothing")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise LabelError(
            f"{file}: expected CSV in UTF-8 or Parquet, found a file that begins with "
            f"{line[:4].hex(' ')}; save it as CSV (UTF-8)"
        )
    choices = {
        sign: [name.strip() for name in next(csv.reader([text], delimiter=sign))] for sign in ",;\t"
    }
    delimiter = max(choices, key=lambda sign: len(choices[sign]))
    for sign, names in choices.items():
        if {"path", "label"} <= {name.casefold() for name in names}:
            delimiter = sign
    return choices[delimiter], delimiter


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a text column of a CSV file the narrowest type that loses nothing."""
    values = column.unique()
    values = values.filter(pc.invert(pc.is_in(values, _MISSING)))
    for pattern, kind in (
        (r"^(-?[1-9][0-9]*|0)$", pa.int64()),
        (r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$", pa.float64()),
        (r"(?i)^(true|false)$", pa.bool_()),
        (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", pa.date32()),
    ):
        if len(values) == 0 or not pc.all(pc.match_substring_regex(values, pattern)).as_py():
            continue
        known = pc.if_else(pc.is_in(column, _MISSING), None, column)
        try:
            return known.cast(kind)
        except pa.ArrowInvalid:
            break  # Digits beyond 64 bits, or no day of the calendar: kept as they stand.
    return pc.if_else(pc.equal(column, ""), None, column)


def _named(file: Location, table: pa.Table, result_columns: Sequence[str]) -> pa.Table:
    """Bring `path` and `label` to the front, and rename the others where the result has theirs."""
    positions = {key: _position(file, table.column_names, key) for key in ("path", "label")}
    taken = {name.casefold() for name in result_columns}
    columns = {key: table.column(position) for key, position in positions.items()}
    for position, name in enumerate(table.column_names):
        if position in positions.values() or not name.strip():
            continue
        name = f"label_{name}" if name.casefold() in taken else name
        if name in columns:
            raise LabelError(f"{file}: the column {name} is there twice; rename one of them")
        columns[name] = table.column(position)
    for key in positions:
        columns[key] = _text(file, key, columns[key])
    return pa.table(columns)


def _position(file: Location, names: list[str], key: str) -> int:
    found = [number for number, name in enumerate(names) if name.strip().casefold() == key]
    if len(found) != 1:
        shown = ", ".join(names)
        raise LabelError(
            f"{file}: expected one column named {key}, found {len(found) or 'none'} among: "
            f"{shown if len(shown) <= 200 else shown[:197] + '...'}; rename the columns"
        )
    return found[0]


def _text(file: Location, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise LabelError(
            f"{file}: expected text in the column {name}, found {column.type}"
        ) from None


def _check_paths(file: Location, paths: pa.ChunkedArray) -> None:
    missing = pc.index(pc.equal(pc.fill_null(paths, ""), ""), True).as_py()
    if missing >= 0:
        raise LabelError(
            f"{file}: data row {missing + 1}: expected a path, found nothing; "
            "complete the row or remove it"
        )


def _normalised(paths: pa.ChunkedArray, archive_root: Location | None) -> pa.ChunkedArray:
    """Bring paths into the form of the result's column `path`."""
    # On Linux a backslash is a sign like any other; it separates only where nothing else does.
    if not _any(paths, "/"):
        paths = pc.replace_substring(paths, "\\", "/")
    if _any(paths, "//"):
        paths = pc.replace_substring_regex(paths, "/+", "/")
    for root in _roots(archive_root):
        inside = pc.starts_with(paths, root)
        if pc.any(inside).as_py():
            paths = pc.if_else(inside, pc.utf8_slice_codeunits(paths, len(root)), paths)
    return pc.replace_substring_regex(paths, r"^(\./)+", "") if _any(paths, "./") else paths


def _any(paths: pa.ChunkedArray, part: str) -> bool:
    return bool(pc.any(pc.match_substring(paths, part)).as_py())


def _roots(archive_root: Location | None) -> list[str]:
    if archive_root is None:
        return []
    if isinstance(archive_root, Uri):
        return [archive_root.plain.replace("//", "/") + "/"]  # As the paths are by now.
    forms = {str(archive_root.absolute()), str(archive_root.resolve())}
    return [form.rstrip("/") + "/" for form in forms]


def _canonical(
    file: Location, labels: pa.ChunkedArray, classes: Sequence[str], quote: bool
) -> pa.ChunkedArray:
    """Map labels to class names; each distinct spelling is looked at once."""
    names = names_by_spelling(classes)
    spellings = labels.unique().drop_null()
    texts = [text.strip() for text in spellings.to_pylist()]
    unknown = [not (text == "" or text.casefold() in names) for text in texts]
    if any(unknown):
        row = pc.index(pc.is_in(labels, spellings.filter(pa.array(unknown))), True).as_py()
        found = repr(labels[row].as_py()[:60]) if quote else "another text"
        raise LabelError(
            f"{file}: data row {row + 1}: expected the label {' or '.join(classes)} (in any case, "
            f"empty if unknown), found {found}; correct the label"
        )
    known = pa.array([names.get(text.casefold()) for text in texts], pa.string())
    return known.take(pc.index_in(labels, spellings))


def _sorted(table: pa.Table) -> pa.Table:
    """Sort by path, as UTF-8 bytes, into one chunk for each column."""
    path = table.column("path")
    ascends = len(path) < 2 or pc.all(pc.less_equal(path[:-1], path[1:])).as_py()
    if not ascends:
        table = table.take(pc.sort_indices(path))
    return table.combine_chunks()


def _unique(file: Location, table: pa.Table, quote: bool) -> pa.Table:
    """Keep one of several rows that say the same about one path; refuse contradictions."""
    if len(table) < 2:
        return table
    path = table.column("path")
    repeats = pc.equal(path[1:], path[:-1])
    if not pc.any(repeats).as_py():
        return table
    latter, former = (rows.filter(repeats) for rows in (table[1:], table[:-1]))
    for name in table.column_names[1:]:
        differs = _differs(latter.column(name), former.column(name))
        row = pc.index(differs, True).as_py()
        if row >= 0:
            path, *values = (
                [latter.column("path")[row].as_py()]
                + [repr(side.column(name)[row].as_py()) for side in (former, latter)]
                if quote
                else ["a path that is hidden", "one", "another"]
            )
            raise LabelError(
                f"{file}: {path}: expected one {name} for each path, found "
                f"{' and '.join(values)}; remove the rows that are wrong"
            )
    first = pa.chunked_array([[True]], pa.bool_())
    keep = pa.chunked_array([*first.chunks, *pc.invert(repeats).chunks])
    return table.filter(keep).combine_chunks()


def _differs(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    unknown = pc.equal(pc.is_null(left, nan_is_null=True), pc.is_null(right, nan_is_null=True))
    return pc.fill_null(pc.not_equal(left, right), pc.invert(unknown))
