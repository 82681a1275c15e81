"""How a running scan shows itself: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

from tqdm import tqdm

from batchscan.run.events import EventProgress
from batchscan.run.observer import Progress, ShardReport, WorkerFacts

LINE_SECONDS = 30.0
_BAR = (
    "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} images "
    "[{elapsed}<{remaining}, {rate_fmt}{postfix}]"
)


LOG_FORMATS = ("text", "json")


def open_progress(stream: TextIO | None = None, log_format: str = "text") -> Progress:
    """Choose the display that suits where standard error goes, or events for machines."""
    stream = stream or sys.stderr
    if log_format == "json":
        return EventProgress(stream)
    return BarProgress(stream) if stream.isatty() and _has_width(stream) else LineProgress(stream)


def _has_width(stream: TextIO) -> bool:
    """Say whether a bar fits: some terminals (containers, CI) claim to have no columns at all."""
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):
        return True


class BarProgress(Progress):
    """A bar: images done, images per second, failed, time left."""

    def __init__(self, stream: TextIO) -> None:
        self._bar = tqdm(
            unit=" images",
            file=stream,
            dynamic_ncols=True,
            smoothing=0.1,
            leave=False,
        )
        self._expected: int | None = None
        self._kept = 0
        self._failed = 0

    def expect(self, images: int) -> None:
        """Show a fraction and the time left from now on."""
        self._expected = images

    def kept(self, images: int) -> None:
        """Leave finished images out of what is to do."""
        self._kept += images

    def shard_done(self, report: ShardReport) -> None:
        """Move the bar."""
        self._failed += report.failed
        self._bar.set_postfix_str(f"{self._failed:,} failed", refresh=False)
        self._bar.update(report.images)

    def notice(self, text: str, kind: str = "notice") -> None:  # noqa: ARG002
        """Print a line above the bar."""
        self._bar.write(f"batchscan: {text}", file=self._bar.fp)

    def tick(self) -> None:
        """Show that the run is alive, also while no shard ends."""
        if self._expected is not None:
            total = max(self._expected - self._kept, self._bar.n)
            self._bar.bar_format = _BAR if total else f"{self._kept:,} images, none of them new"
            self._bar.total = total
        self._bar.refresh()

    def close(self) -> None:
        """Take the bar away; the summary follows."""
        self._bar.close()


class LineProgress(Progress):
    """A plain line every half minute, for logs."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._start = clock()
        self._next_line = self._start + LINE_SECONDS
        self._expected: int | None = None
        self._kept = self._done = self._failed = 0

    def expect(self, images: int) -> None:
        """Show the total and the time left from now on."""
        self._expected = images

    def kept(self, images: int) -> None:
        """Leave finished images out of what is to do."""
        self._kept += images

    def shard_done(self, report: ShardReport) -> None:
        """Count."""
        self._done += report.images
        self._failed += report.failed

    def notice(self, text: str, kind: str = "notice") -> None:  # noqa: ARG002
        """Print a line of its own."""
        print(f"batchscan: {text}", file=self._stream, flush=True)

    def tick(self) -> None:
        """Print the line when its time has come."""
        if self._clock() >= self._next_line:
            self._next_line = self._clock() + LINE_SECONDS
            self.notice(self._line())

    def _line(self) -> str:
        rate = self._done / max(self._clock() - self._start, 1e-9)
        text = f"{self._done:,} images"
        if self._expected is not None:
            total = max(self._expected - self._kept, self._done)
            text = f"{self._done:,} of about {total:,} images"
        text += f", {self._failed:,} failed, {rate:.1f} images/s"
        if self._expected is not None and rate > 0:
            left = timedelta(seconds=round((total - self._done) / rate))
            text += f", about {left} left"
        return text


class SharedProgress(Progress):
    """Passes everything on to several."""

    def __init__(self, *each: Progress) -> None:
        self._each = each

    def expect(self, images: int) -> None:
        """Pass on."""
        for one in self._each:
            one.expect(images)

    def kept(self, images: int) -> None:
        """Pass on."""
        for one in self._each:
            one.kept(images)

    def worker_ready(self, facts: WorkerFacts) -> None:
        """Pass on."""
        for one in self._each:
            one.worker_ready(facts)

    def worker_lost(self) -> None:
        """Pass on."""
        for one in self._each:
            one.worker_lost()

    def shard_done(self, report: ShardReport) -> None:
        """Pass on."""
        for one in self._each:
            one.shard_done(report)

    def notice(self, text: str, kind: str = "notice") -> None:
        """Pass on."""
        for one in self._each:
            one.notice(text, kind)

    def tick(self) -> None:
        """Pass on."""
        for one in self._each:
            one.tick()

    def close(self) -> None:
        """Pass on."""
        for one in self._each:
            one.close()
