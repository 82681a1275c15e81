"""Has the system read the files that come next, while those before them are decoded."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

from batchscan.archive.local_file import open_at_once
from batchscan.archive.long_path import reachable
from batchscan.storage.location import is_uri

_FILES = 8  # So many are asked for at a time, while as many before them are read.
_BYTES = 16 << 20  # Of a larger file, the beginning: memory is for others, too.

Loaded = TypeVar("Loaded")


class ReadAhead:
    """Asks for the files of a shard, a few before their turn; a context around loading them.

    The system reads them into its own cache (`posix_fadvise`, POSIX.1-2008), so that a reader finds
    them in memory: nothing is copied or held here, and a file that cannot be opened is left to its
    reader. A thread of its own asks, since opening may take long: where a server is gone, it hangs
    alone. Objects on a store, and files in containers, are not asked for.
    """

    def __init__(self, root: str, names: Sequence[str]) -> None:
        self._root = root
        self._names = names
        self._loads = itertools.count()
        self._turns = threading.Semaphore()
        self._over = False
        self._thread = threading.Thread(target=self._ask, daemon=True, name="read-ahead")

    def __enter__(self) -> ReadAhead:
        if not is_uri(self._root):
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        self._turns.release()

    def moving_on(self, load: Callable[[str], Loaded]) -> Callable[[str], Loaded]:
        """Return `load`; its calls move on what is asked for."""

        def loaded(name: str) -> Loaded:
            if next(self._loads) % _FILES == 0:
                self._turns.release()
            return load(name)

        return loaded

    def _ask(self) -> None:
        for start in range(0, len(self._names), _FILES):
            self._turns.acquire()
            for name in self._names[start : start + _FILES]:
                if self._over:
                    return
                with contextlib.suppress(OSError, ValueError):  # No name of a file, for instance.
                    _ask_for(os.path.join(self._root, name))


def _ask_for(file: str) -> None:
    with reachable(file) as path:
        number = open_at_once(path, os.O_RDONLY)
    try:
        os.posix_fadvise(number, 0, _BYTES, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(number)
