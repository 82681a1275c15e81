"""What a worker has in work, noted in a small file that outlives its process.

Before a thread opens an image it writes the image's number into its line of the file, and takes it
out again when the image is decoded. When the worker dies, the driver reads who is to be suspected.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

_LINE = 24  # Bytes of a thread's line, all of the same length, so that each is written in place.
_WRITTEN = re.compile(rb"(\d+) (work|late) *")
_STALLED = b"Timeout ("  # How `faulthandler.dump_traceback_later` begins what it writes.

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, eq=False)
class Work:
    """An image that a thread has in work: its number in the shard, its name, the thread's line.

    `thread` is the thread's identity, as Python's `threading` has it.
    """

    number: int
    name: str
    line: int
    thread: int


@dataclass(frozen=True)
class LastWords:
    """What a dead worker has left: numbers of the images that were in work, ascending.

    `late` are those that took too long, for which the worker ended itself. `stalled`: not even its
    watchdog could run any more.
    """

    in_work: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    stalled: bool = False


class Desk:
    """The images of one shard that a worker's threads have in work; a context.

    Without a file, or where the disk takes none, the notes are kept in memory alone.
    """

    def __init__(self, images: Sequence[str], file: Path | None = None) -> None:
        self._numbers = {name: number for number, name in enumerate(images)}
        self._file = file
        self._note: int | None = None
        self._works: dict[int, Work] = {}
        self._lines = itertools.count()
        self._thread = threading.local()

    def __enter__(self) -> Desk:
        if self._file is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with contextlib.suppress(OSError):  # Without notes, a death costs more: no more.
                self._note = os.open(self._file, flags, 0o600)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._note is not None and self._file is not None:
            os.close(self._note)
            with contextlib.suppress(OSError):
                self._file.unlink()

    def works(self) -> list[Work]:
        """Return what is in work now; the same image's entry is the same object."""
        return list(self._works.copy().values())

    def noting(self, load: Callable[[str], Loaded]) -> Callable[[str], Loaded]:
        """Return `load` with its image noted as in work while it runs."""

        def noted(name: str) -> Loaded:
            with self._at_work(name):
                return load(name)

        return noted

    def mark_late(self, work: Work) -> None:
        """Note that an image takes too long."""
        self._write(work.line, f"{work.number} late")

    @contextlib.contextmanager
    def _at_work(self, name: str) -> Iterator[None]:
        if not hasattr(self._thread, "line"):
            self._thread.line = next(self._lines)
        line: int = self._thread.line
        work = Work(self._numbers[name], name, line, threading.get_ident())
        self._write(line, f"{work.number} work")
        self._works[line] = work
        try:
            yield
        finally:
            del self._works[line]
            self._write(line, "")

    def _write(self, line: int, text: str) -> None:
        if self._note is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._note, f"{text:<{_LINE - 1}}\n".encode(), line * _LINE)


def last_words(file: Path) -> LastWords:
    """Read a dead worker's note, and remove it; nothing is known where there is none."""
    try:
        note = file.read_bytes()
        file.unlink()
    except OSError:
        return LastWords()
    found = [_WRITTEN.fullmatch(line) for line in note.splitlines()]
    numbers: dict[bytes, list[int]] = {b"work": [], b"late": []}
    for match in filter(None, found):
        numbers[match[2]].append(int(match[1]))
    return LastWords(
        tuple(sorted(numbers[b"work"])), tuple(sorted(numbers[b"late"])), _STALLED in note
    )
