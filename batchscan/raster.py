"""JPEG and PNG files -> pictures, through Pillow."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from batchscan.errors import ImageFailure, NotScored
from batchscan.picture import Picture
from batchscan.rules import Rules

_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4: how the stored rows and columns are to be shown
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.MAX_IMAGE_PIXELS = None  # Our own limit is checked below, as a failure with a category.
# Damaged metadata around sound pixels is no news; set once, as threads share the filters.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")


def read_raster(data: bytes, format: str, size: int, rules: Rules) -> Picture:
    """Decode a file of one of Pillow's formats for a square of `size` pixels.

    JPEG is decoded at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that still covers
    `size`, straight to its luma channel. Raises `NotScored`, and nothing else.
    """
    width = height = None
    try:
        with Image.open(io.BytesIO(data), formats=[format]) as image:
            width, height = image.size
            check_size(width, height, rules)
            if format == "png":
                _verify_png(data)
            box = _reduce(image, size) if format == "jpeg" else None
            grey = _to_grey(image)
            grey.load()  # Before the file is closed.
            return Picture(grey, width, height, box=box, turn=_turn(image))
    except NotScored as problem:
        raise problem.with_header(width=width, height=height) from None
    except Exception as error:  # Pillow raises many types on damaged files; each is one image's.
        raise ImageFailure(*_explain(error), width=width, height=height) from error


def check_size(width: int, height: int, rules: Rules) -> None:
    """Raise `ImageFailure` for an image without pixels, or with more than are decoded."""
    if width < 1 or height < 1:
        raise ImageFailure("corrupt", f"the header says {width} x {height} pixels")
    if width * height > rules.max_pixels:
        raise ImageFailure(
            "too_large",
            f"{width} x {height} pixels, more than the {rules.max_pixels:,} that are decoded",
        )


def _verify_png(data: bytes) -> None:
    """Check the CRC of every chunk: Pillow's decoder takes damaged pixel data without a word."""
    with Image.open(io.BytesIO(data), formats=["png"]) as image:
        image.verify()


def _reduce(image: ImageFile.ImageFile, size: int) -> tuple[float, float, float, float] | None:
    """Have a JPEG decoded at reduced size; returns the box of it that the picture fills.

    The decoder rounds the size up: the last row and column may be filled in part only.
    """
    drafted = image.draft("L", (size, size))
    return None if drafted is None else drafted[1]


def _to_grey(image: Image.Image) -> Image.Image:
    """Any mode that JPEG and PNG have -> 8-bit grey; transparent pixels are black."""
    if image.mode == "L" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("L")
    return image.convert("L")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey by the depth that the pixels really use.

    Detectors have 10 to 16 bits and PNG stores them all as 16, often unscaled: taking the whole
    range would turn a 12-bit image black. The depth is the smallest even number of bits, 8 or
    more, that holds the brightest pixel.
    """
    values = np.asarray(image, dtype=np.int64)
    bits = max(8, int(values.max()).bit_length())
    bits += bits % 2
    return Image.fromarray((np.clip(values, 0, None) * 255 >> bits).astype(np.uint8))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what EXIF says is to be done to show the image upright."""
    if "exif" not in image.info:
        return None
    return _TRANSPOSE.get(image.getexif().get(_ORIENTATION, 1))


def _explain(error: Exception) -> tuple[str, str]:
    """Sort what Pillow raised into a category and a sentence."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return "too_large", "not enough memory to decode the image"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "truncated", f"the file ends before the image does ({text})"
    if isinstance(error, UnidentifiedImageError):
        return "corrupt", "the file begins like an image, but its header cannot be read"
    return "corrupt", f"the image data is damaged ({text})"
