"""Bytes of an image file -> a small square of grey levels. Training and scoring share this code.

The format is decided by the content, never by the name. To add a format: a signature in
`batchscan/image/signature.py`, and a reader that makes a `Picture` of a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchscan.attributes import NO_ATTRIBUTES, Attributes
from batchscan.errors import ImageFailure, Interrupted, NotScored
from batchscan.image.jpeg import read_plain
from batchscan.image.picture import Picture
from batchscan.image.raster import read_raster
from batchscan.image.signature import SNIFF_BYTES, foreign_content, readable_formats, sniff
from batchscan.image.square import to_square
from batchscan.rules import DEFAULT_RULES, Rules

PREPROCESSING = "grey-draft-box-bilinear/1"
"""Names the way from bytes to pixels, in bundles and results; changes whenever the pixels do."""

_ON_ITS_SIDE = frozenset(
    {
        *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
        *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
    }
)
_STOPS = (KeyboardInterrupt, SystemExit, Interrupted)
"""What ends a process from outside."""


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` is uint8 (S, S), 0 black to 255 white; width and height are those of the file.

    `flags` are those of `batchscan.schema.FLAGS` that the file tells; those that follow from the
    square and the sides are in `batchscan.image.flags`.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str
    flags: tuple[str, ...] = ()
    attributes: Attributes = NO_ATTRIBUTES


def decode(data: bytes, size: int, rules: Rules = DEFAULT_RULES) -> DecodedImage:
    """Decode an image file to `size` x `size` grey levels; the aspect ratio is squashed.

    Raises `ImageFailure` with a category of `batchscan.schema.FAILURES` or `ImageSkip` with one of
    `batchscan.schema.SKIPS`, and nothing else, whatever the bytes are.
    """
    format = _checked_format(data)
    with _categorised(format):
        picture = _read(data, format, size, rules)
        pixels = _square(picture, size)
    width, height = picture.width, picture.height
    return DecodedImage(pixels, width, height, format, picture.flags, picture.attributes)


def thumbnail(data: bytes, height: int, rules: Rules = DEFAULT_RULES) -> NDArray[np.uint8]:
    """Decode an image file to a small picture for people: upright, with its aspect ratio.

    Returns uint8 (h, w), 0 black to 255 white, with h at most `height` and w at most twice that;
    small images are not enlarged. Nothing of the file but its pixels is left. Raises as `decode`.
    """
    format = _checked_format(data)
    with _categorised(format):
        picture = _read(data, format, height, rules)
        image = picture.image()
        left, upper, right, lower = picture.box or (0.0, 0.0, *map(float, image.size))
        shown = (right - left, lower - upper)
        limits = (height, 2 * height) if picture.turn in _ON_ITS_SIDE else (2 * height, height)
        scale = min(1.0, limits[0] / shown[0], limits[1] / shown[1])
        size = tuple(max(1, round(side * scale)) for side in shown)
        grey = image.resize((size[0], size[1]), Image.Resampling.LANCZOS, picture.box)
        return np.asarray(grey if picture.turn is None else grey.transpose(picture.turn))


@contextlib.contextmanager
def _categorised(format: str) -> Iterator[None]:
    """Turn whatever decoding raises into `NotScored`."""
    try:
        yield
    except NotScored as problem:
        raise problem.with_header(format=format) from problem.__cause__
    except MemoryError as error:
        reason = "not enough memory to decode the image"
        raise ImageFailure("too_large", reason, format=format) from error
    except _STOPS:
        raise
    except BaseException as error:  # No file may end a run, whatever a library raises: Rust panics.
        reason = f"the image data is damaged ({error or type(error).__name__})"
        raise ImageFailure("corrupt", reason, format=format) from error


def _checked_format(data: bytes) -> str:
    if not data:
        raise ImageFailure("empty", "the file has no content (0 bytes)")
    format = sniff(data[:SNIFF_BYTES])
    if format is None:
        raise ImageFailure(
            "not_an_image",
            f"expected an image ({readable_formats()}), found {foreign_content(data)}",
        )
    return format


def _read(data: bytes, format: str, size: int, rules: Rules) -> Picture:
    if format == "dicom":
        from batchscan.dicom.reader import (
            read_dicom,  # Not imported where there is no DICOM: pydicom.
        )

        return read_dicom(data, size, rules)
    plain = read_plain(data, size, rules) if format == "jpeg" else None
    return read_raster(data, format, size, rules) if plain is None else plain


def _square(picture: Picture, size: int) -> NDArray[np.uint8]:
    """Squash a picture to a square, then turn it: on few pixels that costs nothing."""
    pixels = to_square(picture.grey, picture.box, size)
    if picture.turn is None:
        return pixels
    return np.asarray(Image.fromarray(pixels).transpose(picture.turn))
