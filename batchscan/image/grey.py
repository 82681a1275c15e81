"""Grey levels of any depth -> 8 bits, and whatever else Pillow has -> grey."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchscan.errors import ImageFailure

PERCENTILES = (0.5, 99.5)
"""Of values without a depth: what becomes black and what white. A burnt-in letter, a dead pixel or
a block that failed in the detector takes less than half a percent of an image."""

_ALPHA = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})
_ROWS = 256  # So many are scaled at a time: a large image needs no second copy of 8 bytes a pixel.
_SAMPLE = 200_000  # Percentiles of so many pixels are those of all.


def flatten(image: Image.Image) -> Image.Image:
    """Lay an 8-bit image that has transparent pixels on black; return others as they are."""
    if image.mode.startswith("I"):
        return image
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)


def to_grey(image: Image.Image, *, inverted: bool = False, unsigned: bool = False) -> Image.Image:
    """Turn any mode without transparency into 8-bit grey (mode L), 0 black to 255 white.

    Colour becomes luma (ITU-R BT.601). `inverted` says that a deep image's lowest value is white,
    `unsigned` that the 32 bits of mode I have no sign, as Pillow takes them to have.
    Raises `ImageFailure`, `unsupported`, for a colour space that Pillow cannot convert.
    """
    if image.mode == "L":
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        grey = _from_deep(values.view(np.uint32) if unsigned and image.mode == "I" else values)
        return Image.fromarray(255 - grey if inverted else grey)
    try:
        return image.convert("L")
    except ValueError as error:
        raise ImageFailure("unsupported", f"a colour space that is not read ({error})") from error


def _from_deep(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    if values.dtype.kind == "f" or values.min() < 0:
        return _from_range(values)
    return _from_depth(values)


def _from_depth(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale integers from 0 upward by the depth that the pixels really use.

    Detectors have 10 to 16 bits and files store them all as 16, often unscaled: taking the whole
    range would turn a 12-bit image black. The depth is the smallest even number of bits, 8 or
    more, that holds the brightest pixel. Percentiles would serve an unknown depth as well, but they
    would also stretch a faint exposure and change what every 8-bit export of the same image shows:
    the upper 8 bits of the depth.
    """
    bits = max(8, int(values.max()).bit_length())
    bits += bits % 2
    grey = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), _ROWS):
        grey[start : start + _ROWS] = values[start : start + _ROWS] >> (bits - 8)
    return grey


def _from_range(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale floats and signed integers, which have no depth, between `PERCENTILES`.

    Only finite values count. Infinite ones become black and white, those that are no number black.
    """
    low, high = _range(values)
    grey = np.empty(values.shape, dtype=np.uint8)
    with np.errstate(all="ignore"):
        for start in range(0, len(values), _ROWS):
            share = values[start : start + _ROWS].astype(np.float64)
            share -= low
            share *= 255 / (high - low)
            # The greater of a number and none is the number: fmax makes black of what is none.
            grey[start : start + _ROWS] = np.fmin(np.fmax(share, 0, out=share), 255, out=share)
    return grey


def _range(values: NDArray[np.generic]) -> tuple[float, float]:
    """Return what becomes black and what white; the second is greater than the first."""
    step = max(1, int((values.size / _SAMPLE) ** 0.5))
    with np.errstate(all="ignore"):  # A signalling NaN is no news.
        sample = values[::step, ::step].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, PERCENTILES)
    if low == high:
        low, high = sample.min(), sample.max()
    return float(low), float(high if high > low else low + max(1.0, abs(low)))
