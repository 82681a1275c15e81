"""What a run leaves behind for programs that watch it: events at its ends, and a summary file."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from batchscan.errors import BatchscanError, Interrupted, UsageError
from batchscan.results.disk import replace_durably
from batchscan.run.events import write_event
from batchscan.run.stopwatch import Profile
from batchscan.run.summary import ScanSummary
from batchscan.storage.location import Location
from batchscan.terminal.text import one_line
from batchscan.version import VERSION

SUMMARY_FORMAT = "batchscan-summary"
SUMMARY_VERSION = 1


class RunLog:
    """The beginning and the end of one run, told as text or as events, and written to a file.

    A context around the run; `summary` is set in it when the run is over. Errors go on their way.
    """

    def __init__(
        self, out: Location, *, fresh: bool, as_json: bool, summary_file: Path | None
    ) -> None:
        self.as_json = as_json
        self.summary: ScanSummary | None = None
        self._out = out
        self._fresh = fresh
        self._file = summary_file
        self._started = datetime.now(UTC)

    def __enter__(self) -> RunLog:
        if self._file is not None and not self._file.parent.is_dir():
            folder = one_line(str(self._file.parent))
            raise UsageError(f"{folder}: the folder for --summary does not exist; create it first")
        self._tell("started", out=str(self._out), batchscan=VERSION)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Interrupted):
            return  # Its last words are spoken.
        code = error.exit_code if isinstance(error, BatchscanError) else int(error is not None)
        text = str(error) if isinstance(error, BatchscanError) else type(error).__name__
        record = self._record(code, None if error is None else text)
        self._tell("finished", **record)
        self._write(record)

    def last_words(self, number: int) -> None:
        """Say that a signal ends the run, and how it goes on."""
        record = self._record(128 + number, f"interrupted by {signal.Signals(number).name}")
        if self.as_json:
            self._tell("interrupted", **record)
        else:
            again = "the same command without --fresh" if self._fresh else "the same command again"
            below_the_bar = "\n" if sys.stderr.isatty() else ""
            click.echo(
                f"{below_the_bar}batchscan: interrupted by {signal.Signals(number).name}; what is "
                f"finished is kept beside {one_line(str(self._out))}: run {again} to go on",
                err=True,
            )
        self._write(record)

    def _tell(self, event: str, **fields: Any) -> None:
        if self.as_json:
            write_event(sys.stderr, event, **fields)

    def _record(self, exit_code: int, error: str | None) -> dict[str, Any]:
        """Return what is known of the run; counts and outputs only if it got so far."""
        finished = datetime.now(UTC)
        record: dict[str, Any] = {
            "format": SUMMARY_FORMAT,
            "format_version": SUMMARY_VERSION,
            "batchscan": VERSION,
            "started": self._started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - self._started).total_seconds(), 3),
            "exit_code": exit_code,
            "error": error,
        }
        return record | (_of_summary(self.summary) if self.summary else {})

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is None:
            return
        temporary = self._file.with_name(f"{self._file.name}.tmp")
        try:
            temporary.write_text(json.dumps(record, indent=2) + "\n")
            replace_durably(temporary, self._file)
        except OSError as problem:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise BatchscanError(
                f"{self._file}: the summary cannot be written ({problem.strerror or problem}); "
                "make room there, or choose another --summary"
            ) from problem


def _of_summary(summary: ScanSummary) -> dict[str, Any]:
    rate = summary.scored_now / summary.seconds if summary.seconds else 0.0
    return {
        "model": summary.model,
        "precision": summary.precision,
        "threshold": summary.threshold,
        "counts": summary.counts.as_json(summary.classes),
        "scored_now": summary.scored_now,
        "unchanged": summary.unchanged,
        "dropped": summary.dropped,
        "not_read": summary.notes.not_read(),
        "images_per_second": round(rate, 2),
        "outputs": {
            "results": str(summary.out),
            "metrics": str(summary.metrics_out) if summary.metrics_out else None,
        },
    } | ({"profile": _of_profile(summary.profile)} if summary.profile else {})


def _of_profile(profile: Profile) -> dict[str, Any]:
    return {
        "workers": {name: round(seconds, 3) for name, seconds in profile.workers.items()},
        "driver": {name: round(seconds, 3) for name, seconds in profile.driver.items()},
        "images": profile.images,
        "first_part": None if profile.first_part is None else round(profile.first_part, 3),
        "jpeg_short_cut": profile.short_cut,
    }
