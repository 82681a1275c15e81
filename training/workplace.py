"""The working folder of a training run: what is finished stays there until the bundle is written.

.model.training/         beside the bundle `model/`; removed when that is there
├── lock                 held by the run at work, as long as its process lives
├── plan.json            what the run does; another plan begins anew
├── pixels.raw, ...      decoded images
├── fold-1/, ..., final/ one folder for each training: its state after the last epoch, or
│                        its network as ONNX when it is finished
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchscan.errors import OutputInUse, UsageError
from batchscan.results.disk import replace_durably
from training.progress import say

PLAN, LOCK = "plan.json", "lock"


@contextmanager
def open_workplace(out: Path) -> Iterator[Path]:
    """Yield the working folder for a bundle at `out`, locked; remove it if nothing is in it.

    What an earlier run has left in it is still there. Raises `OutputInUse` while another process
    holds it, `UsageError` when it cannot be made.
    """
    place = out.with_name(f".{out.name}.training")
    lock = _open_lock(place)
    try:
        _claim(lock, place)
        try:
            yield place
        finally:
            if place.exists() and {entry.name for entry in place.iterdir()} <= {LOCK}:
                remove(place)
    finally:
        os.close(lock)


def remove(place: Path) -> None:
    """Remove the working folder, when all that it was for is done."""
    shutil.rmtree(place, ignore_errors=True)


def begin(place: Path, plan: Mapping[str, Any]) -> None:
    """Keep the trainings in the folder if they were begun with the same plan, else remove them."""
    text = json.dumps(plan, indent=2, sort_keys=True)
    path = place / PLAN
    if path.exists() and path.read_text() == text:
        say("going on with what an interrupted run has left")
        return
    path.unlink(missing_ok=True)  # first, lest it vouch for trainings that are half removed
    trainings = [entry for entry in place.iterdir() if entry.is_dir()]
    if trainings:
        say("an interrupted run with other options or other data was here: starting anew")
    for training in trainings:
        shutil.rmtree(training)
    partial = place / "plan.partial"
    partial.write_text(text)
    replace_durably(partial, path)


def _open_lock(place: Path) -> int:
    try:
        place.mkdir(exist_ok=True)
        return os.open(place / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as problem:
        raise UsageError(
            f"{place}: the working folder cannot be made ({problem.strerror}); choose an --out in "
            "a folder that can be written"
        ) from problem


def _claim(lock: int, place: Path) -> None:
    message = (
        f"{place}: another training for the same --out is at work there; wait for it, or choose "
        "another --out"
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        raise OutputInUse(message) from problem
    if os.fstat(lock).st_nlink == 0:  # its owner has finished and removed it in between
        raise OutputInUse(message)
