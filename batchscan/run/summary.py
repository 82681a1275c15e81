"""What is left to say when a scan is over."""

from __future__ import annotations

from dataclasses import dataclass

from batchscan.archive.notes import ListingNotes
from batchscan.metrics.measure import MetricsReport
from batchscan.results.result import Counts
from batchscan.run.stopwatch import Profile
from batchscan.storage.location import Location


@dataclass(frozen=True)
class ScanSummary:
    """What a scan did, and what its result holds; `threshold` is None for more than two classes."""

    out: Location
    metrics_out: Location | None
    model: str
    threshold: float | None
    counts: Counts
    scored_now: int
    unchanged: int
    dropped: int
    seconds: float
    notes: ListingNotes
    unmatched_labels: tuple[int, tuple[str, ...]]
    classes: tuple[str, ...]
    metrics: MetricsReport | None
    too_many_failures: bool
    precision: str = "fp32"
    profile: Profile | None = None
