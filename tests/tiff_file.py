"""Writes uncompressed TIFF files of kinds that Pillow cannot write."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_FORMATS = {"u": 1, "i": 2, "f": 3}  # TIFF 6.0, section 19: SampleFormat


def page(
    pixels: NDArray[np.generic], *, photometric: int = 1, tile: int = 0, **more: int
) -> tuple[dict[int, Sequence[int]], list[bytes]]:
    """Describe one page of grey: its fields by tag (`t254=1` adds one), and its strips or tiles."""
    height, width = pixels.shape
    bits = pixels.dtype.itemsize * 8
    fields: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: [bits],
        259: [1],
        262: [photometric],
        277: [1],
        339: [_FORMATS[pixels.dtype.kind]],
    }
    if tile:
        fields |= {322: [tile], 323: [tile]}
        padded = np.pad(pixels, [(0, -height % tile), (0, -width % tile)])
        blocks = [
            padded[y : y + tile, x : x + tile].tobytes()
            for y in range(0, height, tile)
            for x in range(0, width, tile)
        ]
    else:
        fields[278] = [10]
        blocks = [pixels[y : y + 10].tobytes() for y in range(0, height, 10)]
    return fields | {int(name[1:]): [value] for name, value in more.items()}, blocks


def tiff(*pages: tuple[Mapping[int, Sequence[int]], list[bytes]], order: str = "<") -> bytes:
    """Write a file of these pages; their pixels must be in the same byte order."""
    file = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    link = 4
    for fields, blocks in pages:
        places = []
        for block in blocks:
            places.append(len(file))
            file += block
        offsets, lengths = (324, 325) if 322 in fields else (273, 279)
        every = {**fields, offsets: places, lengths: [len(block) for block in blocks]}
        link = _append(file, every, link, order)
    return bytes(file)


def _append(file: bytearray, fields: Mapping[int, Sequence[int]], link: int, order: str) -> int:
    """Append a directory and note it at `link`; returns where the next is to be noted."""
    entries = b""
    for tag, values in sorted(fields.items()):
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            place = len(file)
            file += content
            content = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + content
    struct.pack_into(order + "I", file, link, len(file))
    file += struct.pack(order + "H", len(fields)) + entries + bytes(4)
    return len(file) - 4
