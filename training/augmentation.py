"""Random changes that a chest X-ray could have had anyway; applied while training, never after.

A child lies a little turned, off centre, nearer or farther, and exposure and film differ: small
rotations, shifts, zooms, brightness and contrast. No flips: mirrored, the heart lies on the right
(situs inversus, about 1 in 10,000), and upside down no chest is X-rayed. What moves in from outside
is black, as beyond the collimator.
"""

from __future__ import annotations

from typing import Any

ROTATION = 10 / 360  # of a full turn: up to 10 degrees either way
SHIFT = 0.05  # of the width and of the height
ZOOM = 0.1  # of the size
BRIGHTNESS = 0.1  # of the whole grey range
CONTRAST = 0.2  # of the distance of each pixel from the image's mean


def build(seed: int) -> Any:
    """Return a Keras model: grey levels (B, S, S, 1), 0 to 255 -> the same shape and range.

    Without `training=True` it changes nothing. `seed` makes its random numbers repeatable.
    """
    import keras
    from keras import layers

    outside = {"fill_mode": "constant", "fill_value": 0.0, "dtype": "float32"}
    levels = {"value_range": (0, 255), "dtype": "float32"}
    return keras.Sequential(
        [
            layers.RandomRotation(ROTATION, seed=seed, **outside),
            layers.RandomTranslation(SHIFT, SHIFT, seed=seed + 1, **outside),
            layers.RandomZoom(ZOOM, seed=seed + 2, **outside),
            layers.RandomBrightness(BRIGHTNESS, seed=seed + 3, **levels),
            layers.RandomContrast(CONTRAST, seed=seed + 4, **levels),
        ],
        name="augmentation",
    )


def describe() -> dict[str, float | str]:
    """Return what is done, for a bundle's card."""
    return {
        "rotation_degrees": round(ROTATION * 360, 3),
        "shift": SHIFT,
        "zoom": ZOOM,
        "brightness": BRIGHTNESS,
        "contrast": CONTRAST,
        "flips": "none",
    }
