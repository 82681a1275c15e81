"""A run as events for machines: one JSON object a line, on standard error."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from batchscan.run.observer import Progress, ShardReport, WorkerFacts, at_least

PROGRESS_SECONDS = 10.0


def write_event(stream: TextIO, event: str, **fields: Any) -> None:
    """Write an event: its name and time (UTC), and what there is to say of it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"time": now, "event": event, **fields}), file=stream, flush=True)


class EventProgress(Progress):
    """Tells the course of a run: `worker_started`, `progress`, and the kinds of notices.

    `progress` comes every ten seconds, with images done, failed and skipped in this run, those that
    an earlier run has finished (`kept`), all that are expected (null while unknown), images per
    second, and seconds left.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._start = clock()
        self._next = self._start + PROGRESS_SECONDS
        self._expected: int | None = None
        self._kept = self._done = self._failed = self._skipped = 0

    def expect(self, images: int) -> None:
        """Tell the total and the time left from now on."""
        self._expected = images

    def kept(self, images: int) -> None:
        """Count what an earlier run has finished."""
        self._kept += images

    def worker_ready(self, facts: WorkerFacts) -> None:
        """Tell of a worker."""
        fields = {"host": facts.host, "process": facts.process, "provider": facts.provider}
        write_event(self._stream, "worker_started", **fields)

    def shard_done(self, report: ShardReport) -> None:
        """Count."""
        self._done += report.images
        self._failed += report.failed
        self._skipped += report.skipped

    def notice(self, text: str, kind: str = "notice") -> None:
        """Tell what a person should know, under the name of its kind."""
        write_event(self._stream, kind, text=text)

    def tick(self) -> None:
        """Tell how far the run is, when the time has come."""
        if self._clock() >= self._next:
            self._next = self._clock() + PROGRESS_SECONDS
            self._tell()

    def close(self) -> None:
        """Tell how far the run came."""
        self._tell()

    def _tell(self) -> None:
        rate = self._done / max(self._clock() - self._start, 1e-9)
        left = None
        if self._expected is not None and rate > 0:
            left = round(max(self._expected - self._kept - self._done, 0) / rate)
        write_event(
            self._stream,
            "progress",
            done=self._done,
            failed=self._failed,
            skipped=self._skipped,
            kept=self._kept,
            expected=at_least(self._expected, self._kept + self._done),
            images_per_second=round(rate, 2),
            seconds_left=left,
        )
