"""Plan, keep and merge a made-up archive of a million files; print the driver's peak memory.

    python -m benchmarks.planning [--files 1000000]

Everything the driver does runs for real (planning, comparing with an earlier result, merging parts
into the result); only the files are made up, and nothing is decoded or scored.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pyarrow as pa

from batchscan.archive.local_file import FileState
from batchscan.archive.notes import ListingNotes
from batchscan.results.result import (
    part_name,
    part_sources,
    result_sources,
    sweep,
    write_part,
    write_result,
)
from batchscan.run.plan import FinishedRows, PlanCounts, plan_shards
from batchscan.schema import SCORE_SCHEMA, SCORED, ScoreRow, score_table

STATE = FileState(220_000, 1_700_000_000_000_000)


def main() -> None:
    """Run the three phases, each in its share of one process, and print what each cost."""
    parser = argparse.ArgumentParser(description="The driver's memory for a large listing")
    parser.add_argument("--files", type=int, default=1_000_000)
    files = parser.parse_args().files
    print(f"{files:,} made-up files\n{'':28}{'seconds':>9}{'peak MB':>9}")
    _report("imports", time.monotonic())
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out, parts = Path(folder) / "results.parquet", Path(folder) / "parts"
        parts.mkdir()
        _phase("plan a new archive", lambda: _plan_new(files, parts))
        _phase("merge its parts", lambda: _merge(parts, out))
        _phase("plan it again, unchanged", lambda: _plan_again(files, out))


def _phase(name: str, work: object) -> None:
    began = time.monotonic()
    assert callable(work)
    work()
    _report(name, began)


def _report(name: str, began: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:28}{time.monotonic() - began:9.1f}{peak:9.0f}")


def _names(files: int) -> Iterator[str]:
    for number in range(files):
        yield f"site-{number // 100_000:03d}/{number // 1000:06d}/image-{number:09d}.jpeg"


def _plan_new(files: int, parts: Path) -> None:
    counts = PlanCounts()
    finished = FinishedRows(iter([]), lambda _: None, ListingNotes(), counts)
    for shard in plan_shards(_names(files), finished, counts, root="", shard_size=256):
        rows = [_row(name) for name in shard.images]
        write_part(parts, part_name(1, shard.name), score_table(rows))
    assert counts.planned == files


def _row(path: str) -> ScoreRow:
    return ScoreRow(
        path,
        SCORED,
        0.5,
        width=1300,
        height=970,
        format="jpeg",
        bytes=STATE.bytes,
        modified=STATE.modified,
        sha256="0" * 64,
        phash="0" * 16,
    )


def _merge(parts: Path, out: Path) -> None:
    started = datetime.now(UTC).isoformat()
    write_result(
        out,
        parts / "result.tmp",
        SCORE_SCHEMA,
        sweep(part_sources(parts)),
        lambda: {"started": started},
    )


def _unchanged(_root: str, _name: str) -> FileState:
    return STATE


def _plan_again(files: int, out: Path) -> None:
    counts = PlanCounts()
    kept: list[int] = []

    def keep(table: pa.Table) -> None:
        kept.append(table.num_rows)

    with mock.patch("batchscan.run.plan.file_state", new=_unchanged):
        finished = FinishedRows(sweep(result_sources(out)), keep, ListingNotes(), counts)
        shards = list(plan_shards(_names(files), finished, counts, root="", shard_size=256))
    assert not shards
    assert sum(kept) == files


if __name__ == "__main__":
    main()
