"""What decoding does on this machine, as a digest: libraries may change under the same name.

Measured, not read off: a few images are decoded, and their pixels are hashed. So another version of
a decoder shows if, and only if, its pixels differ.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from batchscan.image.decode import PREPROCESSING, decode

TEST_CARD = Path(__file__).with_name("test_card.jpg")
"""A phantom as a JPEG in colour: 900 x 720, so that it is reduced while it is decoded."""

SIZE = 144


def preprocessing_digest() -> str:
    """Return the SHA-256 of the recipe's name and of the pixels it makes of the test images."""
    digest = hashlib.sha256(PREPROCESSING.encode())
    for data in _test_images():
        digest.update(decode(data, SIZE).pixels.tobytes())
    return digest.hexdigest()


def _test_images() -> Iterator[bytes]:
    """Yield files: a JPEG as it was encoded once, and PNGs, which come out as they went in."""
    yield TEST_CARD.read_bytes()
    rows, columns = np.mgrid[0:331, 0:403]
    pattern = rows * 37 + columns * 11 + (rows // 40 + columns // 30) % 2 * 900
    for pixels in ((pattern // 64).astype(np.uint8), (pattern % 4096).astype(np.uint16)):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        yield stream.getvalue()
