"""What is odd about an image that is scored all the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def flags_of(pixels: NDArray[np.uint8], *, width: int, height: int) -> tuple[str, ...]:
    """Return the flags of `batchscan.schema.FLAGS` that follow from an image's pixels and size.

    `pixels` is uint8 (S, S), as the network sees it; width and height are those of the file.
    """
    flags = []
    if pixels.min() == pixels.max():
        flags.append("blank")
    if min(width, height) * 2 < len(pixels):
        flags.append("low_resolution")
    return tuple(flags)
