"""What JPEG's compression does to grey levels: blocks, cosines, rounding (ITU-T T.81, 1992).

The same in `keras.ops`, so that it runs on the device that trains.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

LUMINANCE = np.array(  # quantisation at quality 50: ITU-T T.81 (1992), table K.1
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=np.float32,
)


def quantise(images: Any, scale: Any) -> Any:
    """Round the cosine transform of each 8 x 8 block to multiples of `scale` times table K.1.

    Images are float32 (B, S, S, 1), 0 to 1; scales are float32 (B, 1, 1, 1), above 0.
    """
    size = images.shape[1]
    blocks = math.ceil(size / 8)
    if missing := blocks * 8 - size:
        images = ops.pad(images, ((0, 0), (0, missing), (0, missing), (0, 0)), mode="symmetric")
    waves = ops.convert_to_tensor(_cosines())
    table = ops.reshape(ops.convert_to_tensor(LUMINANCE), (1, 1, 8, 1, 8))
    steps = ops.maximum(table * ops.reshape(scale, (-1, 1, 1, 1, 1)), 1.0)
    levels = ops.reshape(images * 255 - 128, (-1, blocks, 8, blocks, 8))
    spectrum = _both_ways(levels, ops.transpose(waves))
    spectrum = ops.round(spectrum / steps) * steps
    levels = (_both_ways(spectrum, waves) + 128) / 255
    whole = ops.reshape(levels, (-1, blocks * 8, blocks * 8, 1))
    return ops.clip(whole[:, :size, :size], 0, 1)


def _both_ways(blocks: Any, matrix: Any) -> Any:
    """Multiply rows and columns of blocks (B, R, 8, C, 8) with a matrix (8, 8)."""
    across = ops.matmul(blocks, matrix)
    return ops.transpose(
        ops.matmul(ops.transpose(across, (0, 1, 3, 4, 2)), matrix), (0, 1, 4, 2, 3)
    )


def _cosines() -> Any:
    """Return the orthonormal cosine transform of 8 samples, float32 (8, 8): row = frequency."""
    frequency, sample = np.mgrid[0:8, 0:8]
    waves = np.cos((2 * sample + 1) * frequency * np.pi / 16) / 2
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)
