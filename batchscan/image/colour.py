"""Whether a picture is in colour, or a radiograph that is stored or tinted in colour.

A radiograph has one channel. Stored as colour its channels are equal, up to the noise of JPEG; a
film that was scanned or photographed has one hue throughout, such as the blue of film base or the
brown of old paper, which follows the brightness; somebody may have put a red letter on it. All of
these are to be scored. In a picture in colour many pixels have hues of their own, or the one hue is
stronger than any film's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_TINT = 36.0
"""Mean chroma, of 128, that a tint may have: blue film and sepia have 20 to 30."""

MAX_DEVIATION = 16.0
"""How far, of 128, a pixel's chroma may lie beside the tint; noise of JPEG or a camera is less."""

MAX_MARKS = 0.05
"""Share of pixels that may lie beside it: letters, arrows, a logo."""

_SIDE = 64  # Pixels of the small version that is looked at.
_LUMA_STEP = 32  # Pixels as bright as each other within so much are compared.


def is_colour(image: Image.Image) -> bool:
    """Say whether a picture (of mode YCbCr, or any that converts to RGB) is one in colour.

    Chroma is the place of a pixel in the plane of Cb and Cr (ITU-T T.871, clause 7), grey lies at
    its origin, and the tint is the mean. A picture is in colour if the tint is farther from grey
    than `MAX_TINT`, or if more than `MAX_MARKS` of the pixels lie more than `MAX_DEVIATION` away
    from the ray from grey through the tint (they have another hue), or from the median of equally
    bright pixels (the hue is not that of a film, which colours all of them alike).
    """
    if _is_near_grey(image):
        return False
    whole = image.convert("RGB") if image.mode == "P" else image
    small = np.asarray(_converted(whole.reduce((_step(image.width), _step(image.height)))))
    luma = small[..., 0].ravel()
    chroma = small[..., 1:].reshape(-1, 2).astype(np.float32) - 128
    tint = chroma.mean(axis=0)
    strength = float(np.hypot(*tint))
    if strength > MAX_TINT:
        return True
    hue = tint / max(strength, 1e-6)
    ray = np.maximum(chroma @ hue, 0)[:, None] * hue
    beside = _is_away(chroma, ray) | _is_away(chroma, _medians(luma, chroma))
    return float(beside.mean()) > MAX_MARKS


def _medians(luma: NDArray[np.uint8], chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each pixel the median chroma of those that are about as bright."""
    steps = luma // _LUMA_STEP
    medians = np.empty_like(chroma)
    for step in np.unique(steps):
        medians[steps == step] = np.median(chroma[steps == step], axis=0)
    return medians


def _is_away(chroma: NDArray[np.float32], place: NDArray[np.float32]) -> NDArray[np.bool_]:
    distance: NDArray[np.float32] = np.hypot(*(chroma - place).T)
    return distance > MAX_DEVIATION


def _is_near_grey(image: Image.Image) -> bool:
    """Look at single pixels on a grid: enough to tell grey that is stored as colour, and fast."""
    pixels = _converted(image.resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
    chroma = np.asarray(pixels)[..., 1:]
    return abs(int(chroma.min()) - 128) < 10 and abs(int(chroma.max()) - 128) < 10


def _converted(image: Image.Image) -> Image.Image:
    return image if image.mode == "YCbCr" else image.convert("RGB").convert("YCbCr")


def _step(side: int) -> int:
    """Return how many pixels become one: averaging takes the noise away."""
    return max(1, side // _SIDE)
