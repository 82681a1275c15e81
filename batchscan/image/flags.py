"""What is odd about an image that is scored all the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLANK_RANGE = 8
"""Levels of 255 within which all pixels are alike: the noise of an empty plate."""

SATURATED_SHARE = 0.95
"""Share of pixels at an end of the scale from which on an image is saturated."""

_END = 4  # Levels that an end of the scale has, as JPEG blurs it.


def flags_of(pixels: NDArray[np.uint8], sides: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
    """Return the flags of `batchscan.schema.FLAGS` that follow from images' pixels and sizes.

    `pixels` is uint8 (B, S, S), as the network sees them; `sides` has width and height of each
    file. `low_resolution` is about the shorter side: less than S / 2 pixels. `extreme_aspect` is a
    longer side of more than three times the shorter. A `blank` image is not `saturated` as well.
    """
    size = pixels.shape[1]
    flat = pixels.reshape(len(pixels), size * size)
    is_blank = flat.max(axis=1) - flat.min(axis=1) <= BLANK_RANGE
    is_saturated = _extreme_counts(flat) >= SATURATED_SHARE * size * size
    return [
        _flags(blank, saturated and not blank, min(each), max(each), size)
        for blank, saturated, each in zip(
            is_blank.tolist(), is_saturated.tolist(), sides, strict=True
        )
    ]


def _extreme_counts(flat: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each row that are at an end of the scale."""
    # Adding wraps around: both ends of the scale become its lower end. Row by row, as the sums of
    # one row stay in a core's cache.
    counts = [np.count_nonzero(row + np.uint8(_END) < 2 * _END) for row in flat]
    return np.array(counts, dtype=np.int64)


def _flags(blank: bool, saturated: bool, shorter: int, longer: int, size: int) -> tuple[str, ...]:
    facts = {
        "blank": blank,
        "saturated": saturated,
        "low_resolution": shorter * 2 < size,
        "extreme_aspect": longer > 3 * shorter,
    }
    return tuple(flag for flag, holds in facts.items() if holds)
