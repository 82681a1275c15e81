"""Zip files: their directory, and members at any place, from untrusted bytes.

Written after PKWARE's APPNOTE 6.3.10; section numbers below are of that. The standard library's
`zipfile` would do for friendly files. It reads the whole directory into objects of about a kilobyte
a member before anyone can count them, and gives all members up for one name that is no UTF-8.
"""

from __future__ import annotations

import bz2
import io
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple

from batchscan.container.limits import ContainerLimits
from batchscan.container.member import LINK, Index, Member, Problem, check_readable, safe_name
from batchscan.container.pace import step
from batchscan.errors import ImageFailure
from batchscan.rules import Rules

_END = struct.Struct("<4s4H2LH")  # 4.3.16, end of central directory
_END64_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_ENTRY = struct.Struct("<4s6H3L5H2L")  # 4.3.12, central directory header
_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7, local file header
_LONGEST_COMMENT = (1 << 16) - 1
_ENCRYPTED = 1 | 1 << 6 | 1 << 13  # 4.4.4: encrypted, strongly, or with a masked directory
_UTF8 = 1 << 11  # 4.4.4: language encoding flag
_STORED, _DEFLATED, _BZIP2, _ZSTANDARD = 0, 8, 12, 93  # 4.4.5
_HEAD_PACKED = {_DEFLATED: 4096, _BZIP2: 1 << 20, _ZSTANDARD: 1 << 18}
_MISSING32 = 0xFFFFFFFF
_LARGEST = 1 << 60  # Bytes; more is no size or place, but damage.
_NOWHERE = "the zip file's directory gives the member an impossible size or place"
_UNIX = 3  # 4.4.2.2
_LARGEST_WINDOW = 1 << 27  # Bytes; more than any usual zstd level asks for.


class ZipContainer:
    """A zip file in an open file; several threads may read from it."""

    sequential = False

    def __init__(self, file: BinaryIO, limits: ContainerLimits) -> None:
        """Read the directory. What is wrong with it is in `index.problem`; raises `OSError`."""
        self._file = file
        self._lock = threading.Lock()
        self.index = Index()
        try:
            for member in _members(file, limits):
                self.index.add(member)
        except ImageFailure as failure:
            self.index.problem = Problem(failure.category, failure.reason)
        _refuse_overlaps(self.index)

    def find(self, name: str) -> Member | None:
        """Return the member of a name."""
        return self.index.members.get(name)

    def visit(self) -> Iterator[tuple[Member, ZipContainer]]:
        """Yield all members, each with the object that reads it."""
        for member in self.index.members.values():
            yield member, self

    def read(self, member: Member, rules: Rules) -> bytes:
        """Return a member's content; raises `ImageFailure` or `OSError`.

        No more is expanded than the directory promises, whatever the data holds.
        """
        check_readable(member, rules)
        packed = self._packed(member, member.packed)
        if len(packed) < member.packed:
            raise ImageFailure("truncated", "the zip file ends before the member does")
        data = _expanded(packed, member.method, member.size + 1)
        if len(data) > member.size:
            raise ImageFailure("corrupt", "the member expands to more than its zip file says")
        if len(data) < member.size:
            raise ImageFailure("truncated", "the member expands to less than its zip file says")
        if zlib.crc32(data) != member.crc:
            raise ImageFailure("corrupt", "the member's checksum (CRC-32) does not fit")
        return data

    def head(self, member: Member, count: int) -> bytes:
        """Return up to `count` first bytes of a member; raises `ImageFailure` or `OSError`."""
        if member.problem is not None:
            raise member.problem.failure()
        packed = self._packed(member, min(member.packed, _HEAD_PACKED.get(member.method, count)))
        return _expanded(packed, member.method, count)[:count]

    def weight(self) -> int:
        """Return about how many bytes of memory the directory takes."""
        return 400 * len(self.index.members)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _packed(self, member: Member, count: int) -> bytes:
        with self._lock:
            self._file.seek(member.place)
            header = self._file.read(_LOCAL.size)
            if len(header) < _LOCAL.size:
                raise ImageFailure("truncated", "the zip file ends before the member begins")
            signature, *_, name_length, extra_length = _LOCAL.unpack(header)
            if signature != b"PK\3\4":
                raise ImageFailure("corrupt", "there is no member where the directory says")
            self._file.seek(name_length + extra_length, io.SEEK_CUR)
            return self._file.read(count)


class _Directory(NamedTuple):
    """Where the central directory is: first byte, length, entries (modulo 65,536), and the number
    of bytes that something else was put before the zip file."""

    start: int
    length: int
    entries: int
    shift: int


def _members(file: BinaryIO, limits: ContainerLimits) -> Iterator[Member]:
    """Yield what the central directory lists; raises `ImageFailure` where it is damaged."""
    directory = _directory(file)
    file.seek(directory.start)
    left, number = directory.length, 0
    while left > 0:
        entry = file.read(_ENTRY.size)
        if len(entry) < _ENTRY.size or not entry.startswith(b"PK\1\2"):
            raise ImageFailure("corrupt", "the zip file's directory is damaged")
        number += 1
        if number > limits.members:
            raise ImageFailure(
                "container_limit", f"more members than the {limits.members:,} that are read"
            )
        fields = _ENTRY.unpack(entry)
        name_length, extra_length, comment_length = fields[10:13]
        name, extra = file.read(name_length), file.read(extra_length)
        file.seek(comment_length, io.SEEK_CUR)
        left -= _ENTRY.size + name_length + extra_length + comment_length
        member = _member(fields, name, extra, number, directory.shift, limits)
        if member is not None:
            yield member
        step()
    if left < 0 or (number - directory.entries) & 0xFFFF:
        raise ImageFailure("corrupt", "the zip file's directory does not list what it says")


