"""Faults on demand: Python imports this in every process that has its folder on PYTHONPATH.

The environment says what happens when a process opens a file whose path matches a pattern:

- FAULT_HOLD: it leaves a note `held-<pid>` (the parent's pid is in it) in the folder FAULT_NOTES,
  and waits until a file `release` stands there. So a test has all the time it wants to do harm.
- FAULT_KILL: the process dies at once, as a decoder that crashes makes it die.

Nothing of the product knows of this; it sees the operating system's events from outside.
"""

import os
import signal
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path

_NOTES = Path(os.environ.get("FAULT_NOTES", ""))
_HOLD = os.environ.get("FAULT_HOLD", "")
_KILL = os.environ.get("FAULT_KILL", "")


def _on_event(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or not isinstance(arguments[0], str):
        return
    if fnmatchcase(arguments[0], _KILL):
        os.kill(os.getpid(), signal.SIGKILL)
    if fnmatchcase(arguments[0], _HOLD):
        _hold()


def _hold() -> None:
    release = _NOTES / "release"
    if release.exists():
        return
    note = _NOTES / f"held-{os.getpid()}"
    temporary = note.with_suffix(".tmp")
    temporary.write_text(str(os.getppid()))
    temporary.rename(note)
    while not release.exists():
        time.sleep(0.02)


if _HOLD or _KILL:
    sys.addaudithook(_on_event)
