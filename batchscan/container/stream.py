"""Compressed tar files: streams that are read forwards."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import BinaryIO

from batchscan.container.limits import ContainerLimits
from batchscan.container.member import Index, Member
from batchscan.container.tar import CompressedInput, TarCursor
from batchscan.errors import ImageFailure
from batchscan.rules import Rules

_STASHED_MEMBERS = 16  # More than a worker's threads can be out of order.
_STASHED_BYTES = 1 << 29


class TarStream:
    """A compressed tar. Reading in the stream's order expands it once, whatever lies between.

    A few members that were passed by are kept, for threads that come a little out of order. Who
    asks for one farther back makes the stream start again.
    """

    sequential = True

    def __init__(
        self, open_file: Callable[[], BinaryIO], kind: str, limits: ContainerLimits
    ) -> None:
        """Open the file; nothing is read yet. Raises `OSError`."""
        self._open = open_file
        self._kind = kind
        self._limits = limits
        self._lock = threading.Lock()
        self._seen: dict[str, Member] = {}
        self._passed: OrderedDict[str, bytes] = OrderedDict()
        self._passed_bytes = 0
        self._file: BinaryIO | None = None
        self._cursor, self._ahead = self._restarted()
        self._done = 0
        self.index = Index()
        """Complete when a `visit` has ended; it needs one of its own."""

    def visit(self) -> Iterator[tuple[Member, TarCursor]]:
        """Pass through the whole stream, beside any reading; fills `index`."""
        index = Index()
        with self._open() as file:
            cursor = TarCursor(CompressedInput(file, self._kind, self._limits), self._limits)
            for member in cursor.members():
                if member.name in index.members:
                    index.duplicates.append(member.name)
                    continue
                index.members[member.name] = member
                yield member, cursor
        index.problem = cursor.problem
        self.index = index

    def find(self, name: str) -> Member | None:
        """Return the member of a name, searching the stream where it has not come by yet."""
        member = self.index.members.get(name) or self._seen.get(name)
        if member is None:
            member = next((member for member, _ in self.visit() if member.name == name), None)
        return member

    def read_named(self, name: str, rules: Rules) -> tuple[bytes, Member]:
        """Return a member's content; raises `ImageFailure` or `OSError`."""
        with self._lock:
            if name in self._passed:
                return self._taken(name), self._seen[name]
            known = self._seen.get(name)
            if known is not None and known.place <= self._done:
                self._restart()
            began_late = self._done > 0
            found = self._search(name, rules)
            if found is None and began_late:
                self._restart()
                found = self._search(name, rules)
        if found is None:
            raise ImageFailure("vanished", "the container does not hold the file any more")
        return found

    def weight(self) -> int:
        """Return about how many bytes of memory is taken."""
        return 400 * max(len(self._seen), len(self.index.members)) + self._passed_bytes

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _restarted(self) -> tuple[TarCursor, Iterator[Member]]:
        self.close()
        self._file = self._open()
        cursor = TarCursor(CompressedInput(self._file, self._kind, self._limits), self._limits)
        return cursor, cursor.members()

    def _restart(self) -> None:
        self._cursor, self._ahead = self._restarted()
        self._done = 0
        self._passed.clear()
        self._passed_bytes = 0

    def _search(self, name: str, rules: Rules) -> tuple[bytes, Member] | None:
        """Go on to the member of this name; None if it does not lie ahead."""
        for member in self._ahead:
            first = self._seen.setdefault(member.name, member)
            self._done = member.place
            if first.place != member.place:
                continue  # A second one of its name.
            if member.name == name:
                return self._cursor.read(member, rules), member
            self._pass(member, rules)
        return None

    def _pass(self, member: Member, rules: Rules) -> None:
        if member.problem or member.other or member.size > _STASHED_BYTES // _STASHED_MEMBERS:
            return
        with contextlib.suppress(ImageFailure):  # Whoever asks for it will hear the same.
            data = self._cursor.read(member, rules)
            self._passed[member.name] = data
            self._passed_bytes += len(data)
        while len(self._passed) > _STASHED_MEMBERS:
            self._taken(next(iter(self._passed)))

    def _taken(self, name: str) -> bytes:
        data = self._passed.pop(name)
        self._passed_bytes -= len(data)
        return data
