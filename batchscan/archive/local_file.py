"""Files of the local file system: how they are opened, and what is known of them.

Containers reach their bytes through `open_seekable` and `state_of` alone, so that another file
system can take the local one's place.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class FileState:
    """What the file system says of a file: size in bytes, time in microseconds since 1970, UTC."""

    bytes: int
    modified: int


def state_of(path: str) -> FileState:
    """Return a file's size and time of modification; raises `OSError`."""
    return as_state(Path(path).stat())


def as_state(status: os.stat_result) -> FileState:
    """Return the part of a file's status that tells whether it is unchanged."""
    return FileState(status.st_size, status.st_mtime_ns // 1000)


def open_seekable(path: str) -> BinaryIO:
    """Open a file for reading at any place; raises `OSError`."""
    return open(path, "rb", opener=open_at_once)


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end, should the file have become a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
