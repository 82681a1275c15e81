"""Writes grey baseline JPEGs with coefficients of one's choice (ISO/IEC 10918-1)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Block = Mapping[int, int]
"""Quantized coefficients of a block by zigzag index; those that are not named are 0."""

_FIRST = {size: (size, 4) for size in range(12)}  # All codes of a table are of one length.
_RUNS = [0, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))]
_REST = {symbol: (code, 8) for code, symbol in enumerate(_RUNS)}


def write_grey(blocks: Sequence[Block], *, across: int, quantization: int = 1) -> bytes:
    """Return a file of so many blocks a row; each is 8 x 8 pixels."""
    width, height = 8 * across, 8 * (len(blocks) // across)
    lengths = {4: len(_FIRST), 8: len(_REST)}
    tables = [
        bytes([kind << 4, *(lengths[length] if length == of else 0 for length in range(1, 17))])
        + bytes(codes)
        for kind, of, codes in ((0, 4, _FIRST), (1, 8, _REST))
    ]
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xDB, bytes([0] + [quantization] * 64)),
            _segment(0xC0, struct.pack(">BHHB3B", 8, height, width, 1, 1, 0x11, 0)),
            *(_segment(0xC4, table) for table in tables),
            _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
            _codes(blocks),
            b"\xff\xd9",
        )
    )


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def _codes(blocks: Sequence[Block]) -> bytes:
    bits, before = "", 0
    for block in blocks:
        first = block.get(0, 0)
        bits += _coded(_FIRST, 0, first - before)
        before, run = first, 0
        last = max((index for index, value in block.items() if value), default=0)
        for index in range(1, last + 1):
            value = block.get(index, 0)
            if value:
                bits += _code(_REST, 0xF0) * (run // 16) + _coded(_REST, run % 16, value)
                run = 0
            else:
                run += 1
        bits += _code(_REST, 0) if last < 63 else ""
    bits += "1" * (-len(bits) % 8)
    packed = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
    return packed.replace(b"\xff", b"\xff\0")


def _coded(table: Mapping[int, tuple[int, int]], run: int, value: int) -> str:
    size = abs(value).bit_length()
    low = value if value >= 0 else value + (1 << size) - 1
    return _code(table, run << 4 | size) + (f"{low:0{size}b}" if size else "")


def _code(table: Mapping[int, tuple[int, int]], symbol: int) -> str:
    code, length = table[symbol]
    return f"{code:0{length}b}"
