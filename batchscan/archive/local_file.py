"""Files of the local file system: how they are opened, and what is known of them.

Containers reach their bytes through `open_seekable` and `state_of` alone, which take objects on a
store as well.
"""

from __future__ import annotations

import errno
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from batchscan.storage.location import Uri

_AHEAD = 1 << 20  # Bytes: a request to a store takes as long as the transfer of many more.


@dataclass(frozen=True)
class FileState:
    """What the file system says of a file: size in bytes, time in microseconds since 1970, UTC."""

    bytes: int
    modified: int


def state_of(file: str | Uri) -> FileState:
    """Return a file's size and time of modification; raises `OSError`."""
    if isinstance(file, str):
        return as_state(Path(file).stat())
    from batchscan.storage.objects import object_state

    state = object_state(file)
    if state is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    return state


def as_state(status: os.stat_result) -> FileState:
    """Return the part of a file's status that tells whether it is unchanged."""
    return FileState(status.st_size, status.st_mtime_ns // 1000)


def open_seekable(file: str | Uri) -> BinaryIO:
    """Open a file for reading at any place; raises `OSError`."""
    if isinstance(file, str):
        return open(file, "rb", opener=open_at_once)
    from batchscan.storage.objects import open_object

    return cast(BinaryIO, io.BufferedReader(open_object(file), _AHEAD))


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end, should the file have become a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
