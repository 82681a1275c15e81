"""Tests of what is still to be scored, given a listing and the rows that are finished."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscan.archive.display import display_path
from batchscan.archive.listing import list_images
from batchscan.archive.local_file import FileState
from batchscan.archive.notes import ListingNotes
from batchscan.run import plan as plan_module
from batchscan.run.plan import FinishedRows, PlanCounts, plan_shards, taper
from batchscan.run.shard import Shard
from batchscan.schema import FAILURES, TRANSIENT, ScoreRow, score_table

STATE = FileState(10, 1_700_000_000_000_000)


@dataclass
class Outcome:
    """What a plan came to: images of each shard, rows that stay, and the counts."""

    shards: list[Shard] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    kept_tables: list[pa.Table] = field(default_factory=list)
    counts: PlanCounts = field(default_factory=PlanCounts)

    @property
    def planned(self) -> list[str]:
        return [name for shard in self.shards for name in shard.images]


def finished_row(path: str, state: FileState = STATE, failure: str | None = None) -> ScoreRow:
    return ScoreRow(
        path,
        "failed" if failure else "scored",
        None if failure else 0.5,
        failure,
        bytes=state.bytes,
        modified=state.modified,
        phash=None if failure else "0" * 16,
    )


def tables_of(rows: list[ScoreRow], size: int) -> Iterator[pa.Table]:
    """Make sorted tables of up to `size` rows, with an empty one among them."""
    table = score_table(rows)
    yield table.slice(0, 0)
    for start in range(0, table.num_rows, size):
        yield table.slice(start, size)


def plan(
    listing: dict[str, FileState | None],
    rows: list[ScoreRow],
    *,
    shard_size: int = 100,
    table_size: int = 3,
    notes: ListingNotes | None = None,
) -> Outcome:
    """Plan with a listing that stands for the files (name -> state) of an archive."""
    outcome = Outcome()

    def keep(table: pa.Table) -> None:
        outcome.kept += table["path"].to_pylist()
        outcome.kept_tables.append(table)

    names = sorted(listing, key=lambda name: display_path(name).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "file_state", lambda _, name: listing[name])
        finished = FinishedRows(
            tables_of(rows, table_size), keep, notes or ListingNotes(), outcome.counts
        )
        shards = plan_shards(
            iter(names), finished, outcome.counts, root="/nowhere", shard_size=shard_size
        )
        outcome.shards = list(shards)
    return outcome


# --- any listing, any finished rows --------------------------------------------------------------

PATHS = st.text(st.sampled_from("ab/-.ä\uffe5\U0001f9b4"), min_size=1, max_size=3)
STATES = st.builds(FileState, st.integers(0, 1), st.integers(-1, 1))
FAILURE = st.one_of(st.none(), st.sampled_from(sorted(FAILURES)))


@given(
    st.dictionaries(PATHS, st.one_of(STATES, st.none()), max_size=15),
    st.dictionaries(PATHS, st.tuples(STATES, FAILURE), max_size=15),
    st.lists(st.sampled_from(["a", "b", "a/b", "ä"]), unique=True),
    st.integers(1, 40),
    st.integers(1, 5),
)
@settings(max_examples=300)
def test_plan_is_that_of_sets(
    listing: dict[str, FileState | None],
    rows: dict[str, tuple[FileState, str | None]],
    unreadable: list[str],
    shard_size: int,
    table_size: int,
) -> None:
    """New, changed and transiently failed images are planned; unchanged rows stay; others go."""
    outcome = plan(
        listing,
        [finished_row(path, state, failure) for path, (state, failure) in rows.items()],
        shard_size=shard_size,
        table_size=table_size,
        notes=ListingNotes(unreadable_folders=unreadable),
    )
    unchanged = {
        path
        for path, (state, failure) in rows.items()
        if path in listing and listing[path] == state and failure not in TRANSIENT
    }
    unknown = {
        path
        for path in rows.keys() - listing.keys()
        if any(path.startswith(folder + "/") for folder in unreadable)
    }
    assert outcome.planned == sorted(listing.keys() - unchanged, key=str.encode)
    assert outcome.kept == sorted(unchanged | unknown, key=str.encode)
    assert outcome.counts.planned == len(outcome.planned)
    assert outcome.counts.kept == len(outcome.kept)
    assert outcome.counts.dropped == len(rows.keys() - listing.keys() - unknown)
    assert all(1 <= len(shard.images) <= shard_size for shard in outcome.shards)
    assert len({shard.name for shard in outcome.shards}) == len(outcome.shards)


# --- one by one ----------------------------------------------------------------------------------


def test_nothing_finished() -> None:
    """In a first run, everything is planned."""
    outcome = plan({"a": STATE, "b": STATE}, [])
    assert outcome.planned == ["a", "b"]
    assert outcome.counts == PlanCounts(planned=2)


def test_everything_finished() -> None:
    """In a second run, nothing is planned, and every row stays as it was."""
    names = [f"{number:03d}" for number in range(20)]
    rows = [finished_row(name) for name in names]
    outcome = plan(dict.fromkeys(names, STATE), rows)
    assert outcome.shards == []
    assert pa.concat_tables(outcome.kept_tables).equals(score_table(rows))
    assert outcome.counts == PlanCounts(kept=20)


@pytest.mark.parametrize(
    "now",
    [
        FileState(STATE.bytes + 1, STATE.modified),
        FileState(STATE.bytes, STATE.modified + 1),
        FileState(STATE.bytes, STATE.modified - 1),
        FileState(STATE.bytes, STATE.modified - 86_400_000_000),
        None,
    ],
    ids=["grown", "newer", "older", "restored", "unreachable"],
)
def test_changed_images_are_planned(now: FileState | None) -> None:
    """Another size, another time (also an earlier one) or no answer: the image is scored again."""
    outcome = plan({"a": STATE, "b": now}, [finished_row("a"), finished_row("b")])
    assert outcome.planned == ["b"]
    assert outcome.kept == ["a"]
    assert outcome.counts == PlanCounts(planned=1, kept=1)


@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_failures_are_retried_where_it_helps(failure: str) -> None:
    """A failure of the storage is tried again; one of the file's content stays with the file."""
    outcome = plan({"a": STATE}, [finished_row("a", failure=failure)])
    assert outcome.planned == (["a"] if failure in TRANSIENT else [])
    assert failure in TRANSIENT or outcome.kept == ["a"]
    assert outcome.counts.dropped == 0


