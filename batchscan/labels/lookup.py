"""Labels: what is already known about an image, from its folder's name or from a file.

`batchscan.labels.file` reads the file.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscan.storage.location import Location

_CONTAINER = re.compile(r"\.(?:zip|tar|tar\.gz|tgz|tar\.zst|tzst)!$")


@dataclass(frozen=True)
class LabelTable:
    """The content of a label file, sorted by path, each path once.

    `table` has the columns `path` and `label` (a class name or null) and the file's further ones,
    renamed to `label_<name>` where the result has a column of that name.
    """

    table: pa.Table
    source: Location

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def extra_fields(self) -> list[pa.Field]:
        """The fields of the further columns: what `lookup` yields behind `label`."""
        return [_plain(field) for field in self.table.schema][2:]

    def lookup(self, paths: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Return `label` and the further columns for `paths`, which ascend; null where unknown.

        Only the stretch of the file that the paths span is looked at, so that a sorted result
        can be looked up chunk by chunk.
        """
        return self._taken(self._positions(paths))

    def with_paths(self, change: Callable[[str], str]) -> LabelTable:
        """Return the same labels under other paths, which must differ from each other, too."""
        paths = pa.array(map(change, self.table["path"].to_pylist()), pa.large_string())
        table = self.table.set_column(0, "path", paths)
        return LabelTable(table.take(pc.sort_indices(paths)).combine_chunks(), self.source)

    def _positions(self, paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Return the row that each path has in the table: int64, null where it has none."""
        if len(paths) == 0:
            return pa.array([], pa.int64())
        # One chunk: `_sorted` sees to it.
        known = self.table.column("path").chunk(0) if len(self) else pa.array([], pa.large_string())
        rows = range(len(self))
        first, last = (paths[end].as_py().encode() for end in (0, -1))
        start = bisect_left(rows, first, key=lambda row: known[row].as_py().encode())
        stop = bisect_right(rows, last, key=lambda row: known[row].as_py().encode())
        found = pc.index_in(
            paths.cast(pa.large_string()), value_set=known.slice(start, stop - start)
        )
        return pc.add(found.cast(pa.int64()), start)

    def _taken(self, positions: pa.Array | pa.ChunkedArray) -> pa.Table:
        columns = self.table.drop_columns(["path"]).take(positions)
        return columns.cast(pa.schema([_plain(field) for field in columns.schema]))


class LabelLookup:
    """Looks consecutive chunks of paths up, and remembers which labels were found."""

    def __init__(self, labels: LabelTable) -> None:
        self._labels = labels
        self._found = np.zeros(len(labels), dtype=bool)

    @property
    def extra_fields(self) -> list[pa.Field]:
        """The fields of the further columns: what `find` yields behind `label`."""
        return self._labels.extra_fields

    def find(self, paths: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Do what `LabelTable.lookup` does."""
        positions = self._labels._positions(paths)
        self._found[positions.drop_null().to_numpy()] = True
        return self._labels._taken(positions)

    def unmatched(self, examples: int = 3) -> tuple[int, tuple[str, ...]]:
        """Return how many paths of the file were not found so far, and the first few of them."""
        missing = np.flatnonzero(~self._found)
        paths = self._labels.table.column("path").take(pa.array(missing[:examples], pa.int64()))
        return missing.size, tuple(paths.to_pylist())


def _plain(field: pa.Field) -> pa.Field:
    """Turn the type for texts of any total size, needed inside, into the usual one."""
    return field.with_type(pa.string()) if field.type == pa.large_string() else field


def label_of_folder(path: str, classes: Sequence[str], root_name: str | None = None) -> str | None:
    """Return the class whose name, in any case, is that of the nearest parent folder of `path`.

    A container counts as a folder: `NORMAL.zip!` is one for `NORMAL`. `root_name` is the archive's
    own name (`batchscan.archive.root.archive_name`), the outermost parent. None where no parent
    fits.
    """
    parents = path.split("/")[:-1]
    return _nearest_class([root_name or "", *parents], names_by_spelling(classes))


def folder_labels(
    paths: pa.Array | pa.ChunkedArray, classes: Sequence[str], root_name: str | None = None
) -> pa.Array:
    """Return `label_of_folder` of each path, as an array of strings; null where there is none.

    A path may be null: nobody knows its folder.
    """
    if isinstance(paths, pa.ChunkedArray):
        parts = [folder_labels(chunk, classes, root_name) for chunk in paths.chunks]
        return pa.concat_arrays([pa.array([], pa.string()), *parts])
    names = names_by_spelling(classes)
    folders = folders_of(paths).dictionary_encode()
    labels = [
        _nearest_class([root_name or "", *folder.split("/")], names)
        for folder in folders.dictionary.to_pylist()
    ]
    return pa.array(labels, pa.string()).take(folders.indices)


def folders_of(paths: pa.Array) -> pa.Array:
    """Return the folder of each path, without the last `/`; "" where there is none."""
    parts = pc.split_pattern(paths, "/", max_splits=1, reverse=True)
    firsts = pc.list_element(parts, 0)
    return pc.if_else(pc.equal(pc.list_value_length(parts), 2), firsts, "")


def names_by_spelling(classes: Sequence[str]) -> dict[str, str]:
    """Map each class name, casefolded, to itself: labels are spelled in any case."""
    return {name.casefold(): name for name in classes}


def _nearest_class(folders: Sequence[str], names: dict[str, str]) -> str | None:
    for folder in reversed(folders):
        own = names.get(folder.casefold())
        if label := own or names.get(_CONTAINER.sub("", folder.casefold())):
            return label
    return None
