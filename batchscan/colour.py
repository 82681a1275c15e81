"""Whether a picture is in colour, or a radiograph that is stored or tinted in colour.

A radiograph has one channel. Stored as colour its channels are equal, up to the noise of JPEG; a
film that was scanned or photographed has one hue throughout, such as the blue of film base or the
brown of old paper, that comes and goes with brightness; somebody may have put a red letter on it.
All of these are to be scored. In a picture in colour many pixels have hues of their own, or the one
hue is stronger than any film's.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

MAX_TINT = 40.0
"""Mean chroma, of 128, that a tint may have. Blue film base has about 15 to 30, sepia about 20; a
photograph of skin or of an eye's background, whose hues are alike, has 40 to 70."""

MAX_DEVIATION = 16.0
"""How far, of 128, a pixel's chroma may lie beside the tint; noise of JPEG or a camera is less."""

MAX_MARKS = 0.05
"""Share of pixels that may lie beside it: letters, arrows, a logo."""

_SIDE = 64  # Pixels of the small version that is looked at.


def is_colour(image: Image.Image) -> bool:
    """Say whether a picture (of mode YCbCr, or any that converts to RGB) is one in colour.

    Chroma is the distance from grey in the plane of Cb and Cr (ITU-T T.871, clause 7). The tint is
    its mean. A picture is in colour if the tint is longer than `MAX_TINT`, or if more than
    `MAX_MARKS` of the pixels lie more than `MAX_DEVIATION` beside the ray from grey through the
    tint: on the ray are all strengths of the same hue.
    """
    small = _small(image)
    blue, red = small.getchannel(1), small.getchannel(2)
    if all(_near_grey(band) for band in (blue, red)):
        return False
    chroma = np.stack([np.asarray(blue), np.asarray(red)], axis=-1).astype(np.float32) - 128
    tint = chroma.mean(axis=(0, 1))
    strength = float(np.hypot(*tint))
    if strength > MAX_TINT:
        return True
    hue = tint / max(strength, 1e-6)
    on_ray = np.maximum(chroma @ hue, 0)[..., None] * hue
    deviation = np.hypot(*np.moveaxis(chroma - on_ray, -1, 0))
    return float((deviation > MAX_DEVIATION).mean()) > MAX_MARKS


def _small(image: Image.Image) -> Image.Image:
    """Average blocks of pixels, which takes the noise away, and go over to luma and chroma."""
    small = image.reduce((max(1, image.width // _SIDE), max(1, image.height // _SIDE)))
    return small if small.mode == "YCbCr" else small.convert("RGB").convert("YCbCr")


def _near_grey(band: Image.Image) -> bool:
    extrema = band.getextrema()
    return all(abs(value - 128) * 1.5 < MAX_DEVIATION for value in extrema)  # type: ignore[operator]
