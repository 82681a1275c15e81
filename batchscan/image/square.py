"""A grey picture -> the square of pixels that the network sees.

It is Pillow's bilinear resize. `native/bilinear.c` does the same, bit by bit, in a quarter of the
time; it is used where it was compiled and does as the Pillow of this machine.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchscan.image.levels import Box, Levels

Square = Callable[[bytes, tuple[int, int], Box, int], bytes]

_MOST_PIXELS = 1 << 22  # Pillow's are copied: of large pictures, there is memory for one.
_CHECKED = (  # Sides, box and size: enlarged, reduced in part of a pixel, as tall as may be.
    ((90, 70), (0.0, 0.0, 90.0, 70.0), 96),
    ((331, 243), (0.0, 0.0, 330.5, 242.125), 144),
    ((117, 153), (3.25, 0.5, 116.5, 153.0), 81),
    ((21, 155), (0.0, 0.0, 21.0, 155.0), 160),
)


def to_square(grey: Image.Image | Levels, box: Box | None, size: int) -> NDArray[np.uint8]:
    """Return uint8 (size, size) of an image of mode L, or its levels; `box` is what counts of it.

    Each pixel is the mean of the area around it, weighted by its distance.
    """
    square = None if needs_pillow(grey, size) else compiled_square()
    if square is None:
        image = grey.image() if isinstance(grey, Levels) else grey
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))
    content = grey.content if isinstance(grey, Levels) else grey.tobytes()
    sides = grey.width, grey.height
    levels = square(content, sides, box or (0.0, 0.0, float(sides[0]), float(sides[1])), size)
    return np.frombuffer(levels, dtype=np.uint8).reshape(size, size)


def needs_pillow(grey: Image.Image | Levels, size: int) -> bool:
    """Say whether a picture is left to Pillow: a large one, or a tall one.

    Of tall ones Pillow reduces the columns first, from 13.0 on, and that rounds otherwise.
    """
    is_tall = grey.height - size > max(0, 2 * (grey.width - size))
    return is_tall or grey.width * grey.height > _MOST_PIXELS


@functools.cache
def compiled_square() -> Square | None:
    """Return what reduces, if it is there and does as Pillow on this machine; else None."""
    try:
        from batchscan.image.bilinear import square
    except ImportError:
        return None
    with contextlib.suppress(Exception):  # Whatever is wrong here, Pillow reduces.
        return square if all(_agrees(square, *checked) for checked in _CHECKED) else None
    return None


def _agrees(square: Square, sides: tuple[int, int], box: Box, size: int) -> bool:
    levels = np.random.default_rng(1).integers(0, 256, sides[::-1], dtype=np.uint8)
    image = Image.fromarray(levels)
    expected = image.resize((size, size), Image.Resampling.BILINEAR, box)
    return square(levels.tobytes(), sides, box, size) == expected.tobytes()
