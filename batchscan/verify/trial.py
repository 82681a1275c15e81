"""Trying files of a result again: each is read, decoded and scored, and its new row is compared."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import pyarrow as pa

from batchscan.archive.display import display_path
from batchscan.container.reading import in_reading_order
from batchscan.model.bundle import Bundle
from batchscan.model.card import TOLERANCES
from batchscan.model.scorer import BATCH, Scorer, open_scorer
from batchscan.rules import Rules
from batchscan.run.observer import Progress, ShardReport
from batchscan.run.shard import Shard, score_shard
from batchscan.schema import SCORED, TRANSIENT, score_columns
from batchscan.signals import check_signals
from batchscan.storage.location import Location

AT_A_TIME = 8 * BATCH
EXAMPLES = 10
_MOST_THREADS = 16

Verdict = Literal["agrees", "content", "score", "category", "gone", "changed", "unreadable"]
DISAGREEMENTS: tuple[Verdict, ...] = ("content", "score", "category")
"""Verdicts that a result deserves; `gone`, `changed` and `unreadable` are about the archive."""

Row = Mapping[str, Any]

NameOf = Callable[[str], str | None]
"""Finds the file's name for a row's path; None where there is no such file."""


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a row; `distance` is that of its score from the recorded one."""

    verdict: Verdict
    words: str = ""
    distance: float = 0.0


_GONE = Judgement("gone")


@dataclass
class Findings:
    """What has become of the rows so far.

    `tolerance` is how far a score may be from the recorded one, `largest` the largest distance.
    `examples` are paths, as in the result, and what is wrong with them, of the first `EXAMPLES`
    disagreements.
    """

    tolerance: float
    verdicts: Counter[str] = field(default_factory=Counter)
    largest: float = 0.0
    examples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, judgement: Judgement) -> None:
        """Count a row."""
        self.verdicts[judgement.verdict] += 1
        self.largest = max(self.largest, judgement.distance)
        if judgement.verdict in DISAGREEMENTS and len(self.examples) < EXAMPLES:
            self.examples.append((path, judgement.words))


def try_rows(
    tables: Iterable[pa.Table],
    archive: Location,
    bundle: Bundle,
    rules: Rules,
    name_of_path: NameOf,
    progress: Progress,
) -> Findings:
    """Try the files of all rows again, one table after the other, in this process."""
    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    scorer = _open(bundle, threads)
    findings = Findings(TOLERANCES[bundle.precision])
    with ThreadPoolExecutor(threads) as pool:
        for table in tables:
            names = {path: name_of_path(path) for path in table["path"].to_pylist()}
            there = [name for name in names.values() if name is not None]
            shard = Shard("", tuple(in_reading_order(str(archive), iter(there), rules)))
            made = score_shard(
                str(archive), shard, scorer, pool.map, classes=bundle.classes, rules=rules
            )
            _compare(table, made, names, bundle.classes, findings)
            progress.shard_done(ShardReport(table.num_rows, 0))
            progress.tick()
            check_signals()
    return findings


def _open(bundle: Bundle, threads: int) -> Scorer:
    by_onnx = bundle.precision == "int8" or "model.onnx" in bundle.card["files"]
    runtime = "onnx" if by_onnx else "tensorflow"
    return open_scorer(
        runtime,
        bundle.model_bytes(runtime),
        input_size=bundle.input_size,
        class_count=len(bundle.classes),
        threads=threads,
    )


def _compare(
    table: pa.Table,
    made: pa.Table,
    names: Mapping[str, str | None],
    classes: tuple[str, ...],
    findings: Findings,
) -> None:
    """Compare recorded rows with those that were made now, which have their real paths."""
    made_now = {row["path"]: row for row in _rows(made)}
    columns = score_columns(classes)
    for then in _rows(table):
        name = names[then["path"]]
        now = None if name is None else made_now[display_path(name)]
        findings.add(
            then["path"], _GONE if now is None else _judge(then, now, columns, findings.tolerance)
        )


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows with times as microseconds: a file's may be of a year that Python lacks."""
    place = table.schema.get_field_index("modified")
    modified = table["modified"].cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    return cast(list[dict[str, Any]], table.set_column(place, "modified", modified).to_pylist())


def _judge(then: Row, now: Row, columns: tuple[str, ...], tolerance: float) -> Judgement:
    """Compare a recorded row with a new one."""
    if now["failure"] == "vanished":
        return _GONE
    if now["failure"] in TRANSIENT:
        return Judgement("unreadable")
    known = then["sha256"] is not None and now["sha256"] is not None
    same = known and then["sha256"] == now["sha256"]
    if not same and any(then[name] != now[name] for name in ("bytes", "modified")):
        return Judgement("changed")
    if known and not same:
        was, found = (f"{row['sha256'][:16]}..." for row in (then, now))
        words = f"SHA-256 {was} was recorded, the file of the same size and time has {found}"
        return Judgement("content", words)
    if _category(then) != _category(now):
        words = f"{_category(then)} was recorded, now {_category(now)}"
        return Judgement("category", words)
    if then["status"] != SCORED:
        return Judgement("agrees")
    return _judge_scores(then, now, columns, tolerance)


def _judge_scores(then: Row, now: Row, columns: tuple[str, ...], tolerance: float) -> Judgement:
    """Compare the scores; one that is missing, or no number, agrees with nothing."""
    nothing = float("nan")
    was, found = (
        [nothing if row[name] is None else float(row[name]) for name in columns]
        for row in (then, now)
    )
    distances = [abs(one - other) for one, other in zip(was, found, strict=True)]
    if all(distance <= tolerance for distance in distances):
        return Judgement("agrees", distance=max(distances))
    words = f"score {_written(was)} was recorded, now {_written(found)}"
    known = [distance for distance in distances if distance >= 0]
    return Judgement("score", words, max(known, default=0.0))


def _written(scores: list[float]) -> str:
    return ", ".join(f"{score:.6g}" for score in scores)


def _category(row: Row) -> str:
    """Name what became of an image: scored, or why it was not."""
    return str(row["failure"] or row["skip"] or row["status"])
