"""Bytes of an image file -> a small square of grey levels. Training and scoring share this code.

The format is decided by the content, never by the name. To add a format: a signature in
`SIGNATURES`, and whatever its pixels need in `_to_grey`.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from batchscan.errors import ImageFailure

PREPROCESSING = "grey-draft-box-bilinear/1"
"""Names the way from bytes to pixels, in bundles and results; changes whenever the pixels do."""

MAX_PIXELS = 200_000_000
"""Ten times the largest detector in use (about 20 million pixels); more is a decompression bomb."""

SNIFF_BYTES = 16
"""How many leading bytes `sniff` needs."""

SIGNATURES = {
    "jpeg": b"\xff\xd8\xff",  # ISO/IEC 10918-1, B.2: start of image, then a marker
    "png": b"\x89PNG\r\n\x1a\n",  # PNG specification, 5.2
}

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png"})
"""Names that promise an image: such a file is a row even where its content is something else."""

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


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` is uint8 (S, S), 0 black to 255 white; width and height are those of the file."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str


def sniff(head: bytes) -> str | None:
    """Name the format that the first bytes of a file (`SNIFF_BYTES` are enough) belong to."""
    for name, signature in SIGNATURES.items():
        if head.startswith(signature):
            return name
    return None


def decode(data: bytes, size: int) -> DecodedImage:
    """Decode an image file to `size` x `size` grey levels; the aspect ratio is squashed.

    JPEG is decoded at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that still covers
    `size`, straight to its luma channel. Raises `ImageFailure` with a category of
    `batchscan.schema.FAILURES`, and nothing else, whatever the bytes are.
    """
    format = _checked_format(data)
    header: dict[str, int] = {}
    try:
        with Image.open(io.BytesIO(data), formats=[format]) as image:
            header = {"width": image.width, "height": image.height}
            _check_size(*image.size)
            if format == "png":
                _verify_png(data)
            box = _reduce(image, size) if format == "jpeg" else None
            grey = _to_grey(image).resize((size, size), Image.Resampling.BILINEAR, box)
            pixels = _upright(grey, image)
            return DecodedImage(np.asarray(pixels), format=format, **header)
    except ImageFailure as failure:
        raise ImageFailure(failure.category, failure.reason, format=format, **header) from None
    except Exception as error:  # Pillow raises many types on damaged files; each is one image's.
        category, reason = _explain(error)
        raise ImageFailure(category, reason, format=format, **header) from error


def _checked_format(data: bytes) -> str:
    if not data:
        raise ImageFailure("empty", "the file has no content (0 bytes)")
    format = sniff(data[:SNIFF_BYTES])
    if format is None:
        raise ImageFailure(
            "not_an_image",
            f"expected JPEG or PNG content, found a file that begins with {data[:8].hex(' ')}",
        )
    return format


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageFailure("corrupt", f"the header says {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageFailure(
            "too_large",
            f"{width} x {height} pixels, more than the {MAX_PIXELS:,} that are decoded",
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


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Turn as EXIF says; on the small square, where it costs nothing."""
    if "exif" not in image.info:
        return pixels
    method = _TRANSPOSE.get(image.getexif().get(_ORIENTATION, 1))
    return pixels if method is None else pixels.transpose(method)


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