def test_row_without_a_state() -> None:
    """A row that never knew its file's state is no proof that the file is unchanged."""
    outcome = plan({"a": STATE}, [ScoreRow("a", "failed", failure="decoder_crash")])
    assert outcome.planned == ["a"]


def test_gone_images_are_dropped() -> None:
    """Rows of images that are gone go: at the start, in between and at the end."""
    rows = [finished_row(name) for name in ("a", "b", "c", "d", "e")]
    outcome = plan({"b": STATE, "d": STATE}, rows, table_size=2)
    assert outcome.kept == ["b", "d"]
    assert outcome.counts == PlanCounts(kept=2, dropped=3)


def test_unreadable_folder_drops_nothing() -> None:
    """While a folder cannot be read, its rows stay; those of folders named alike do not."""
    paths = ["a/x", "closed-2/x", "closed/deep/x", "closed/x", "closed.jpg", "z/closed/x"]
    outcome = plan(
        {"a/x": STATE},
        [finished_row(path) for path in paths],
        notes=ListingNotes(unreadable_folders=["closed"]),
    )
    assert outcome.kept == ["a/x", "closed/deep/x", "closed/x"]
    assert outcome.counts == PlanCounts(kept=3, dropped=3)


def test_unreadable_folder_that_the_listing_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that turns out to be unreadable during the very listing keeps its rows."""
    for name in ("a/x.jpg", "closed/x.jpg", "closed/sub/y.jpg", "z/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"text")
        os.utime(tmp_path / name, ns=(0, STATE.modified * 1000))
    state = FileState(4, STATE.modified)
    paths = ["a/x.jpg", "closed/sub/y.jpg", "closed/x.jpg", "gone/x.jpg", "z/x.jpg"]
    rows = [finished_row(path, state) for path in paths]
    real = os.scandir

    def scandir(folder: str) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    notes, counts, kept = ListingNotes(), PlanCounts(), list[str]()
    finished = FinishedRows(
        tables_of(rows, 2), lambda table: kept.extend(table["path"].to_pylist()), notes, counts
    )
    shards = plan_shards(
        list_images(tmp_path, notes), finished, counts, root=str(tmp_path), shard_size=10
    )
    assert list(shards) == []
    assert kept == ["a/x.jpg", "closed/sub/y.jpg", "closed/x.jpg", "z/x.jpg"]
    assert counts == PlanCounts(kept=4, dropped=1)


def test_names_that_are_no_text() -> None:
    """A row of a file whose name is no UTF-8 is found again under its escaped path."""
    name = os.fsdecode(b"caf\xe9.jpg")
    outcome = plan({name: STATE, "b": STATE}, [finished_row(display_path(name))])
    assert outcome.planned == ["b"]
    outcome = plan({name: None}, [finished_row(display_path(name))])
    assert outcome.planned == [name]  # as the file system knows it


# --- shards --------------------------------------------------------------------------------------


def names_of(count: int) -> dict[str, FileState | None]:
    return {f"{number:06d}": STATE for number in range(count)}


def test_first_shards_are_small() -> None:
    """The first shards are small, so that something is finished soon; later ones have full size."""
    sizes = [len(shard.images) for shard in plan(names_of(1000), [], shard_size=256).shards]
    assert sizes[0] <= 32
    assert sizes[-2] == 256
    assert sum(sizes) == 1000
    assert plan(names_of(1000), [], shard_size=256).planned == sorted(names_of(1000))


@pytest.mark.parametrize("size", [1, 5, 31, 32, 33])
def test_small_shards(size: int) -> None:
    """No shard is larger than asked for, and only the last is smaller, from the first on."""
    sizes = [len(shard.images) for shard in plan(names_of(100), [], shard_size=size).shards]
    assert max(sizes) == size or size > 32
    assert sum(sizes) == 100
    if size <= 32:
        assert set(sizes[:-1]) == {size}


def test_shards_come_while_the_listing_goes_on() -> None:
    """The first shard is there before the listing is at its end."""
    seen: list[str] = []

    def names() -> Iterator[str]:
        for number in range(10_000):
            seen.append(f"{number:06d}")
            yield seen[-1]

    counts = PlanCounts()
    finished = FinishedRows(iter([]), lambda _: None, ListingNotes(), counts)
    shards = plan_shards(names(), finished, counts, root="/nowhere", shard_size=256)
    next(shards)
    assert len(seen) <= 32
    assert counts.planned == len(seen)


def test_rows_stay_while_the_listing_goes_on() -> None:
    """Rows that stay are handed on table by table, not collected."""
    kept: list[int] = []

    def tables() -> Iterator[pa.Table]:
        for start in range(0, 1000, 10):
            assert len(kept) >= start // 10 - 1
            yield score_table(finished_row(f"{n:06d}") for n in range(start, start + 10))

    counts = PlanCounts()
    finished = FinishedRows(
        tables(), lambda table: kept.append(table.num_rows), ListingNotes(), counts
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "file_state", lambda *_: STATE)
        names = iter(sorted(names_of(1000)))
        assert list(plan_shards(names, finished, counts, root="/", shard_size=10)) == []
    assert kept == [10] * 100


# --- the end of a run ----------------------------------------------------------------------------


def shard_of(number: int, size: int) -> Shard:
    return Shard(f"s{number:08d}", tuple(f"{number}/{image}" for image in range(size)))


@given(
    st.lists(st.integers(1, 130), max_size=12), st.lists(st.integers(0, 9), min_size=1, max_size=5)
)
def test_taper_loses_nothing(sizes: list[int], workers: list[int]) -> None:
    """Cut or not, every image comes once, in order, in shards of different names."""
    shards = [shard_of(number, size) for number, size in enumerate(sizes)]
    calls = iter(range(1 << 30))
    tapered = list(taper(iter(shards), lambda: workers[next(calls) % len(workers)]))
    images = [name for shard in tapered for name in shard.images]
    assert images == [name for shard in shards for name in shard.images]
    assert len({shard.name for shard in tapered}) == len(tapered)
    assert all(shard.images for shard in tapered)


def test_taper_cuts_the_end() -> None:
    """The last shards come in ever smaller pieces, so that all workers finish together."""
    shards = [shard_of(number, 256) for number in range(10)]
    sizes = [len(shard.images) for shard in taper(iter(shards), lambda: 1)]
    assert sizes == [256] * 7 + [128] * 4 + [64] * 4


def test_taper_of_many_workers() -> None:
    """Where one driver serves thousands, pieces are not small: it could not give them all out."""
    shards = [shard_of(number, 2048) for number in range(40)]
    sizes = [len(shard.images) for shard in taper(iter(shards), lambda: 2000)]
    assert min(sizes) >= 250
    assert max(sizes[-3:]) < 500


def test_taper_leaves_small_shards_whole() -> None:
    """A shard of a few images is not worth cutting."""
    shards = [shard_of(number, 20) for number in range(3)]
    assert list(taper(iter(shards), lambda: 4)) == shards


def test_taper_streams() -> None:
    """The first shard comes at once; four for each worker are held back, and no more."""
    taken: list[int] = []

    def shards() -> Iterator[Shard]:
        for number in range(1000):
            taken.append(number)
            yield shard_of(number, 4)

    tapered = taper(shards(), lambda: 3)
    assert next(tapered).name == "s00000000"
    assert taken == [0]
    for number in range(1, 100):
        assert next(tapered).name == f"s{number:08d}"
    assert len(taken) == 100 + 4 * 3
