"""What a process and all that it starts use: processor time and memory, from /proc (see proc(5))."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM = 1, 11, 12  # Fields of /proc/PID/stat, counted behind the name.


@dataclass(frozen=True)
class _Stat:
    """A process as it is seen once: seconds of processor time, and when it was started."""

    parent: int
    seconds: float
    born: int


class ProcessTree:
    """Watches a process and its descendants while they live; a context.

    `seconds` is the processor time of all of them, `peak` the most memory at one moment, in bytes:
    the proportional set size, in which pages that several share count once. What a process does
    after the last look at it is missed: a `pause` at most.
    """

    def __init__(self, root: int, pause: float = 0.2) -> None:
        self._root = root
        self._pause = pause
        self._seconds: dict[tuple[int, int], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0

    @property
    def seconds(self) -> float:
        return sum(self._seconds.values())

    def __enter__(self) -> ProcessTree:
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

    def _watch(self) -> None:
        while not self._over.wait(self._pause):
            self.look()

    def look(self) -> None:
        """Take in what is there now."""
        found = {int(place.name): _stat(place) for place in Path("/proc").glob("[0-9]*")}
        family = _family(self._root, {pid: stat for pid, stat in found.items() if stat})
        for pid, stat in family.items():
            self._seconds[pid, stat.born] = stat.seconds
        self.peak = max(self.peak, sum(map(_memory, family)))


def _family(root: int, found: dict[int, _Stat]) -> dict[int, _Stat]:
    """Return a process and its descendants, those whose parents have died included if seen."""
    family = {root} & found.keys()
    grown = True
    while grown:
        children = {pid for pid, stat in found.items() if stat.parent in family} - family
        family |= children
        grown = bool(children)
    return {pid: found[pid] for pid in family}


def _stat(place: Path) -> _Stat | None:
    with contextlib.suppress(OSError, IndexError):
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[_USER]) + int(fields[_SYSTEM])
        return _Stat(int(fields[_PARENT]), ticks / _TICKS, int(fields[19]))
    return None


def _memory(pid: int) -> int:
    """Return a process's proportional set size in bytes; 0 where it has just ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
