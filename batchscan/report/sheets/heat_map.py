"""A heat map over a radiograph: colours that leave the anatomy as it was.

Lightness stays that of the radiograph, so what is dark stays dark and edges stay where they are;
the map adds hue and strength of colour alone. This is done in OKLab (Ottosson, "A perceptual color
space for image processing", 2020), in which equal steps look equal. Orange and blue are told apart
by people with any of the usual colour deficiencies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOR, AGAINST = "orange", "blue"

_FOR_HUE, _AGAINST_HUE = np.deg2rad(62.0), np.deg2rad(255.0)
_CHROMA = 0.17  # The strongest colour; more does not exist on screens at medium lightness.
_LIFT = 0.10  # How much lighter black becomes under full colour: else none would be seen there.
_QUIET = 0.08  # Below this share of the full colour there is none: most places say a little.
_OUTLINED = 0.5  # Places from this share on are outlined: also seen where colours are not printed.
_LINE = 0.93  # The outline's lightness.
_LMS_OF_OKLAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_OF_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def heat_map(
    grey: NDArray[np.uint8], places: NDArray[np.float32], full: float
) -> NDArray[np.uint8]:
    """Lay a map over a picture: uint8 (h, w) grey levels become uint8 (h, w, 3), sRGB.

    `places` is (rows, columns), over the whole picture; above 0 becomes orange, below blue, and a
    value of `full` or more has the full colour. Between places it is smooth (bicubic).
    """
    height, width = grey.shape
    smooth = Image.fromarray(places.astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    value = np.asarray(smooth, dtype=np.float64) / full
    strength = np.sign(value) * np.clip((np.abs(value) - _QUIET) / (1 - _QUIET), 0, 1)
    lightness = np.cbrt(_linear(grey / 255.0))
    return _coloured(np.where(_outline(value >= _OUTLINED), _LINE, lightness), strength)


def _coloured(lightness: NDArray[np.float64], strength: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Give OKLab's lightness (h, w), 0 to 1, a colour of strength -1 to 1."""
    amount = np.abs(strength)
    lightness = lightness + _LIFT * amount * (1 - lightness) ** 2
    # Where there is hardly light or nearly white, strong colours don't exist.
    chroma = _CHROMA * amount * np.clip(4 * lightness * (1 - lightness), 0, 1) ** 0.5
    hue = np.where(strength > 0, _FOR_HUE, _AGAINST_HUE)
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    rgb = (oklab @ _LMS_OF_OKLAB.T) ** 3 @ _RGB_OF_LMS.T
    levels: NDArray[np.uint8] = np.rint(255 * _gamma(np.clip(rgb, 0, 1))).astype(np.uint8)
    return levels


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of an area (h, w) that have a neighbour outside of it."""
    padded = np.pad(inside, 1, mode="edge")
    whole = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~whole


def _linear(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn sRGB values, 0 to 1, into amounts of light (IEC 61966-2-1)."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _gamma(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
