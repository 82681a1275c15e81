"""Paths longer than the operating system takes in one piece (4,095 bytes on Linux)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_LONGEST = 4095  # PATH_MAX of Linux (limits.h), less the byte that ends the name.
_ALWAYS_FITS = _LONGEST // 4  # Signs; none has more than four bytes.


@contextlib.contextmanager
def reachable(path: str) -> Iterator[str]:
    """Yield a name by which the system finds an absolute path, however long that is; a context.

    A long one is opened folder by folder, and named by the number of the last folder. Raises
    `OSError` where a folder on the way cannot be passed.
    """
    if len(path) <= _ALWAYS_FITS or len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    folder, name = os.path.split(path)
    place = os.open("/", os.O_PATH)
    try:
        for part in filter(None, folder.split("/")):
            following = os.open(part, os.O_PATH | os.O_DIRECTORY, dir_fd=place)
            os.close(place)
            place = following
        yield f"/proc/self/fd/{place}/{name}"
    finally:
        os.close(place)
