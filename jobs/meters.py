"""What Prometheus can read of a scan: how much is done, how fast, and what went wrong.

Ray hands the figures to the agent of the driver's node. Where `ray[default]` is installed, that
offers them at the node's metrics port, with `ray_` before their names and `_total` behind those of
counters; see Ray's "Collecting and monitoring metrics". Each run is a series of its own, told apart
by Ray's label `WorkerId`; no label says which archive or output it is of.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from batchscan.run.observer import Observer, ShardReport, WorkerFacts


class Meters(Observer):
    """Counts what happens, and passes everything on to another observer."""

    def __init__(self, observer: Observer, clock: Callable[[], float] = time.monotonic) -> None:
        from ray.util.metrics import Counter, Gauge

        self._observer = observer
        self._clock = clock
        self._start = clock()
        self._done = 0
        self._scored = Counter("batchscan_images_scored", "Images that got a score.")
        self._failed = Counter("batchscan_images_failed", "Images that could not be scored.")
        self._skipped = Counter("batchscan_images_skipped", "Images that should not be scored.")
        self._bytes = Counter("batchscan_bytes_read", "Bytes of the images that were read.")
        self._started = Counter("batchscan_workers_started", "Workers that loaded the model.")
        self._restarts = Counter("batchscan_worker_restarts", "Workers that died, to be replaced.")
        self._rate = Gauge("batchscan_images_per_second", "Images per second of this run so far.")

    def worker_ready(self, facts: WorkerFacts) -> None:
        """Count a worker."""
        self._started.inc()
        self._observer.worker_ready(facts)

    def worker_lost(self) -> None:
        """Count a worker that has to be replaced."""
        self._restarts.inc()
        self._observer.worker_lost()

    def shard_done(self, report: ShardReport) -> None:
        """Count the images of a shard."""
        scored = report.images - report.failed - report.skipped
        for counter, count in (
            (self._scored, scored),
            (self._failed, report.failed),
            (self._skipped, report.skipped),
            (self._bytes, report.bytes),
        ):
            if count:
                counter.inc(count)
        self._done += report.images
        self._observer.shard_done(report)

    def notice(self, text: str, kind: str = "notice") -> None:
        """Pass on."""
        self._observer.notice(text, kind)

    def tick(self) -> None:
        """Take the rate; Ray forgets it by itself when the run has ended."""
        self._rate.set(self._done / max(self._clock() - self._start, 1e-9))
        self._observer.tick()
