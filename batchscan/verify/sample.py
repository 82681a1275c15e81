"""Going through a result: its digests, and a sample of rows that can be tried again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchscan.errors import UsageError
from batchscan.results.columns import check_columns
from batchscan.run.digest import RowsDigest
from batchscan.schema import SCORED, TRANSIENT, score_columns
from batchscan.storage.location import Location
from batchscan.storage.place import opened

DANGEROUS = frozenset({"decoder_crash", "timeout"})
"""Failures that would end, or stall, whoever tries the file again."""

_BATCH_ROWS = 1 << 16
_NOT_TRIED, _SCORED, _REFUSED = 0, 1, 2


@dataclass(frozen=True)
class Survey:
    """What one pass through a result has found.

    `kinds` is uint8 (rows,): 1 for a row with a score, 2 for one without that can be tried again,
    0 for one that can't be: its failure was of the moment, or it kills whoever opens the file.
    """

    rows: str
    listing: str
    kinds: NDArray[np.uint8]

    def count(self, *, scored: bool) -> int:
        """Return the number of rows that can be tried again, of those with or without a score."""
        return int((self.kinds == (_SCORED if scored else _REFUSED)).sum())

    @property
    def not_tried(self) -> int:
        """The number of rows that can't be tried again."""
        return int((self.kinds == _NOT_TRIED).sum())

    def draw(self, size: int | None, seed: int) -> NDArray[np.int64]:
        """Draw up to `size` (None: all) rows with a score, and as many without: ascending."""
        rng = np.random.default_rng(seed)
        chosen = [
            _drawn(np.flatnonzero(self.kinds == kind), size, rng) for kind in (_SCORED, _REFUSED)
        ]
        return np.sort(np.concatenate(chosen))


def _drawn(
    numbers: NDArray[np.int64], size: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    if size is None or size >= numbers.size:
        return numbers
    return rng.choice(numbers, size, replace=False)


def survey(result: Location, classes: Sequence[str]) -> Survey:
    """Read a whole result; raises `UsageError` where it cannot be read, or is no result."""
    kinds = [np.empty(0, np.uint8)]
    try:
        with opened(result) as stream, pq.ParquetFile(stream) as file:
            check_columns(result, file.schema_arrow, classes)
            digest = RowsDigest(file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH_ROWS):
                table = pa.Table.from_batches([batch])
                digest.add(table)
                kinds.append(_kinds(table))
    except (OSError, pa.ArrowException) as problem:
        reason = getattr(problem, "strerror", None) or str(problem).splitlines()[0][:200]
        raise UsageError(f"{result}: the result cannot be read to its end: {reason}") from problem
    return Survey(digest.rows(), digest.listing(), np.concatenate(kinds))


def _kinds(table: pa.Table) -> NDArray[np.uint8]:
    scored = pc.equal(table["status"], SCORED)
    passing = pc.is_in(table["failure"], pa.array(sorted(TRANSIENT | DANGEROUS)))
    kinds = pc.if_else(scored, _SCORED, pc.if_else(passing, _NOT_TRIED, _REFUSED))
    numbers: NDArray[np.uint8] = pc.fill_null(kinds, _NOT_TRIED).to_numpy().astype(np.uint8)
    return numbers


def read_rows(
    result: Location, numbers: NDArray[np.int64], classes: tuple[str, ...], together: int
) -> Iterator[pa.Table]:
    """Yield the rows of these numbers (ascending), in tables of `together` rows or fewer.

    The columns are those that a new row is compared in.
    """
    own = ["path", "status", "failure", "skip", "bytes", "modified", "sha256"]
    columns = [*own, *score_columns(classes)]
    waiting: list[pa.Table] = []
    with opened(result) as stream, pq.ParquetFile(stream) as file:
        first = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            ends = np.searchsorted(numbers, [first, first + batch.num_rows])
            places = numbers[ends[0] : ends[1]] - first
            first += batch.num_rows
            waiting.append(pa.Table.from_batches([batch]).take(places))
            while sum(map(len, waiting)) >= together:
                rows = pa.concat_tables(waiting)
                yield rows.slice(0, together)
                waiting = [rows.slice(together)]
    rows = pa.concat_tables(waiting) if waiting else None
    if rows:
        yield rows
