"""Tar files: the way through one, and plain ones, which are read at any place.

Headers are parsed by the standard library's `tarfile`, one at a time, through an input that hands
it no more than a header's worth: so the input can be hostile, or larger than memory.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from batchscan.container.limits import ContainerLimits
from batchscan.container.member import (
    LINK,
    SPECIAL,
    Index,
    Member,
    Problem,
    check_readable,
    safe_name,
)
from batchscan.container.pace import step
from batchscan.errors import ImageFailure
from batchscan.rules import Rules

_BLOCK = 512
_CHUNK = 1 << 20
_LONGEST_HEADER = 1 << 20  # Bytes of one long name or pax header.
_MOST_GLOBAL_HEADERS = 100
_SEARCHED_BEHIND = 1 << 20  # How far behind its end mark a tar is searched for more.
_LARGEST_WINDOW = 1 << 27  # Bytes; what `zstd --long` uses.
_ENDS = {
    "EmptyHeaderError": ("truncated", "the tar file ends without an end mark"),
    "TruncatedHeaderError": ("truncated", "the tar file ends inside a header"),
}


class PlainInput:
    """A tar that is not compressed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size: int | None = file.seek(0, io.SEEK_END)
        file.seek(0)

    def tell(self) -> int:
        """Return the place in the expanded tar, in bytes."""
        return self._file.tell()

    def seek(self, place: int) -> None:
        """Go to a place."""
        self._file.seek(place)

    def read(self, count: int) -> bytes:
        """Return the next bytes, for a header."""
        return self.take(_header_length(count))

    def take(self, count: int) -> bytes:
        """Return the next bytes, for content; fewer only at the end."""
        return self._file.read(count)


