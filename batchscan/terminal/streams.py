"""Standard output and standard error that may be closed, or end on a full disk."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

from batchscan.errors import BatchscanError

_OUTPUT, _ERROR = 1, 2


def provide_streams() -> None:
    """Make both streams safe to write to, whatever a name holds and wherever they lead.

    Raises, on a later write to standard output that fails: `BatchscanError`.
    """
    _open_closed()
    sys.stdout = _text(_Output(_OUTPUT, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Messages(_ERROR, "wb", closefd=False), sys.stderr)


def _open_closed() -> None:
    """Open what a daemon has closed: else a result's file could get the number of an output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _text(file: io.FileIO, like: TextIO | None) -> TextIO:
    if like is not None:
        with contextlib.suppress(OSError):
            like.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=like.encoding if like is not None else None,
        errors="backslashreplace",
        line_buffering=True,
    )


class _Messages(io.FileIO):
    """Standard error. What cannot be written there is lost: a full log must not end a scan."""

    def write(self, data: Any) -> int:
        """Write, or act as if."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


class _Output(io.FileIO):
    """Standard output. The first time that it cannot be written is an error with its name."""

    _lost = False

    def write(self, data: Any) -> int:
        """Write; after an error, act as if: Python tries once more at the very end."""
        if self._lost:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self._lost = True
            if error.errno == errno.EPIPE:
                raise
            raise BatchscanError(
                f"standard output cannot be written ({error.strerror}); make room there, or lead "
                "it elsewhere; files that were written before are complete"
            ) from error
