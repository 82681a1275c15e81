"""The short cut to the pixels of a JPEG, where it was built and gives what libjpeg does.

`native/reduced_jpeg.c` decodes the most frequent JPEGs at a half, a quarter and an eighth of their
size in less than the time that libjpeg takes. Without a C compiler at installation it is not there;
then, and for all other files, Pillow's libjpeg decodes. What comes out is the same, bit by bit:
seen on this machine before it is used, as a Pillow that was built with another libjpeg has other
pixels.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from batchscan.image.levels import Levels

Reduce = Callable[[bytes, int], tuple[int, int, bytes] | None]
ReadSides = Callable[[bytes], tuple[int, int] | None]

_SHIFTS = {2: 1, 4: 2, 8: 3}  # The scales that it has, as powers of two.
_SIDES = (203, 171)  # No multiples of a block's.


def reduced(data: bytes, scale: int) -> Levels | None:
    """Decode a JPEG at 1/`scale` of its size; None where it is left to Pillow.

    Returns exactly those grey levels that Pillow gives. Never raises for what is in the bytes.
    """
    shift, reduce = _SHIFTS.get(scale), short_cut()
    if shift is None or reduce is None:
        return None
    found = reduce(data, shift)
    return None if found is None else Levels(*found)


def plain_sides(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG whose header says nothing more than `reduced` heeds.

    None where there may be more in it, which is left to Pillow, and without the short cut.
    """
    sides = _compiled_sides()
    return sides(data) if sides else None


@functools.cache
def short_cut() -> Reduce | None:
    """Return what decodes, if it is there and does as Pillow on this machine; else None."""
    try:
        from batchscan.image.reduced_jpeg import reduce
    except ImportError:
        return None
    with contextlib.suppress(Exception):  # Whatever is wrong here, Pillow decodes.
        return reduce if all(_agrees(reduce, scale) for scale in _SHIFTS) else None
    return None


@functools.cache
def _compiled_sides() -> ReadSides | None:
    if short_cut() is None:
        return None
    from batchscan.image.reduced_jpeg import plain_sides as compiled

    return compiled


def _agrees(reduce: Reduce, scale: int) -> bool:
    """Compare both on an image of noise, whose blocks have large coefficients everywhere."""
    data = _noise()
    with Image.open(io.BytesIO(data), formats=["jpeg"]) as image:
        image.draft("L", (_SIDES[0] // scale, _SIDES[1] // scale))
        expected = (*image.size, image.tobytes())
    return reduce(data, _SHIFTS[scale]) == expected


def _noise() -> bytes:
    stream = io.BytesIO()
    levels = np.random.default_rng(1).normal(128, 60, _SIDES[::-1]).clip(0, 255)
    Image.fromarray(levels.astype(np.uint8)).save(stream, "jpeg", quality=85)
    return stream.getvalue()
