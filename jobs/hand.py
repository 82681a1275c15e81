"""Workers as the driver sees them: what each has in its hands, and since when."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .attempts import Attempt

_STRAGGLING_SECONDS = 5.0  # A worker is late by more before it is thought never to end,
_STRAGGLING_TIMES = 2.0  # and takes more than so many times as long as usual.


class Pace:
    """How long images take: the mean of all shards so far."""

    def __init__(self) -> None:
        self._images = 0
        self._seconds = 0.0

    def add(self, images: int, seconds: float) -> None:
        """Take note of a finished shard."""
        self._images += images
        self._seconds += seconds

    def is_known(self) -> bool:
        """Say whether any shard is finished."""
        return self._images > 0

    def seconds(self, attempt: Attempt) -> float:
        """Return how long a shard takes at this pace; 0 where it is not known."""
        return self._seconds / max(self._images, 1) * len(attempt.shard.images)


@dataclass(eq=False)
class Hand:
    """One worker, as the driver sees it.

    `node` is where it was to be, and once it is ready, where it is. `starting` is the ticket for
    the word that it is ready.
    """

    worker: Any
    node: str
    needs: str
    starting: Any
    ready: bool = False
    queue: deque[tuple[Any, Attempt]] = field(default_factory=deque)
    since: float = 0.0  # When the first shard of the queue was begun.
    note: int | None = None  # When the worker last wrote which image it has in work.
    looks: int = 0  # How often that time was found unchanged.
    pace: Pace = field(default_factory=Pace)

    def give(self, ticket: Any, attempt: Attempt, now: float) -> None:
        """Take note of a shard that was put into the worker's queue."""
        if not self.queue:
            self.since = now
        self.queue.append((ticket, attempt))

    def take(self, ticket: Any, now: float) -> tuple[Attempt, float]:
        """Take a finished shard out of the queue; returns also for how long it was in work."""
        (attempt,) = (entry[1] for entry in self.queue if entry[0] == ticket)
        self.queue = deque(entry for entry in self.queue if entry[0] != ticket)
        seconds, self.since = now - self.since, now
        self.pace.add(len(attempt.shard.images), seconds)
        return attempt, seconds

    def gains(self, now: float, usual: Pace) -> Iterator[tuple[float, Attempt]]:
        """Say of each shard in the queue how many seconds sooner a usual, idle worker had it done.

        A worker that takes much longer than its images usually take is thought never to end.
        """
        own = self.pace if self.pace.is_known() else usual
        left = self.since - now
        for _, attempt in self.queue:
            left += own.seconds(attempt)
            needed = usual.seconds(attempt)
            if -left > max(_STRAGGLING_SECONDS, (_STRAGGLING_TIMES - 1) * needed):
                left = math.inf
            yield max(0.0, left) - needed, attempt

    def stands_still(self, file: Path) -> int:
        """Say in how many looks in a row the worker's note has not changed; 0 where there is none.

        Looks are counted, not seconds: a driver that was stopped itself must not blame its workers.
        """
        try:
            note: int | None = file.stat().st_mtime_ns
        except OSError:
            note = None
        self.looks = self.looks + 1 if note is not None and note == self.note else 0
        self.note = note
        return self.looks

    def has_suspect(self) -> bool:
        """Say whether it works on a shard that another worker died of."""
        return any(attempt.suspect for _, attempt in self.queue)
