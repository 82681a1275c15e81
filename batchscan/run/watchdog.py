"""Ends a process in which an image takes too long: nothing else can interrupt a decoder in C."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from batchscan.container.pace import steps_of
from batchscan.run.desk import Desk, Work

_TICKS = 4  # How often, at least, an image is seen in work before it is late.
_LONGEST_TICK = 1.0


@dataclass(frozen=True)
class _Look:
    """How often an image was seen in work, and how far its container had been gone through."""

    count: int
    step: int | None


def _look(work: Work, before: _Look | None) -> _Look:
    """Look once more; time in which a container is passed through is not the image's."""
    step = steps_of(work.thread)
    if before is None or before.step != step:
        return _Look(0, step)
    return _Look(before.count + 1, step)


class Watchdog:
    """Looks at a desk again and again while its shard is read and decoded; a context.

    An image's time is counted in looks at it, not by a clock: while the process is stopped, or the
    machine asleep, nobody looks and no time passes. A decoder that keeps Python's lock (the GIL)
    stops the looking, too; then the timer of `faulthandler`, which needs no lock, ends the process
    and writes into `note`. Without a `note` there is no such timer.
    """

    def __init__(
        self, desk: Desk, seconds: float, end: Callable[[Work], None], note: Path | None = None
    ) -> None:
        self._desk = desk
        self._seconds = seconds
        self._end = end
        self._note = note
        self._stream: io.FileIO | None = None
        self._tick = min(_LONGEST_TICK, seconds / _TICKS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def __enter__(self) -> Watchdog:
        if self._note is not None:
            with contextlib.suppress(OSError):
                self._stream = io.FileIO(self._note, "a", opener=_open_note)
        self._wind()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._stream is not None:
            faulthandler.cancel_dump_traceback_later()
            self._stream.close()

    def _watch(self) -> None:
        looks: dict[Work, _Look] = {}
        while not self._over.wait(self._tick):
            self._wind()
            looks = {work: _look(work, looks.get(work)) for work in self._desk.works()}
            for work, look in looks.items():
                if look.count * self._tick >= self._seconds:
                    self._end(work)

    def _wind(self) -> None:
        """Wind up the timer that goes off when nobody does so again in time."""
        if self._stream is not None:
            faulthandler.dump_traceback_later(
                self._seconds + self._tick, file=self._stream, exit=True
            )


def _open_note(path: str, flags: int) -> int:
    """Open a note as `Desk` does: it may lie in a folder where others can plant links."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
