"""batchscan itself, as a user runs it: `batchscan run ARCHIVE --out OUT`, nothing set.

The race starts that command directly (see `benchmarks/race/contenders.py`); its marks are the parts
that it commits. As a program of its own this file is the same thing.
"""

from __future__ import annotations

import os
import sys

from benchmarks.race.task import Task, read_task


def command(task: Task) -> list[str]:
    """Return the command line; the model is that of the task, which is the shipped one."""
    program = [sys.executable, "-m", "batchscan", "run", str(task.archive)]
    return [*program, "--out", str(task.out), "--model", str(task.model)]


if __name__ == "__main__":
    line = command(read_task())
    os.execv(line[0], line)
