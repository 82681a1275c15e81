"""What JPEG files need beside Pillow: decoding at reduced size, and the look at their colour."""

from __future__ import annotations

import io

from PIL import Image, ImageFile, JpegImagePlugin

from batchscan.image.colour import is_colour
from batchscan.image.levels import Box, Levels
from batchscan.image.picture import Picture
from batchscan.image.short_cut import plain_sides, reduced
from batchscan.rules import Rules

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # ISO/IEC 10918-1, table B.1: SOF0 to SOF15
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # sequential and progressive, Huffman or arithmetic


def read_plain(data: bytes, size: int, rules: Rules) -> Picture | None:
    """Read a JPEG for a square of `size` pixels without Pillow, which takes long to open it.

    None where it is left to Pillow. What is returned is what Pillow would make of the file.
    """
    sides = plain_sides(data)
    if sides is None or sides[0] * sides[1] > rules.max_pixels:
        return None
    width, height = sides
    scale = _smallest_scale(width, height, size)
    levels = reduced(data, scale)
    if levels is None:
        return None
    return Picture(levels, width, height, box=(0.0, 0.0, width / scale, height / scale))


def shrink(
    image: ImageFile.ImageFile, data: bytes, size: int
) -> tuple[Image.Image, Box | None, bool]:
    """Decode a JPEG at the smallest of libjpeg's scales that still covers `size`.

    Returns the image, the box that the picture fills (the decoder rounds its size up: the last row
    and column may be filled in part only), and whether it is in colour. Three components are
    decoded as they are stored, to luma with chroma or to red, green and blue: the luma of either
    is, bit for bit, that of a grey decode. Where it is not sure how they are stored, a grey decode
    is what is done, and another one, very small, for the colour. Files come here that `read_plain`
    has not taken.
    """
    stored = _stored_mode(image) if image.mode == "RGB" else image.mode
    if stored is None:
        coloured = _tiny_is_colour(data)
        return image, _draft(image, "L", size), coloured
    box = _draft(image, stored, size)
    levels = _by_short_cut(image, data)
    if levels is not None:  # Grey, or luma beside neutral chroma.
        return levels.image(), box, False
    image.load()
    return image, box, image.mode != "L" and is_colour(image)


def unreadable_kind(data: bytes) -> str | None:
    """Name what libjpeg cannot decode about a JPEG file, None if there is no such thing."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            if data[place + 4] != 8:
                return f"JPEG with {data[place + 4]} bits"
            return None if marker in _DECODED else "lossless or hierarchical JPEG"
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _smallest_scale(width: int, height: int, size: int) -> int:
    """Return the greatest of 8, 4 and 2 that both sides hold `size` times, else 1.

    As Pillow's `draft` does.
    """
    times = min(width // size, height // size)
    return next((scale for scale in (8, 4, 2) if times >= scale), 1)


def _stored_mode(image: Image.Image) -> str | None:
    """Return what libjpeg will surely take three components for: YCbCr, RGB, or None.

    A wrong guess would end in an error or in other rounding; None only costs time.
    """
    if "jfif" not in image.info and "adobe_transform" in image.info:
        return {0: "RGB", 1: "YCbCr"}.get(image.info["adobe_transform"])
    layers = image.layer if isinstance(image, JpegImagePlugin.JpegImageFile) else []
    return "YCbCr" if [layer[0] for layer in layers] == [1, 2, 3] else None


def _tiny_is_colour(data: bytes) -> bool:
    with Image.open(io.BytesIO(data), formats=["jpeg"]) as image:
        _draft(image, "RGB", 1)
        return is_colour(image)


def _by_short_cut(image: ImageFile.ImageFile, data: bytes) -> Levels | None:
    """Take the short cut, unless the file had its turn in `read_plain`."""
    if image.mode not in ("L", "YCbCr") or plain_sides(data) is not None:
        return None
    return reduced(data, _scale(image))


def _scale(image: ImageFile.ImageFile) -> int:
    """Return how many pixels of a row `draft` has chosen to make one."""
    return image.decoderconfig[0] if image.decoderconfig else 1


def _draft(image: ImageFile.ImageFile, mode: str, size: int) -> Box | None:
    image.decodermaxblock = 1 << 30  # The file is in memory already: no need to pass it in pieces.
    drafted = image.draft(mode, (size, size))
    return None if drafted is None else drafted[1]
