"""Who watches a run, and what there is to tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class WorkerFacts:
    """Where a worker runs and what its network runs on."""

    host: str
    process: int
    provider: str
    warning: str | None = None


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard; `bytes` are those of its images that could be read whole.

    `seconds` are those that its worker has spent since the one before, by stage; with `--profile`.
    """

    images: int
    failed: int
    skipped: int = 0
    bytes: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


def at_least(expected: int | None, seen: int) -> int | None:
    """Correct an estimate of images that was too low: it counts names, and opens no container."""
    return None if expected is None else max(expected, seen)


class Observer(Protocol):
    """Whoever wants to know how a run goes."""

    def worker_ready(self, facts: WorkerFacts) -> None:
        """A worker has loaded the model."""

    def worker_lost(self) -> None:
        """A worker died; another is started where there is room."""

    def shard_done(self, report: ShardReport) -> None:
        """A shard's part is committed."""

    def notice(self, text: str, kind: str = "notice") -> None:
        """Something happened that a person should know now; its kind names it for machines."""

    def tick(self) -> None:
        """Called about once a second while the run lasts."""


class Progress(Observer):
    """An observer that also learns how much there is; this one says nothing."""

    def expect(self, images: int) -> None:
        """About this many images are in the archive."""

    def kept(self, images: int) -> None:
        """So many images are finished from earlier runs."""

    def worker_ready(self, facts: WorkerFacts) -> None:
        """A worker has loaded the model."""

    def worker_lost(self) -> None:
        """A worker died; another is started where there is room."""

    def shard_done(self, report: ShardReport) -> None:
        """A shard's part is committed."""

    def notice(self, text: str, kind: str = "notice") -> None:
        """Something happened that a person should know now; its kind names it for machines."""

    def tick(self) -> None:
        """Called about once a second while the run lasts."""

    def close(self) -> None:
        """The scoring is over, or was interrupted."""
