"""Where a run's time goes: seconds for each stage of an image's way, measured only when asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

STAGES = {
    "start": "loading the model",
    "list": "finding images, and what is new",
    "read": "reading files",
    "decode": "turning bytes into grey squares",
    "hash": "SHA-256 of files, hashes of pixels",
    "score": "running the network",
    "write": "parts; the driver: result and metrics",
    "wait": "for shards, own threads; the driver: for Ray, workers",
    "rest": "what lies in between",
}
"""Stages by name, in the order of the way."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Profile:
    """Seconds by stage: of all workers (and threads) summed, and of the driver.

    `images` are those that the workers had in hand. `first_part` is how many seconds after the
    start of the scan the first part was committed, None if none was. `short_cut` says whether the
    driver's machine has the short cut to reduced JPEGs.
    """

    workers: Mapping[str, float]
    driver: Mapping[str, float]
    images: int
    first_part: float | None
    short_cut: bool


@dataclass
class _Hand:
    """What one thread is at, and since when."""

    stage: str | None = None
    since: float = 0.0


@dataclass
class _Hands(threading.local):
    own: _Hand = field(default_factory=_Hand)


class Stopwatch:
    """Adds up seconds by stage, over all threads; where not `measuring`, it costs nearly nothing.

    A stage within another is taken out of the outer one, so that all of them add up to the time of
    their threads.
    """

    def __init__(
        self, *, measuring: bool = True, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._measuring = measuring
        self._clock = clock
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._hands = _Hands()

    def stage(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Return a context whose time counts for a stage, one of `STAGES`."""
        return self._measured(name) if self._measuring else contextlib.nullcontext()

    def each(self, name: str, items: Iterator[Item]) -> Iterator[Item]:
        """Yield items; the time in which they are made counts for a stage."""
        while True:
            with self.stage(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def turn_to(self, name: str) -> None:
        """Count this thread's time for a stage from now on, wherever no other one is open."""
        if self._measuring:
            self._turn(name)

    def take(self) -> dict[str, float]:
        """Return the seconds by stage since they were last taken; of open stages, none."""
        with self._lock:
            taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken

    @contextlib.contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        outer = self._hands.own.stage
        self._turn(name)
        try:
            yield
        finally:
            self._turn(outer)

    def _turn(self, stage: str | None) -> None:
        hand, now = self._hands.own, self._clock()
        if hand.stage is not None:
            with self._lock:
                self._seconds[hand.stage] += now - hand.since
        hand.stage, hand.since = stage, now


OFF = Stopwatch(measuring=False)
