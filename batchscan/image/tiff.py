"""The directories of a TIFF file, as far as they must be known before Pillow opens it.

Also EXIF, which has the structure of a TIFF file without pixels. TIFF 6.0 (Adobe, 1992), section 2
and 8; BigTIFF as libtiff documents it. Nothing is read beyond the bytes that are there, and
nothing is copied: a directory may claim anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from batchscan.errors import ImageFailure
from batchscan.rules import Rules

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, STRIP_BYTES = 273, 274, 279
SAMPLE_FORMAT = 339
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325

_MAX_DIRECTORIES = 64  # Enough to know that there are several pages.
_SIZES = {
    **{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4},
    **{16: 8, 17: 8, 18: 8},
}
"""Bytes of each type of value."""

_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a directory: `count` values of a type, that begin at `place` in the file."""

    type: int
    count: int
    place: int

    @property
    def bytes(self) -> int:
        """How many bytes the values take."""
        return _SIZES.get(self.type, 1) * self.count


@dataclass(frozen=True, slots=True)
class Directory:
    """The fields of one page, by tag."""

    data: bytes
    order: str
    entries: dict[int, Entry]

    def values(self, tag: int) -> tuple[int, ...]:
        """Return a field's whole numbers; none where it is missing or lies beyond the file."""
        entry = self.entries.get(tag)
        if entry is None or entry.type not in _WHOLE_NUMBERS:
            return ()
        if entry.place + entry.bytes > len(self.data):
            return ()
        letters = f"{self.order}{entry.count}{_WHOLE_NUMBERS[entry.type]}"
        return struct.unpack_from(letters, self.data, entry.place)

    def first(self, tag: int, default: int = 0) -> int:
        """Return a field's first number."""
        return next(iter(self.values(tag)), default)

    @property
    def is_reduced(self) -> bool:
        """Whether this is a thumbnail or a mask of another page, and no page of its own."""
        return bool(self.first(NEW_SUBFILE_TYPE) & 0b101) or self.first(SUBFILE_TYPE) == 2


@dataclass(frozen=True)
class Layout:
    """What a TIFF file holds: the number of its full pages, and the first of them.

    `page` is that one's place among all directories.
    """

    pages: int
    page: int
    directory: Directory

    @property
    def is_deep_and_inverted(self) -> bool:
        """Whether 0 is white in values of more than 8 bits, which Pillow leaves as they are."""
        is_inverted = self.directory.first(PHOTOMETRIC) == 0
        return is_inverted and self.directory.first(BITS_PER_SAMPLE, 1) > 8

    @property
    def is_unsigned(self) -> bool:
        """Whether values have no sign (TIFF 6.0, section 19), of which Pillow takes no notice."""
        return self.directory.first(SAMPLE_FORMAT, 1) == 1


def read_layout(data: bytes, rules: Rules) -> Layout:
    """Read what must be known before a TIFF file is opened; raises `ImageFailure`.

    Refused are directories whose fields or tiles would take much more memory than the file and its
    pixels do, and files that end before their last strip or tile.
    """
    if data.startswith(b"MM\0+"):
        raise ImageFailure("unsupported", "a BigTIFF file in big-endian order is not read")
    directories = list(_directories(data))
    if not directories:
        raise ImageFailure("truncated", "the file ends before its first directory")
    full = [n for n, directory in enumerate(directories) if not directory.is_reduced]
    page = full[0] if full else 0
    layout = Layout(max(1, len(full)), page, directories[page])
    for directory in directories[: page + 1]:
        _check_fields(directory)
    _check_tiles(layout.directory, rules)
    _check_end(layout.directory)
    return layout


def without_inversion(data: bytes, layout: Layout) -> bytes:
    """Return the file with 0 declared as black: Pillow knows few deep formats the other way."""
    entry = layout.directory.entries.get(PHOTOMETRIC)
    if entry is None or entry.type not in _WHOLE_NUMBERS:
        return data
    changed = bytearray(data)
    letter = layout.directory.order + _WHOLE_NUMBERS[entry.type]
    struct.pack_into(letter, changed, entry.place, 1)
    return bytes(changed)


