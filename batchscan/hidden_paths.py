"""Results without names: `path` is a keyed HMAC. It is made at the end of a run, and recognised at
the start of the next one.

Within a run, rows have their real paths: labels and order need them. Both steps hold the rows of
the whole result in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from batchscan.display import display_path
from batchscan.pseudonym import path_hmac

_SLICE = 1 << 16


def hide_paths(
    tables: Iterable[pa.Table], key: bytes, hidden: Iterable[pa.Table] = ()
) -> Iterator[pa.Table]:
    """Replace `path` in `tables`, and yield all rows anew, in ascending order of `path`.

    `hidden` are further tables, whose paths are replaced already.
    """
    found = [_with_paths(table, _hashed(table["path"].to_pylist(), key)) for table in tables]
    found += hidden
    if not found:
        return
    rows = pa.concat_tables(found).sort_by("path")
    for start in range(0, rows.num_rows, _SLICE):
        yield rows.slice(start, _SLICE)


def recognise(rows: pa.Table, names: Iterable[str], key: bytes) -> tuple[pa.Table, pa.Table]:
    """Part the rows of a result with hidden paths: those of the named files, and all others.

    The former get their real paths, and ascend by them, as `names` do; the latter stay as they are.
    """
    paths = [display_path(name) for name in names]
    places = pc.index_in(pa.array(_hashed(paths, key), pa.string()), value_set=rows["path"])
    found = pc.is_valid(places)
    known = rows.take(places.filter(found))
    real = pa.array(paths, pa.string()).filter(found)
    rest = pc.invert(pc.is_in(rows["path"], value_set=known["path"].combine_chunks()))
    return _with_paths(known, real), rows.filter(rest)


def _hashed(paths: Iterable[str], key: bytes) -> list[str]:
    return [path_hmac(key, path) for path in paths]


def _with_paths(table: pa.Table, paths: list[str] | pa.Array) -> pa.Table:
    place = table.schema.get_field_index("path")
    return table.set_column(place, table.schema.field("path"), pa.array(paths, pa.string()))
