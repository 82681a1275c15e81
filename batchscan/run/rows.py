"""The rows of a result: those of the parts, with what follows from labels and options added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from batchscan.labels.lookup import LabelLookup, LabelTable, folder_labels
from batchscan.metrics.outcomes import predictions
from batchscan.model.bundle import Bundle
from batchscan.results.result import Counts
from batchscan.schema import result_schema


class ResultRows:
    """Makes rows of a result, and counts them while they pass. `schema` is theirs.

    Labels come from `labels`, or, if that is None, from the names of folders, the archive's own
    (`archive_name`) included. `threshold` is None for more than two classes.
    """

    def __init__(
        self, bundle: Bundle, threshold: float | None, labels: LabelTable | None, archive_name: str
    ) -> None:
        self._bundle = bundle
        self._threshold = threshold
        self._lookup = LabelLookup(labels) if labels is not None else None
        self._archive_name = archive_name
        self.schema = result_schema(bundle.classes)
        for column in labels.extra_fields if labels is not None else ():
            self.schema = self.schema.append(column)
        self.counts = Counts()

    def of_parts(
        self, tables: Iterable[pa.Table], shown: Callable[[str], str | None] | None
    ) -> Iterator[pa.Table]:
        """Yield each table of parts with what follows from options and labels, not from pixels.

        `shown` tells the path behind a hidden one; None where paths are not hidden.
        """
        for table in tables:
            predicted = predictions(table, self._bundle.classes, self._threshold)
            table = table.append_column("prediction", predicted)
            for name, column in self._label_columns(table, shown).items():
                table = table.append_column(name, column)
            table = table.select(self.schema.names).cast(self.schema)
            self.counts.add(table, self._bundle.positive_class)
            yield table

    def unmatched_labels(self) -> tuple[int, tuple[str, ...]]:
        """Return how many paths of the label file had no row, and a few of them."""
        return self._lookup.unmatched() if self._lookup else (0, ())

    def _label_columns(
        self, table: pa.Table, shown: Callable[[str], str | None] | None
    ) -> dict[str, pa.ChunkedArray | pa.Array]:
        paths = table["path"].combine_chunks()
        if self._lookup is None:
            if shown is not None:
                paths = pa.array(map(shown, paths.to_pylist()), pa.string())
            return {"label": folder_labels(paths, self._bundle.classes, self._archive_name)}
        found = self._lookup.find(paths)
        return {name: found[name] for name in found.column_names}