class CompressedInput:
    """A tar that comes out of a decompressor: there is no way back."""

    size: int | None = None

    def __init__(self, file: BinaryIO, kind: str, limits: ContainerLimits) -> None:
        self._file = file
        self._expand = _decompressor(file, kind)
        self._limits = limits
        self._place = 0

    def tell(self) -> int:
        """Return the place in the expanded tar, in bytes."""
        return self._place

    def seek(self, place: int) -> None:
        """Go to a place."""
        if place < self._place:
            raise ImageFailure("corrupt", "the tar file's headers lead backwards")
        while self._place < place and self._next(place - self._place):
            pass

    def read(self, count: int) -> bytes:
        """Return the next bytes, for a header."""
        return self.take(_header_length(count))

    def take(self, count: int) -> bytes:
        """Return the next bytes, for content; fewer only at the end."""
        pieces = []
        while count and (piece := self._next(count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _next(self, count: int) -> bytes:
        data: bytes = self._expand.read(min(count, _CHUNK))
        self._place += len(data)
        step()
        limits, packed = self._limits, self._file.tell()
        if self._place > limits.expanded_bytes:
            raise ImageFailure(
                "container_limit", f"it expands to more than {limits.expanded_bytes:,} bytes"
            )
        if self._place > max(limits.ratio_from, limits.ratio * packed):
            raise ImageFailure(
                "container_limit",
                f"{packed:,} bytes expand to {self._place:,}, more than {limits.ratio} times",
            )
        return data


class TarCursor:
    """Passes through a tar once, from its beginning, and can read the member that it is at."""

    def __init__(self, source: PlainInput | CompressedInput, limits: ContainerLimits) -> None:
        self._source = source
        self._limits = limits
        self._head = b""
        self.problem: Problem | None = None
        """What ended the way before the tar's end; known when `members` has ended."""

    def members(self) -> Iterator[Member]:
        """Yield the members in their order; folders are left out. Raises `OSError`."""
        try:
            yield from self._members()
        except ImageFailure as failure:
            self.problem = Problem(failure.category, failure.reason)

    def read(self, member: Member, rules: Rules) -> bytes:
        """Return the content of the member that came last; raises `ImageFailure`, `OSError`."""
        check_readable(member, rules)
        with _damage_as_failure():
            self.head(member, 0)
            data = self._head + self._source.take(member.size - len(self._head))
        if len(data) < member.size:
            raise ImageFailure("truncated", "the tar file ends before the member does")
        return data

    def head(self, member: Member, count: int) -> bytes:
        """Return up to `count` first bytes of the member that came last."""
        if member.problem is not None:
            raise member.problem.failure()
        with _damage_as_failure():
            if not self._head:
                self._source.seek(member.place)
                self._head = self._source.take(min(count, member.size))
        return self._head

    def _members(self) -> Iterator[Member]:
        # `tarfile` wants to read a header at once: it gets an end mark, then the true input.
        tar = tarfile.TarFile(
            fileobj=io.BytesIO(bytes(2 * _BLOCK)), encoding="utf-8", errors="surrogateescape"
        )
        tar.fileobj, tar.offset = self._source, 0  # type: ignore[assignment]
        number, end = 0, 0
        while (info := self._next(tar)) is not None:
            number += 1
            if number > self._limits.members:
                reason = f"more members than the {self._limits.members:,} that are read"
                raise ImageFailure("container_limit", reason)
            if len(tar.pax_headers) > _MOST_GLOBAL_HEADERS:
                raise ImageFailure("container_limit", "more global headers than are read")
            if info.size < 0 or tar.offset <= end:
                raise ImageFailure("corrupt", "the tar file's headers lead backwards")
            end = tar.offset
            self._head = b""
            if not info.isdir():
                yield self._member(info, number)

    def _next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        with _damage_as_failure():
            self._source.seek(tar.offset)
            step()
            try:
                return tarfile.TarInfo.fromtarfile(tar)
            except tarfile.HeaderError as error:
                kind = type(error).__name__  # The kinds have no public names.
                if kind != "EOFHeaderError":
                    category, reason = _ENDS.get(
                        kind, ("corrupt", f"the tar file holds a damaged header ({error})")
                    )
                    if kind == "EmptyHeaderError" and tar.offset == 0:
                        category, reason = "empty", "the tar file has no content"
                    raise ImageFailure(category, reason) from error
            self._check_end()
        return None

    def _check_end(self) -> None:
        """Pass over the padding. So the checksum of a compressed tar is compared, too."""
        if self._source.take(_SEARCHED_BEHIND).strip(b"\0"):
            raise ImageFailure("corrupt", "the tar file goes on behind its end mark")

    def _member(self, info: tarfile.TarInfo, number: int) -> Member:
        name, problem = safe_name(info.name, number, backslash_separates=False)
        other = None if info.isreg() else LINK if info.issym() or info.islnk() else SPECIAL
        member = Member(name, info.size, info.offset_data, problem, other)
        if problem is None and info.sparse is not None:
            reason = "it is stored as a file with holes; store it as a usual one"
            return replace(member, problem=Problem("unsupported", reason))
        total = self._source.size
        if problem is None and total is not None and info.offset_data + info.size > total:
            reason = "the tar file ends before the member does"
            return replace(member, problem=Problem("truncated", reason))
        return member


class TarContainer:
    """A plain tar in an open file; several threads may read from it."""

    sequential = False

    def __init__(self, file: BinaryIO, limits: ContainerLimits) -> None:
        """Pass over the headers. What is wrong with them is in `index.problem`."""
        self._file = file
        self._lock = threading.Lock()
        self.index = Index()
        cursor = TarCursor(PlainInput(file), limits)
        for member in cursor.members():
            self.index.add(member)
        self.index.problem = cursor.problem

    def find(self, name: str) -> Member | None:
        """Return the member of a name."""
        return self.index.members.get(name)

    def visit(self) -> Iterator[tuple[Member, TarContainer]]:
        """Yield all members, each with the object that reads it."""
        for member in self.index.members.values():
            yield member, self

    def read(self, member: Member, rules: Rules) -> bytes:
        """Return a member's content; raises `ImageFailure` or `OSError`."""
        check_readable(member, rules)
        data = self._at(member.place, member.size)
        if len(data) < member.size:
            raise ImageFailure("truncated", "the tar file ends before the member does")
        return data

    def head(self, member: Member, count: int) -> bytes:
        """Return up to `count` first bytes of a member; raises `ImageFailure` or `OSError`."""
        if member.problem is not None:
            raise member.problem.failure()
        return self._at(member.place, min(count, member.size))

    def weight(self) -> int:
        """Return about how many bytes of memory the index takes."""
        return 400 * len(self.index.members)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _at(self, place: int, count: int) -> bytes:
        with self._lock:
            self._file.seek(place)
            return self._file.read(count)


def _header_length(count: int) -> int:
    if not 0 <= count <= _LONGEST_HEADER:
        raise ImageFailure("corrupt", f"a header of the tar file states a length of {count:,}")
    return count


def _decompressor(file: BinaryIO, kind: str) -> Any:
    """Return an object whose `read` expands."""
    if kind == "gz":
        return gzip.GzipFile(fileobj=file, mode="rb")
    import zstandard

    options = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    return options.stream_reader(file, read_across_frames=True, closefd=False)


@contextlib.contextmanager
def _damage_as_failure() -> Iterator[None]:
    """Turn whatever the libraries raise for damaged bytes into an `ImageFailure`.

    Errors of the storage, which have a number, stay what they are.
    """
    try:
        yield
    except ImageFailure:
        raise
    except EOFError as error:
        raise ImageFailure("truncated", "the compressed tar file ends too early") from error
    except MemoryError as error:
        raise ImageFailure("too_large", "not enough memory to read the tar file") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = f"the tar file is damaged ({error or type(error).__name__})"
        raise ImageFailure("corrupt", reason) from error
