"""Workers as the driver sees them: what each has in its hands, and since when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .attempts import Attempt

_STRAGGLING_SECONDS = 5.0  # A shard in work for less is never given to a second worker.
_STRAGGLING_TIMES = 2.0  # So many times as long as its images usually take, and it is.


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
        return attempt, seconds

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


class Pace:
    """How long images take: the mean of all shards so far."""

    def __init__(self) -> None:
        self._images = 0
        self._seconds = 0.0

    def add(self, images: int, seconds: float) -> None:
        """Take note of a finished shard."""
        self._images += images
        self._seconds += seconds

    def is_late(self, attempt: Attempt, seconds: float) -> bool:
        """Say whether a shard that has been in work for so many seconds is unusually long at it."""
        usual = self._seconds / max(self._images, 1) * len(attempt.shard.images)
        limit = max(_STRAGGLING_SECONDS, _STRAGGLING_TIMES * usual)
        return seconds > limit
