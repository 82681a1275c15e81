"""Plain processes that take shards from a common counter: a scan's workers without an engine."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from batchscan.run.shard import Shard

Work = Callable[[Shard], int]
"""Deals with a shard; returns how many of its images failed."""

_START_SECONDS = 300.0  # For all to load their models; TensorRT takes minutes.


@dataclass(frozen=True)
class Span:
    """From when to when (seconds since 1970) processes were at work, and what came of it.

    `cpu` is processor time in seconds, of all their threads.
    """

    start: float
    end: float
    cpu: float
    images: int
    failed: int = 0

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / (self.end - self.start)

    @property
    def cores(self) -> float:
        """How many cores were busy on average."""
        return self.cpu / (self.end - self.start)


def run_crew(shards: Sequence[Shard], processes: int, hire: Callable[[], Work]) -> Span:
    """Have processes deal with all shards; `hire` is called in each, before the clock runs.

    Raises what the first of them to fail raised, or `BrokenProcessPool` if one was killed.
    """
    context = multiprocessing.get_context("spawn")
    common = context.Value("q", 0), context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _share, common) as pool:
        crew = [pool.submit(_work_on, tuple(shards), hire) for _ in range(processes)]
        done, _ = wait(crew, return_when=FIRST_EXCEPTION)
        errors = [error for each in done if (error := each.exception())]
        for error in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
            raise error
        spans = [each.result() for each in crew]
    return Span(
        min(span.start for span in spans),
        max(span.end for span in spans),
        sum(span.cpu for span in spans),
        sum(span.images for span in spans),
        sum(span.failed for span in spans),
    )


def run_alone(measure: Callable[..., Span], *arguments: object) -> Span:
    """Measure in a process of its own, so that nothing of it stays in this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


_common: Any = None


def _share(*common: Any) -> None:
    global _common
    _common = common


def _work_on(shards: Sequence[Shard], hire: Callable[[], Work]) -> Span:
    counter, barrier = _common
    try:
        work = hire()
        barrier.wait(_START_SECONDS)
    except BaseException:
        barrier.abort()
        raise
    start, cpu, images, failed = time.time(), time.process_time(), 0, 0
    while True:
        with counter.get_lock():
            number = counter.value
            counter.value += 1
        if number >= len(shards):
            return Span(start, time.time(), time.process_time() - cpu, images, failed)
        failed += work(shards[number])
        images += len(shards[number].images)
