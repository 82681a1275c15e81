"""What a run has done so far, on the way from its workers to the progress display."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from batchscan.run.observer import Progress, ShardReport, WorkerFacts
from batchscan.run.plan import PlanCounts
from batchscan.signals import check_signals


@dataclass
class Tally:
    """Passes everything on to the progress display, and remembers what the summary needs."""

    progress: Progress
    plan: PlanCounts
    scored_now: int = 0
    kept_shown: int = 0
    providers: set[str] = field(default_factory=set)
    images: int = 0
    first_part: float | None = None
    seconds: Counter[str] = field(default_factory=Counter)

    def worker_ready(self, facts: WorkerFacts) -> None:
        """A worker has loaded the model."""
        self.providers.add(facts.provider)
        self.progress.worker_ready(facts)

    def worker_lost(self) -> None:
        """A worker died."""
        self.progress.worker_lost()

    def shard_done(self, report: ShardReport) -> None:
        """A shard's part is committed."""
        if self.first_part is None:
            self.first_part = time.monotonic()
        self.images += report.images
        self.seconds.update(report.seconds)
        self.scored_now += report.images - report.failed - report.skipped
        self.progress.shard_done(report)

    def notice(self, text: str, kind: str = "notice") -> None:
        """Something happened that a person should know now."""
        self.progress.notice(text, kind)

    def tick(self) -> None:
        """Called about once a second; also where a signal is heard."""
        self.progress.kept(self.plan.kept - self.kept_shown)
        self.kept_shown = self.plan.kept
        self.progress.tick()
        check_signals()