def _directory(file: BinaryIO) -> _Directory:
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise ImageFailure("empty", "the file has no content (0 bytes)")
    end = _find_end(file, size)
    file.seek(end)
    _, disk, _, _, entries, length, offset, _ = _END.unpack(file.read(_END.size))
    large = _end64(file, end)
    if large is not None:
        end, entries, length, offset = large
    if disk not in (0, 0xFFFF):
        raise ImageFailure("unsupported", "the zip file is one of several parts")
    start = end - length
    file.seek(offset if offset <= size else 0)
    if offset <= end and (not length or file.read(4) == b"PK\1\2"):
        start = offset
    if start < 0 or start + length > end:
        raise ImageFailure("corrupt", "the zip file's directory is not where it should be")
    return _Directory(start, length, entries, start - offset)


def _find_end(file: BinaryIO, size: int) -> int:
    """Return where the last record begins: a comment of up to 64 KiB follows it."""
    first = max(0, size - _LONGEST_COMMENT - _END.size)
    file.seek(first)
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    while place >= 0:
        if place + _END.size <= len(tail):
            return first + place
        place = tail.rfind(b"PK\5\6", 0, place)
    file.seek(0)
    if file.read(4) == b"PK\3\4":
        raise ImageFailure("truncated", "the zip file ends before its directory does")
    raise ImageFailure("corrupt", "the name says zip, but the file holds no zip directory")


def _end64(file: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """Return the larger record's place, entries, and the directory's length and offset."""
    if end < _END64_LOCATOR.size + _END64.size:
        return None
    file.seek(end - _END64_LOCATOR.size)
    signature, _, place, _ = _END64_LOCATOR.unpack(file.read(_END64_LOCATOR.size))
    if signature != b"PK\6\7":
        return None
    for candidate in (place, end - _END64_LOCATOR.size - _END64.size):
        if candidate > end:
            continue
        file.seek(candidate)
        record = file.read(_END64.size)
        if len(record) == _END64.size and record.startswith(b"PK\6\6"):
            *_, entries, length, offset = _END64.unpack(record)
            return candidate, entries, length, offset
    raise ImageFailure("corrupt", "the zip file's 64-bit directory is not where it should be")


def _member(
    fields: tuple[int, ...],
    name: bytes,
    extra: bytes,
    number: int,
    shift: int,
    limits: ContainerLimits,
) -> Member | None:
    """Make a member of a directory entry; None for a folder."""
    _, made_by, _, flags, method, _, _, crc, packed, size = fields[:10]
    attributes, place = fields[15:17]
    raw = name.decode("utf-8", "surrogateescape") if flags & _UTF8 else name.decode("cp437")
    if raw.endswith("/") or (raw.endswith("\\") and size == 0):
        return None
    size, packed, place = _sizes64(extra, size, packed, place)
    shown, problem = safe_name(raw, number, backslash_separates=True)
    problem = problem or _problem(flags, method, packed, size, limits)
    if max(size, packed, place) > _LARGEST or place + shift < 0:
        problem, size, packed, place = Problem("corrupt", _NOWHERE), 0, 0, -shift
    is_link = made_by >> 8 == _UNIX and stat.S_ISLNK(attributes >> 16)
    return Member(
        name=shown,
        size=size,
        place=place + shift,
        problem=problem,
        other=LINK if is_link else None,
        packed=packed,
        method=method,
        crc=crc,
    )


def _problem(
    flags: int, method: int, packed: int, size: int, limits: ContainerLimits
) -> Problem | None:
    if flags & _ENCRYPTED:
        return Problem("encrypted", "a password protects the member")
    if method not in (_STORED, _DEFLATED, _BZIP2, _ZSTANDARD):
        return Problem("unsupported", f"the zip compression method {method} is not read")
    if size > max(limits.ratio_from, limits.ratio * packed):
        return Problem(
            "container_limit",
            f"{packed:,} bytes that should expand to {size:,}, more than {limits.ratio} times",
        )
    return None


def _sizes64(extra: bytes, size: int, packed: int, place: int) -> tuple[int, int, int]:
    """Replace what does not fit into 32 bits by what the extra field holds (4.5.3)."""
    values: list[int] = []
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            body = extra[4 : 4 + length]
            values = [value for (value,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8])]
            break
        extra = extra[4 + length :]
    remaining = iter(values)
    size, packed, place = (
        next(remaining, value) if value == _MISSING32 else value for value in (size, packed, place)
    )
    return size, packed, place


def _refuse_overlaps(index: Index) -> None:
    """Mark members that use bytes of an earlier one: so a small zip expands beyond all measure."""
    end = 0
    for member in sorted(index.members.values(), key=lambda member: member.place):
        if member.place < end and member.problem is None:
            reason = "the member lies in the bytes of another one of its zip file"
            index.members[member.name] = replace(member, problem=Problem("container_limit", reason))
        end = max(end, member.place + _LOCAL.size + member.packed)


def _expanded(packed: bytes, method: int, most: int) -> bytes:
    """Expand to at most `most` bytes; raises `ImageFailure`."""
    try:
        if method == _DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
        if method == _BZIP2:
            return bz2.BZ2Decompressor().decompress(packed, most)
        if method == _ZSTANDARD:
            import zstandard

            options = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
            return bytes(options.stream_reader(packed).read(most))
        return packed
    except MemoryError as error:
        raise ImageFailure("too_large", "not enough memory to expand the member") from error
    except Exception as error:  # Each of the libraries has errors of its own.
        reason = f"the member's compressed data is damaged ({error})"
        raise ImageFailure("corrupt", reason) from error
