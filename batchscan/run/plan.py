"""From a listing to shards, minus what is already finished.

Listing and finished rows come in the same order, so they are walked side by side, like two sorted
piles of cards: memory holds a shard and a table, whatever the archive's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscan.archive.local_file import FileState
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import file_state
from batchscan.container.reading import in_reading_order
from batchscan.privacy.pseudonym import path_column
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.run.shard import Shard
from batchscan.schema import SCORED, SKIPS, TRANSIENT

_HELD_BACK = 4  # Shards for each worker.
_SMALLEST_PIECE = 16
_WORKERS_AN_IMAGE = 4  # With many workers, pieces are larger: one driver gives them all out.
_FIRST_SHARDS = 8
_FIRST_SIZE = 32
_EARLIER_VERSION = "earlier_version"

Order = Callable[[Iterator[str]], Iterator[str]]
"""Passes the names of images on, in another order."""


@dataclass
class PlanCounts:
    """What planning has decided so far."""

    planned: int = 0
    kept: int = 0
    dropped: int = 0


class FinishedRows:
    """The rows of earlier runs, in order of path, with a mark on those that stay.

    `keep` is called with a table of the rows that stay, whenever enough are together. Rows of the
    categories `retried` do not stay: of failures, of skips, or of flags that stand for a skip. Nor
    do scored rows of an earlier version, which lack what is computed from pixels now. `told` holds
    states of files that the listing has found out, and nobody needs to ask for again.
    """

    def __init__(
        self,
        tables: Iterator[pa.Table],
        keep: Callable[[pa.Table], None],
        notes: ListingNotes,
        counts: PlanCounts,
        retried: frozenset[str] = TRANSIENT,
        *,
        rules: Rules = DEFAULT_RULES,
        told: Mapping[str, FileState | None] = MappingProxyType({}),
    ) -> None:
        self._tables = tables
        self._keep = keep
        self._notes = notes
        self._counts = counts
        self._retried = retried
        self._rules = rules
        self._told = told
        self._table: pa.Table | None = None
        self._paths: list[str] = []
        self._states: list[tuple[int, int, str | None]] = []
        self._marked: list[int] = []
        self._row = 0
        self._advance_table()

    def is_unchanged(self, root: str, name: str) -> bool:
        """Say whether an image is finished as it is now, and if so let its row stay."""
        if self._table is None:
            return False
        path = path_column(name, self._rules)
        while self._table is not None and self._paths[self._row] < path:
            self._leave_behind()
        if self._table is None or self._paths[self._row] != path:
            return False
        unchanged = self._states_agree(root, name)
        if unchanged:
            self._mark()
        self._step()
        return unchanged

    def finish(self) -> None:
        """Deal with the rows behind the end of the listing."""
        while self._table is not None:
            self._leave_behind()

    def _states_agree(self, root: str, name: str) -> bool:
        size, modified, category = self._states[self._row]
        if category in self._retried or category == _EARLIER_VERSION:
            return False
        # A listing that tells states has just told this one's; asking anew would be a request each.
        told = self._told.get(name, self._notes.state)
        return (told or file_state(root, name)) == FileState(size, modified)

    def _leave_behind(self) -> None:
        """Pass a row whose image the listing did not show.

        In a folder that could not be read, nobody knows whether it is gone: its row stays.
        """
        if self._may_be_there(self._paths[self._row]):
            self._mark()
        else:
            self._counts.dropped += 1
        self._step()

    def _may_be_there(self, path: str) -> bool:
        """Say whether an image that the listing did not show may be in an unreadable folder.

        A hidden path does not tell its folder.
        """
        unreadable = self._notes.unreadable_folders
        if self._rules.hide_paths:
            return bool(unreadable)
        return any(folder == "" or path.startswith(f"{folder}/") for folder in unreadable)

    def _mark(self) -> None:
        self._marked.append(self._row)
        self._counts.kept += 1

    def _step(self) -> None:
        self._row += 1
        if self._row == len(self._paths):
            self._advance_table()

    def _advance_table(self) -> None:
        if self._table is not None and self._marked:
            self._keep(self._table.take(self._marked))
        self._table = next((table for table in self._tables if table.num_rows), None)
        self._marked, self._row = [], 0
        self._paths, self._states = [], []
        if self._table is not None:
            self._paths = self._table["path"].to_pylist()
            modified = self._table["modified"].cast(pa.int64())
            columns = (self._table["bytes"].to_pylist(), modified.to_pylist())
            self._states = list(zip(*columns, _categories(self._table), strict=True))


def _categories(table: pa.Table) -> list[str | None]:
    """Return for each row why it failed, was skipped, or would have been without --score-all.

    Scored rows that lack a hash are of an earlier version.
    """
    found: list[str | None] = pc.coalesce(table["failure"], table["skip"]).to_pylist()
    if pc.max(pc.list_value_length(table["flags"])).as_py():
        for row, flags in enumerate(table["flags"].to_pylist()):
            found[row] = found[row] or next((flag for flag in flags or () if flag in SKIPS), None)
    earlier = pc.and_(pc.equal(table["status"], SCORED), pc.is_null(table["phash"]))
    for row in np.flatnonzero(earlier).tolist():
        found[row] = _EARLIER_VERSION
    return found


def plan_shards(
    names: Iterator[str],
    finished: FinishedRows,
    counts: PlanCounts,
    *,
    root: str,
    shard_size: int,
    rules: Rules = DEFAULT_RULES,
    order: Order | None = None,
) -> Iterator[Shard]:
    """Yield shards of the images that are still to be scored, while the listing goes on.

    The first shards are small, so that results appear and progress moves soon after the start.
    `order` puts images into the order in which they are best read; without it, only those in
    compressed tars are.
    """
    order = order or (lambda unfinished: in_reading_order(root, unfinished, rules))
    number, waiting = 0, []
    unfinished = (name for name in names if not finished.is_unchanged(root, name))
    for name in order(unfinished):
        waiting.append(name)
        counts.planned += 1
        if len(waiting) >= (min(shard_size, _FIRST_SIZE) if number < _FIRST_SHARDS else shard_size):
            yield Shard(f"s{number:08d}", tuple(waiting))
            number, waiting = number + 1, []
    finished.finish()
    if waiting:
        yield Shard(f"s{number:08d}", tuple(waiting))


def taper(shards: Iterator[Shard], workers: Callable[[], int]) -> Iterator[Shard]:
    """Pass shards on, and cut the last ones ever smaller, so that all workers finish together.

    Stays behind the planning by some shards for each worker, at most by as many as were passed on:
    nobody waits for them at the start. When planning ends, each piece is a quarter of a worker's
    share of what is left (guided self-scheduling, Polychronopoulos and Kuck 1987).
    """
    waiting: deque[Shard] = deque()
    passed = 0
    for shard in shards:
        waiting.append(shard)
        while len(waiting) > min(_HELD_BACK * workers(), passed):
            yield waiting.popleft()
            passed += 1
    left = sum(len(shard.images) for shard in waiting)
    for shard in waiting:
        smallest = max(_SMALLEST_PIECE, workers() // _WORKERS_AN_IMAGE)
        yield from _pieces(shard, max(smallest, left // (4 * max(1, workers()))))
        left -= len(shard.images)


def _pieces(shard: Shard, size: int) -> Iterator[Shard]:
    """Cut a shard into equal pieces of `size` images or fewer; a small one stays whole."""
    images = shard.images
    count = -(-len(images) // size)
    if count == 1 or len(images) < 2 * _SMALLEST_PIECE:
        yield shard
        return
    for number in range(count):
        start, end = number * len(images) // count, (number + 1) * len(images) // count
        yield Shard(f"{shard.name}p{number:03d}", images[start:end])
