"""Keeps libtiff from writing on standard error, where Pillow lets it report what is damaged."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

_MAPS = Path("/proc/self/maps")


@functools.cache
def silence_libtiff() -> None:
    """Take libtiff's error handler away, in the library that this process has loaded with Pillow.

    Pillow itself silences warnings alone. What was wrong still becomes an exception. Where there is
    no such library, because it is a part of Pillow's own, nothing is done: stray lines are all.
    """
    try:
        paths = {line.split(maxsplit=5)[-1] for line in _MAPS.read_text().splitlines()}
        for path in paths:
            if Path(path).name.startswith("libtiff"):
                library = ctypes.CDLL(path)
                library.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
                library.TIFFSetErrorHandler.restype = ctypes.c_void_p
                library.TIFFSetErrorHandler(None)
    except (OSError, AttributeError):
        return
