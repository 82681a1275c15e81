"""One program at a time, with all that it starts: its time, its memory, and its end (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans become our children, so none is lost sight of.
_TICK = 0.05  # seconds
_MEMORY_EVERY = 5  # ticks


@dataclass(frozen=True)
class Ended:
    """How a program ended. `peak_bytes` is None where memory was not watched."""

    began: float  # seconds since 1970
    seconds: float
    exit_code: int
    hung: bool = False
    peak_bytes: int | None = None

    @property
    def problem(self) -> str | None:
        """What went wrong, in words; None if nothing did."""
        if self.hung:
            return f"hung: stopped after {self.seconds:.0f} s"
        return f"failed with exit code {self.exit_code}" if self.exit_code else None


def run_program(
    command: Sequence[str],
    *,
    log: Path,
    limit: float,
    environment: dict[str, str] | None = None,
    watch_memory: bool = False,
    grace: float = 10.0,
    each_tick: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a program to its end; after `limit` seconds it is killed with all that it started.

    Its output goes to the file `log`. The time is that until the program itself ends; helpers it
    leaves behind get `grace` seconds, and are killed then. Memory is the largest sum over all its
    processes of what each holds, shared pages counted in proportion (PSS), four times a second.
    """
    _take_orphans(True)
    others = set(psutil.Process().children())
    peak, ticks, hung = 0, 0, False
    with log.open("wb") as output:
        began = time.time()
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            while program.poll() is None and not hung:
                each_tick()
                if watch_memory and ticks % _MEMORY_EVERY == 0:
                    peak = max(peak, sum(map(_proportional_size, _tree(others))))
                ticks += 1
                hung = time.time() - began > limit
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.wait(_TICK)
            seconds = time.time() - began
            each_tick()
            _wait_until_gone(others, 0.0 if hung else grace)
        finally:
            _kill_tree(others)
            program.wait()
            _take_orphans(False)
    return Ended(began, seconds, program.returncode, hung, peak if watch_memory else None)


def _take_orphans(wanted: bool) -> None:
    """Say whether processes below this one whose parent has ended become children of this one."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _tree(others: set[psutil.Process]) -> list[psutil.Process]:
    """Find the program and all that it started, orphans included."""
    found = []
    for child in set(psutil.Process().children()) - others:
        found.append(child)
        with contextlib.suppress(psutil.NoSuchProcess):
            found += child.children(recursive=True)
    return found


def _proportional_size(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0  # It has ended, or is ending.


def _wait_until_gone(others: set[psutil.Process], seconds: float) -> None:
    deadline = time.time() + seconds
    while _living(others) and time.time() < deadline:
        time.sleep(_TICK)


def _kill_tree(others: set[psutil.Process]) -> None:
    """Kill until nothing is left: what is killed may just have started something else."""
    for _ in range(100):
        living = _living(others)
        if not living:
            return
        for process in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        time.sleep(_TICK)


def _living(others: set[psutil.Process]) -> list[psutil.Process]:
    """Return what still runs of the tree, and take leave of the orphans that have ended."""
    living = []
    for process in _tree(others):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
            elif process.ppid() == os.getpid():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
    return living
