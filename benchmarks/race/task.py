"""What a peer is given, and how it says how far it is.

A peer is a program: `python -m benchmarks.race.peers.NAME ARCHIVE OUT MODEL SIZE MARKS`. It scores
every image of the folder ARCHIVE with the network in the folder MODEL (`model.onnx`, `model.keras`)
and writes Parquet to OUT, a file or a folder of files: `path` (relative to the archive, absolute or
a `file:` address) and `score`, the probability of pneumonia. After each batch it appends a line to
the file MARKS. The network takes squares of SIZE pixels, grey levels from 0 to 255.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Task:
    """The arguments of a peer."""

    archive: Path
    out: Path
    model: Path
    size: int
    marks: Path

    def arguments(self) -> list[str]:
        """Return the arguments that `read_task` reads."""
        return [str(part) for part in (self.archive, self.out, self.model, self.size, self.marks)]


def read_task() -> Task:
    """Read the arguments of this process."""
    archive, out, model, size, marks = sys.argv[1:]
    return Task(Path(archive), Path(out), Path(model), int(size), Path(marks))


def image_files(archive: Path) -> list[str]:
    """List the images of an archive of the race: absolute paths, sorted."""
    return sorted(str(file) for file in archive.rglob("*.jpeg"))


def mark(marks: Path, images: int) -> None:
    """Note that so many more images are scored; any process of the peer may do so."""
    line = f"{time.time():.6f} {images}\n".encode()
    file = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)  # One call: lines of several processes do not mix.
    finally:
        os.close(file)
