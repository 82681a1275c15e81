"""Collects the columns of `Rows` from the batches of a result, and checks what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from batchscan.errors import LabelError, UsageError
from batchscan.labels.lookup import LabelLookup, LabelTable, folders_of
from batchscan.report.input.columns import (
    digest_numbers,
    group_names,
    hashes,
    joined,
    months,
    ordinals,
    texts,
    usable_scores,
)
from batchscan.report.input.dividing import Division, check_groups
from batchscan.results.columns import check_predictions
from batchscan.results.file import no_result
from batchscan.schema import FAILED, SCORED, SKIPPED, score_columns
from batchscan.storage.location import Location
from batchscan.terminal.text import one_line

_TEXTS = ("status", "failure", "skip", "prediction", "label")
_NEEDED = ("path", *_TEXTS, "flags", "modified", "sha256", "patient_id_hmac", "phash", "ood_score")


class RowReader:
    """Takes the batches of a result in their order; `wanted` names the columns that they need."""

    def __init__(
        self,
        results: Location,
        classes: Sequence[str],
        threshold: float | None,
        names: Sequence[str],
        division: Division,
        labels: LabelTable | None,
    ) -> None:
        self._results = results
        self._classes = tuple(classes)
        self._threshold = threshold
        self._scores = score_columns(classes)
        self._division = division
        if labels is not None:
            kept = labels.table.select(["path", "label", *division.of_labels])
            labels = LabelTable(kept, labels.source)
        self._labels = labels
        self._lookup = None if labels is None else LabelLookup(labels)
        needed = {*_NEEDED, *self._scores, *division.of_result}
        self.wanted = [name for name in names if name in needed]
        self._chunks: dict[str, list[pa.Array]] = {}
        self._last: pa.Array | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch. Raises `UsageError` where it holds what no result does."""
        try:
            self._check_order(batch.column("path"))
            columns = self._columns(batch)
        except ValueError as problem:
            raise no_result(self._results, f"something else: {problem}") from problem
        compared = pa.table({name: columns[name] for name in ("prediction", *self._scores)})
        check_predictions(self._results, compared, self._classes, self._threshold)
        for name, column in columns.items():
            self._chunks.setdefault(name, []).append(column)

    def table(self) -> pa.Table:
        """Return the table of `Rows`; what was collected is given away with it.

        Raises `UsageError` for a status or class that no result has, or too many groups.
        """
        self._labels = self._lookup = None  # Memory: the paths of a label file.
        columns = {name: joined(self._chunks.pop(name)) for name in list(self._chunks)}
        columns["patient"] = ordinals(columns["patient"])
        self._check_values("status", columns["status"], (SCORED, SKIPPED, FAILED))
        for name in ("label", "prediction"):
            self._check_values(name, columns[name], self._classes)
        if columns["status"].null_count:
            raise no_result(self._results, "a row without a status")
        for name in self._division.by:
            check_groups(name, self._results, columns[name])
        return pa.table(columns)

    def unmatched(self) -> tuple[int, tuple[str, ...]]:
        """Return how many paths of the label file have no row, and a few of them.

        Raises `LabelError` where not one has.
        """
        if self._lookup is None or self._labels is None:
            return 0, ()
        count, examples = self._lookup.unmatched()
        if count and count == len(self._labels):
            raise LabelError(
                f"{self._labels.source}: expected paths as in {self._results.name}, found none of "
                f"them there: the first is {examples[0]!r}; write paths relative to the archive"
            )
        return count, examples

    def _columns(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        columns = {name: _converted(batch, name, texts, pa.string()) for name in _TEXTS}
        columns |= self._looked_up(batch.column("path"))
        columns |= {
            name: group_names(name, batch.column(name)) for name in self._division.of_result
        }
        is_scored = pc.fill_null(pc.equal(batch.column("status").cast(pa.string()), SCORED), False)
        scores = [batch.column(name) for name in self._scores]
        columns |= dict(zip(self._scores, usable_scores(scores, is_scored), strict=True))
        columns["folder"] = folders_of(batch.column("path")).dictionary_encode()
        columns["month"] = _converted(batch, "modified", months, pa.timestamp("us", "UTC"))
        columns["patient"] = _converted(batch, "patient_id_hmac", digest_numbers, pa.string())
        columns["content"] = _converted(batch, "sha256", digest_numbers, pa.string())
        columns["phash"] = _converted(batch, "phash", hashes, pa.string())
        for name, kind in (("flags", pa.list_(pa.string())), ("ood_score", pa.float32())):
            columns[name] = _converted(batch, name, _same, kind).cast(kind)
        return columns

    def _looked_up(self, paths: pa.Array) -> dict[str, pa.Array]:
        """Return label and further columns that the label file has for these paths."""
        if self._lookup is None:
            return {}
        found = self._lookup.find(paths).combine_chunks()
        names = ("label", *self._division.of_labels)
        return {name: group_names(name, _flat(found[name])) for name in names}

    def _check_order(self, paths: pa.Array) -> None:
        """Refuse paths that do not ascend: of one that is there twice, no figure would be right."""
        if self._last is not None:
            paths = pa.concat_arrays([self._last, paths])
        if paths.null_count:
            raise no_result(self._results, "a row without a path")
        ascends = pc.greater(paths[1:], paths[:-1])
        place = pc.index(ascends, False).as_py()
        if place >= 0:
            first, second = paths[place].as_py(), paths[place + 1].as_py()
            found = "there twice" if first == second else "out of order"
            raise UsageError(
                f"{self._results}: expected each path once, in ascending order, as "
                f"`batchscan run` writes them; found {one_line(second)!r} {found}; scan anew"
            )
        self._last = paths[-1:]

    def _check_values(self, name: str, column: pa.Array, expected: Sequence[str]) -> None:
        strange = set(column.dictionary.drop_null().to_pylist()) - set(expected)
        if strange:
            raise UsageError(
                f"{self._results}: expected each {name} to be {' or '.join(expected)}, found "
                f"{min(strange)!r}; use the labels and the results of the same model"
            )


def _converted(
    batch: pa.RecordBatch, name: str, convert: Callable[[pa.Array], pa.Array], kind: pa.DataType
) -> pa.Array:
    """Return a column in another form; one that the result lacks, or left empty, is all null."""
    there = name in batch.schema.names and not pa.types.is_null(batch.column(name).type)
    return convert(batch.column(name) if there else pa.nulls(batch.num_rows, kind))


def _same(column: pa.Array) -> pa.Array:
    return column


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
