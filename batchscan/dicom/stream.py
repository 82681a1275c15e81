"""The first compressed frame of encapsulated pixel data, checked before a decoder sees it.

A decoder believes its own stream, not the data set around it: a stream that claims other dimensions
would be decoded at those, past every limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchscan.errors import ImageFailure

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # PS3.5, A.4
_START_OF_FRAME = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_STANDALONE = frozenset((*range(0xD0, 0xD9), 0x01, 0xFF))
_CODESTREAM = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, A.4.1 and A.5.1: start, then image size
_PADDING = 16


@dataclass(frozen=True)
class StreamHeader:
    """What a compressed stream says of itself: `precision` is in bits, `signed` of JPEG 2000."""

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False


def first_frame(pixels: memoryview, frames: int) -> bytes:
    """Return the first frame's compressed stream (PS3.5, A.4); raises `ImageFailure`."""
    from pydicom.encaps import get_frame

    _check_complete(pixels)
    return get_frame(bytes(pixels), 0, number_of_frames=frames)


def _check_complete(pixels: memoryview) -> None:
    """Walk over the fragments to the delimiter behind them."""
    place, end = 0, len(pixels)
    while place < end:
        tag = pixels[place : place + 4]
        if tag == _END:
            return
        if tag != _ITEM and len(tag) == 4:
            raise ImageFailure("corrupt", "the compressed pixel data is not made of fragments")
        place += 8 + int.from_bytes(pixels[place + 4 : place + 8], "little")
    if place > end or place == 0:
        raise ImageFailure("truncated", "the file ends before its compressed pixel data does")


def check_stream(
    stream: bytes, *, rows: int, columns: int, samples: int, bits: int
) -> StreamHeader:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 stream and compare it with the data set.

    `bits` is what there is room for in a sample; GDCM crashes where the stream claims more. Raises
    `ImageFailure`: `corrupt` where they differ, `truncated` where the stream has no end.
    """
    header = _jpeg_2000(stream) if _CODESTREAM in stream[:4096] else _jpeg(stream)
    if header is None:
        raise ImageFailure("corrupt", "the compressed pixel data has no header that can be read")
    if (header.rows, header.columns, header.samples) != (rows, columns, samples):
        raise ImageFailure(
            "corrupt",
            f"the compressed pixel data has {header.columns} x {header.rows} x {header.samples} "
            f"values, the data set says {columns} x {rows} x {samples}",
        )
    if not 2 <= header.precision <= bits:
        raise ImageFailure(
            "corrupt",
            f"the compressed pixel data has {header.precision} bits a sample, expected 2 to {bits}",
        )
    if b"\xff\xd9" not in stream[-_PADDING:]:  # End of image, and of codestream
        raise ImageFailure("truncated", "the compressed pixel data ends too early")
    return header


def _jpeg(stream: bytes) -> StreamHeader | None:
    """Find the frame header (ISO/IEC 10918-1, B.2.2; ISO/IEC 14495-1, C.2.2).

    All segments up to the first scan must follow one another, or None is returned: with rubbish
    between them GDCM ends the process.
    """
    place, header = 2, None
    while stream[:2] == b"\xff\xd8" and place + 10 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == _START_OF_SCAN:
            return header
        if marker in _START_OF_FRAME:
            if header is not None:
                return None
            rows, columns = _number(stream, place + 5), _number(stream, place + 7)
            header = StreamHeader(rows, columns, stream[place + 9], stream[place + 4])
        if marker in _STANDALONE:
            place += 1 if marker == 0xFF else 2
        else:
            place += 2 + _number(stream, place + 2)
    return None


def _jpeg_2000(stream: bytes) -> StreamHeader | None:
    """Read the image and tile size (ISO/IEC 15444-1, A.5.1)."""
    place = stream.index(_CODESTREAM)
    if len(stream) < place + 43:
        return None
    width, height, left, top = (_number(stream, place + 8 + 4 * n, 4) for n in range(4))
    depth = stream[place + 42]
    samples = _number(stream, place + 40)
    return StreamHeader(height - top, width - left, samples, (depth & 0x7F) + 1, depth > 0x7F)


def _number(stream: bytes, place: int, size: int = 2) -> int:
    return int.from_bytes(stream[place : place + size], "big")
