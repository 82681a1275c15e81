"""The installed command as a process of its own, with faults on demand."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from conftest import encode, picture

COMMAND = (sys.executable, "-m", "batchscan")
PATIENCE = 120.0
"""Seconds after which something that should happen counts as never happening."""

HOOKS = Path(__file__).parent / "faults"

Found = TypeVar("Found")


def run_command(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    command: tuple[str, ...] = COMMAND,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `batchscan` with these arguments to its end; `env` replaces the whole environment."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def the_error(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Check that a command ended with this code and one line of error, and return the line."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("batchscan: warning")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("batchscan: error: ")
    return lines[0]


def wait_for(condition: Callable[[], Found], what: str) -> Found:
    """Wait until the condition is true, and return its value."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"in vain: waited for {what}"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Faults:
    """What is to happen to processes that open files; `tests/faults` makes it happen."""

    notes: Path
    hold: str = ""
    kill: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that arrange it, beside PYTHONPATH."""
        self.notes.mkdir(exist_ok=True)
        return {
            "PYTHONPATH": os.pathsep.join([str(HOOKS), os.environ.get("PYTHONPATH", "")]),
            "FAULT_NOTES": str(self.notes),
            "FAULT_HOLD": self.hold,
            "FAULT_KILL": self.kill,
        }

    def held(self) -> dict[int, int]:
        """Return the processes that have been held so far, with their parents."""
        notes = self.notes.glob("held-*[0-9]")
        return {int(note.name.removeprefix("held-")): int(note.read_text()) for note in notes}

    def wait_for_held(self, count: int = 1) -> dict[int, int]:
        """Wait until so many processes are held."""
        wait_for(lambda: len(self.held()) >= count, f"{count} processes at {self.hold}")
        return self.held()

    def release(self) -> None:
        """Let all go on, and hold none any more."""
        (self.notes / "release").touch()


class Running:
    """A `batchscan` that is at work. Its output goes to files, so that it never waits for us."""

    def __init__(self, folder: Path, arguments: tuple[object, ...], env: Mapping[str, str]) -> None:
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """What it has said beside its output so far."""
        return self._err.read_text()

    def family(self) -> list[psutil.Process]:
        """Return all processes that it has started, and theirs."""
        return psutil.Process(self.pid).children(recursive=True)

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        code = self.process.wait(PATIENCE)
        return subprocess.CompletedProcess(self.process.args, code, self.stdout, self.stderr)

    def says(self, pattern: str) -> str:
        """Wait until it says something on standard error that matches."""
        match = wait_for(
            lambda: self.process.poll() is not None or re.search(pattern, self.stderr), pattern
        )
        assert isinstance(match, re.Match), f"ended without saying {pattern}:\n{self.stderr}"
        return match.group()


@contextlib.contextmanager
def running(
    folder: Path, *arguments: object, faults: Faults | None = None, **env: str
) -> Iterator[Running]:
    """Start `batchscan` in the background; whatever is left of it at the end is killed."""
    folder.mkdir(exist_ok=True)
    started = Running(
        folder, arguments, {**os.environ, **(faults.environment if faults else {}), **env}
    )
    family: list[psutil.Process] = []
    try:
        yield started
        if started.process.poll() is None:
            family = started.family()
    finally:
        if started.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = family or started.family()
            started.process.send_signal(signal.SIGKILL)
            started.process.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def all_gone(processes: list[psutil.Process]) -> None:
    """Wait until none of these processes is left."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not alive, [" ".join(process.cmdline()) for process in alive]


def draw_images(folder: Path, count: int) -> Path:
    """Draw `count` JPEG and PNG files in two class folders."""
    for number in range(count):
        name = "PNEUMONIA" if number % 2 else "NORMAL"
        format = "png" if number % 3 == 0 else "jpeg"
        mean = 60 + (number * 37) % 140
        file = folder / name / f"{number:03d}.{format}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(picture(mean=mean, seed=number), format))
    return folder


def assert_same_rows(left: Path | pa.Table, right: Path | pa.Table) -> None:
    """Check that two results are equal, column by column, scores bit by bit."""
    first, second = (
        table if isinstance(table, pa.Table) else pq.read_table(table) for table in (left, right)
    )
    assert first.schema.equals(second.schema)
    for name in first.column_names:
        assert first[name].equals(second[name]), name
    bits = [table["score"].fill_null(-1).to_numpy().view(np.uint32) for table in (first, second)]
    assert np.array_equal(*bits)
