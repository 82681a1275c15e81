"""How far a run is, for whoever asks from another shell: written by the run, read by anyone."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchscan.errors import BatchscanError, UsageError
from batchscan.results.result import read_footer
from batchscan.run.observer import Progress, ShardReport, at_least
from batchscan.run.workspace import STATE, STATUS
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import write_object
from batchscan.storage.place import is_there, opened
from batchscan.terminal.text import printable

_SECONDS = 5.0
_SECONDS_ON_STORE = 30.0
_SILENT_SECONDS = 120.0  # A run on a store that has said nothing for so long is taken for dead.


@dataclass(frozen=True)
class RunStatus:
    """How far a run is. `state` is `running`, `interrupted` or `finished`.

    `done` counts the images of this run, `kept` those that an earlier one has finished, `expected`
    about how many there are (None while unknown). Times are in UTC; `owner` says which process.
    """

    state: str
    out: str
    started: str | None = None
    updated: str | None = None
    done: int = 0
    failed: int = 0
    kept: int = 0
    expected: int | None = None
    images_per_second: float | None = None
    owner: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        return asdict(self)


class StatusFile(Progress):
    """Writes the numbers of a run into its working folder, every few seconds."""

    def __init__(self, folder: Location, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = folder / STATUS
        self._clock = clock
        self._start = clock()
        self._next = self._start
        self._expected: int | None = None
        self._kept = self._done = self._failed = 0

    def expect(self, images: int) -> None:
        """Note the total."""
        self._expected = images

    def kept(self, images: int) -> None:
        """Count what an earlier run has finished."""
        self._kept += images

    def shard_done(self, report: ShardReport) -> None:
        """Count."""
        self._done += report.images
        self._failed += report.failed

    def tick(self) -> None:
        """Write, when the time has come. A run does not fail because of it."""
        if self._clock() < self._next:
            return
        remote = isinstance(self._file, Uri)
        self._next = self._clock() + (_SECONDS_ON_STORE if remote else _SECONDS)
        with contextlib.suppress(OSError, BatchscanError):
            _write(self._file, json.dumps(self._numbers()).encode())

    def _numbers(self) -> dict[str, Any]:
        seconds = max(self._clock() - self._start, 1e-9)
        return {
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            "done": self._done,
            "failed": self._failed,
            "kept": self._kept,
            "expected": at_least(self._expected, self._kept + self._done),
            "images_per_second": round(self._done / seconds, 2),
        }


def _write(file: Location, content: bytes) -> None:
    if isinstance(file, Uri):
        write_object(file, content)
        return
    temporary = file.with_name(f"{STATUS}.tmp")
    temporary.write_bytes(content)
    temporary.replace(file)


def read_status(out: Location) -> RunStatus:
    """Return how far the run is that writes a result. Raises `UsageError` where there is none."""
    place = out if isinstance(out, Uri) else Path(os.path.realpath(out))
    folder = place.with_name(place.name + ".work")
    run = _read(folder / STATE)
    if run is not None:
        numbers = _read(folder / STATUS) or {}
        owner = None if isinstance(folder, Uri) else _owner(folder / "lock")
        alive = _is_fresh(numbers) if isinstance(folder, Uri) else owner is not None
        state = "running" if alive else "interrupted"
        return RunStatus(state, str(out), started=run.get("started"), owner=owner, **numbers)
    if not is_there(place):
        raise UsageError(
            f"{out}: expected a result, or a run that writes one, found neither; check the path"
        )
    footer = read_footer(place)
    counts = footer.get("counts", {})
    return RunStatus(
        "finished",
        str(out),
        started=footer.get("started"),
        updated=footer.get("finished"),
        done=counts.get("found", 0),
        failed=sum(counts.get("failed", {}).values()),
        expected=counts.get("found"),
    )


def _read(file: Location) -> dict[str, Any] | None:
    """Read a JSON record; None where there is none, or a damaged one."""
    try:
        with opened(file) as stream:
            found = json.loads(stream.read())
    except (FileNotFoundError, ValueError):
        return None
    except PermissionError as error:
        raise UsageError(
            f"{file}: this account may not read it; ask as the account that runs the scan"
        ) from error
    return found if isinstance(found, dict) else None


def _owner(lock: Path) -> str | None:
    """Return who holds a lock; None if nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
    finally:
        os.close(descriptor)
    return None


def _is_fresh(numbers: dict[str, Any]) -> bool:
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(numbers["updated"])
    except (KeyError, ValueError, TypeError):
        return False
    return age.total_seconds() < _SILENT_SECONDS


def render_status(status: RunStatus) -> str:
    """Render a status for a terminal."""
    of = "" if status.expected is None else f" of about {status.expected:,}"
    lines = [f"{status.state}: {printable(status.out)}"]
    if status.state == "finished":
        lines.append(f"  images     {status.done:,}, {status.failed:,} failed")
        lines.append(f"  finished   {status.updated}")
        return "\n".join(lines)
    lines.append(f"  images     {status.done + status.kept:,}{of}, {status.failed:,} failed")
    if status.images_per_second is not None:
        lines.append(f"  rate       {status.images_per_second:.1f} images/s")
    lines.append(f"  started    {status.started}")
    lines.append(f"  last word  {status.updated or 'none yet'}")
    if status.owner:
        lines.append(f"  process    {printable(status.owner)}")
    if status.state == "interrupted":
        lines.append("  what is finished is kept: run the same command again to go on")
    return "\n".join(lines)
