"""What a process and all that it starts use: processor time and memory."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

import psutil


class ProcessTree:
    """Watches a process and its descendants while they live; a context.

    `seconds` is the processor time of all of them, `peak` the most memory at one moment, in bytes:
    the proportional set size, in which pages that several share count once. What a process does
    after the last look at it is missed: a `pause` at most.
    """

    def __init__(self, root: int, pause: float = 0.25) -> None:
        self._root = psutil.Process(root)
        self._pause = pause
        self._seconds: dict[psutil.Process, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0

    @property
    def seconds(self) -> float:
        """Return the processor time of all processes that were seen, until now."""
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
            with contextlib.suppress(psutil.Error):
                family = [self._root, *self._root.children(recursive=True)]
                self.peak = max(self.peak, sum(map(self._look_at, family)))

    def _look_at(self, process: psutil.Process) -> int:
        """Note a process's time, and return its memory; 0 where it has just ended."""
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            self._seconds[process] = times.user + times.system
            return int(process.memory_full_info().pss)
        return 0