def reaches_beyond(data: bytes) -> bool:
    """Say whether a field of any directory lies beyond the end of the file."""
    return any(
        entry.place + entry.bytes > len(data)
        for directory in _directories(data)
        for entry in directory.entries.values()
    )


def orientation(exif: bytes) -> int:
    """Return EXIF's orientation, 1 to 8 (EXIF 2.32, 4.6.4); 1 where it says nothing sensible."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    try:
        directory = next(_directories(exif), None)
    except ImageFailure:
        return 1
    value = directory.first(ORIENTATION, 1) if directory else 1
    return value if 1 <= value <= 8 else 1


def _directories(data: bytes) -> Iterator[Directory]:
    """Read one directory after the other; raises `ImageFailure` where the file ends before it."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (offset,) = struct.unpack_from(order + "Q", data, 8) if big else _long(data, order, 4)
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < _MAX_DIRECTORIES:
        seen.add(offset)
        try:
            entries, offset = _entries(data, order, offset, big)
        except struct.error:
            raise ImageFailure("truncated", "the file ends before its last directory") from None
        yield Directory(data, order, entries)


def _entries(data: bytes, order: str, offset: int, big: bool) -> tuple[dict[int, Entry], int]:
    """Read the directory at `offset`; also returns the offset of the next, 0 behind the last."""
    count_letter, letter, size = ("Q", "Q", 20) if big else ("H", "I", 12)
    (count,) = struct.unpack_from(order + count_letter, data, offset)
    place = offset + struct.calcsize(order + count_letter)
    if count > len(data) // size:
        raise struct.error("more fields than the file has room for")
    entries = {}
    for start in range(place, place + count * size, size):
        tag, type_, values, target = struct.unpack_from(f"{order}HH{letter}{letter}", data, start)
        inline = _SIZES.get(type_, 1) * values <= struct.calcsize(letter)
        own = start + size - struct.calcsize(order + letter)
        entries[tag] = Entry(type_, values, own if inline else target)
    (following,) = struct.unpack_from(order + letter, data, place + count * size)
    return entries, following


def _long(data: bytes, order: str, place: int) -> tuple[int]:
    (value,) = struct.unpack_from(order + "I", data, place)
    return (value,)


def _check_fields(directory: Directory) -> None:
    """Refuse fields that overlap without end: Pillow copies each."""
    room = len(directory.data)
    claimed = sum(min(entry.bytes, room) for entry in directory.entries.values())
    if claimed > 4 * room + (1 << 20):
        raise ImageFailure(
            "corrupt", f"the header's fields claim {claimed:,} bytes, more than the file has"
        )


def _check_tiles(directory: Directory, rules: Rules) -> None:
    width, length = directory.first(TILE_WIDTH), directory.first(TILE_LENGTH)
    if width * length > rules.max_pixels:
        raise ImageFailure(
            "too_large",
            f"tiles of {width} x {length} pixels, more than the {rules.max_pixels:,} that are "
            "decoded",
            width=directory.first(WIDTH) or None,
            height=directory.first(LENGTH) or None,
        )


def _check_end(directory: Directory) -> None:
    """Refuse a file that ends before its compressed pixels: libtiff fills some up with white."""
    if directory.first(COMPRESSION, 1) == 1:  # Uncompressed: Pillow counts the pixels.
        return
    for offsets, lengths in ((STRIP_OFFSETS, STRIP_BYTES), (TILE_OFFSETS, TILE_BYTES)):
        pairs = zip(directory.values(offsets), directory.values(lengths), strict=False)
        end = max((sum(pair) for pair in pairs), default=0)
        if end > len(directory.data):
            raise ImageFailure(
                "truncated",
                f"the file ends before the image does ({len(directory.data):,} of {end:,} bytes)",
                width=directory.first(WIDTH) or None,
                height=directory.first(LENGTH) or None,
            )
