"""What is odd about an image that is scored all the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLANK_RANGE = 8
"""Levels of 255 within which all pixels are alike: the noise of an empty plate."""

SATURATED_SHARE = 0.95
"""Share of pixels at an end of the scale from which on an image is saturated."""

_END = 4  # Levels that an end of the scale has, as JPEG blurs it.


def flags_of(pixels: NDArray[np.uint8], *, width: int, height: int) -> tuple[str, ...]:
    """Return the flags of `batchscan.schema.FLAGS` that follow from an image's pixels and size.

    `pixels` is uint8 (S, S), as the network sees it; width and height are those of the file.
    `low_resolution` is about the shorter side: less than S / 2 pixels. `extreme_aspect` is a longer
    side of more than three times the shorter. A `blank` image is not called `saturated` as well.
    """
    flags = []
    darkest, brightest = int(pixels.min()), int(pixels.max())
    if brightest - darkest <= BLANK_RANGE:
        flags.append("blank")
    elif darkest < _END or brightest > 255 - _END:
        # Adding wraps around: both ends of the scale become its lower end.
        extreme = np.count_nonzero(pixels + np.uint8(_END) < 2 * _END)
        if extreme >= SATURATED_SHARE * pixels.size:
            flags.append("saturated")
    shorter, longer = sorted((width, height))
    if shorter * 2 < len(pixels):
        flags.append("low_resolution")
    if longer > 3 * shorter:
        flags.append("extreme_aspect")
    return tuple(flags)
