"""The rounds of a race: first everyone's scores and memory, then the times, in turns."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.race.comparing import (
    OTHER_PIXELS,
    SAME_PIXELS,
    Comparison,
    Scores,
    compare,
    read_scores,
)
from benchmarks.race.contenders import OURS, Contender, environment
from benchmarks.race.process import Ended, run_program
from benchmarks.race.progress import Marks, PartWatcher, read_marks, steady_rate
from benchmarks.race.task import Task

_LOG_LINES = 15


@dataclass(frozen=True)
class Time:
    """One timed run. `start` is when the first images were done; `None` where not to be seen."""

    seconds: float
    start: float | None
    steady: float | None


@dataclass
class Entry:
    """A contender and what came of it; `problem` says why its times do not count."""

    contender: Contender
    problem: str | None = None
    mean_difference: float | None = None
    largest_difference: float | None = None
    peak_bytes: int | None = None
    times: list[Time] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """Where a race is run: `task` (its output and marks lie in a folder of ours), and the limit."""

    task: Task
    images: int
    limit: float

    @property
    def log(self) -> Path:
        """What the last program said."""
        return self.task.out.with_name("log.txt")


def check_round(entries: Sequence[Entry], course: Course) -> None:
    """Run each once: compare its scores with ours, and watch its memory. Its time is not used.

    Watching takes time from the programs that are watched, and the first run reads the disk.
    """
    ours: Scores | None = None
    for entry in sorted(entries, key=lambda each: each.contender.name != OURS):
        entry.problem = entry.contender.missing
        if entry.problem is None:
            ended, _ = _run(entry.contender, course, watch_memory=True)
            entry.problem, entry.peak_bytes = ended.problem, ended.peak_bytes
            _show_log(entry, course)
        if entry.problem is None and entry.contender.scores:
            comparison, scores = _compare(entry.contender, course, ours)
            entry.problem = comparison.problem
            entry.mean_difference, entry.largest_difference = comparison.mean, comparison.largest
            ours = scores if entry.contender.name == OURS else ours
        _say("check", entry, entry.problem or "done")


def timed_round(entries: Sequence[Entry], course: Course, number: int) -> None:
    """Run each that still counts, in alternating order; scores must be there again."""
    running = [entry for entry in entries if entry.problem is None]
    for entry in running if number % 2 == 0 else reversed(running):
        ended, marks = _run(entry.contender, course)
        entry.problem = ended.problem or _count_problem(entry.contender, course)
        _show_log(entry, course)
        if entry.problem is None:
            entry.times.append(_time(ended, marks))
        _say(f"round {number + 1}", entry, entry.problem or f"{ended.seconds:.1f} s")


def run_rounds(
    entries: Sequence[Entry], course: Course, repeats: int, after_each: Callable[[], None]
) -> None:
    """Run the whole race; `after_each` timed round may save what there is."""
    check_round(entries, course)
    for number in range(repeats):
        timed_round(entries, course, number)
        after_each()


def _run(
    contender: Contender, course: Course, *, watch_memory: bool = False
) -> tuple[Ended, Marks]:
    task = course.task
    for leftover in (task.out, task.out.with_name(task.out.name + ".work"), task.marks):
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.unlink(missing_ok=True)
    watcher = PartWatcher(task.out)
    ended = run_program(
        contender.command(task),
        log=course.log,
        limit=course.limit,
        environment=environment(),
        watch_memory=watch_memory,
        each_tick=watcher.look if contender.kind == "ours" else lambda: None,
    )
    return ended, watcher.marks if contender.kind == "ours" else read_marks(task.marks)


def _time(ended: Ended, marks: Marks) -> Time:
    start = min(moment for moment, _ in marks) - ended.began if marks else None
    return Time(ended.seconds, start, steady_rate(marks))


def _compare(
    contender: Contender, course: Course, ours: Scores | None
) -> tuple[Comparison, Scores]:
    try:
        scores = read_scores(course.task.out, course.task.archive)
    except ValueError as error:
        return Comparison(str(error)), {}
    if contender.name == OURS:
        complete = len(scores) == course.images and None not in scores.values()
        return Comparison(None if complete else "not every image has a score"), scores
    if ours is None:
        return Comparison("nothing to compare with: batchscan did not finish"), scores
    return compare(scores, ours, SAME_PIXELS if contender.same_pixels else OTHER_PIXELS), scores


def _count_problem(contender: Contender, course: Course) -> str | None:
    """Say whether scores are missing from a timed run."""
    if not contender.scores:
        return None
    try:
        found = len(read_scores(course.task.out, course.task.archive))
    except ValueError as error:
        return str(error)
    return None if found == course.images else f"{found} scores for {course.images} images"


def _show_log(entry: Entry, course: Course) -> None:
    if entry.problem is not None:
        lines = course.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        print("\n".join(f"    {line[:200]}" for line in lines), file=sys.stderr)


def _say(when: str, entry: Entry, what: str) -> None:
    print(f"{when}: {entry.contender.title}: {what}", file=sys.stderr, flush=True)
