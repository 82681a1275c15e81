"""JPEG, PNG, TIFF, BMP, JPEG 2000 and WebP files -> pictures, through Pillow."""

from __future__ import annotations

import io
import logging
import warnings

from PIL import (
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from batchscan.errors import ImageFailure, ImageSkip, NotScored
from batchscan.image.colour import is_colour
from batchscan.image.grey import flatten, to_grey
from batchscan.image.jpeg import shrink, unreadable_kind
from batchscan.image.levels import Box
from batchscan.image.libtiff import silence_libtiff
from batchscan.image.picture import Picture
from batchscan.image.tiff import (
    LENGTH,
    WIDTH,
    Layout,
    orientation,
    reaches_beyond,
    read_layout,
    without_inversion,
)
from batchscan.rules import Rules

# Named here so that Pillow knows them: else it would load all of its forty formats.
_PLUGINS = (Jpeg2KImagePlugin, TiffImagePlugin, WebPImagePlugin)

_TRANSPOSE = {  # EXIF 2.32, 4.6.4: how the stored rows and columns are to be shown
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_MODES = frozenset({"1", "L", "LA", "La", "F"})  # and all that begin with I
_NOT_READ = (  # Pillow's words for what is sound, but nothing that it knows
    *("unknown pixel mode", "unknown data organization", "unable to determine"),
    *("unsupported", "not supported", "not yet supported", "cannot handle"),
)

Image.MAX_IMAGE_PIXELS = None  # Our own limit is checked below, as a failure with a category.
ImageFile.LOAD_TRUNCATED_IMAGES = False  # Half an image is none.
# Damaged metadata around sound pixels is no news; set once, as threads share both.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_raster(data: bytes, format: str, size: int, rules: Rules) -> Picture:
    """Decode a file of one of Pillow's formats for a square of `size` pixels.

    JPEG is decoded at the smallest of libjpeg's scales (1, 1/2, 1/4, 1/8) that still covers
    `size`, all others whole. Raises `NotScored`, and nothing else.
    """
    width = height = None
    try:
        layout = read_layout(data, rules) if format == "tiff" else None
        is_inverted = layout is not None and layout.is_deep_and_inverted
        source = without_inversion(data, layout) if layout and is_inverted else data
        with _open(source, format, layout) as image:
            width, height = _stated_size(image)
            check_size(width, height, rules)
            flags = _flag_pages(image, layout, rules)
            if format == "png":
                _verify_png(data)
            grey, box, coloured = _load(image, data, size, layout)
            flags += _flag_colour(coloured, rules)
            turn = None if format == "tiff" else _turn(image)  # Pillow turns TIFF by itself.
            return Picture(grey, width, height, box=box, turn=turn, flags=flags)
    except NotScored as problem:
        raise problem.with_header(width=width, height=height) from None
    except Exception as error:  # Pillow raises many types on damaged files; each is one image's.
        raise ImageFailure(*_explain(error, data, format), width=width, height=height) from error


def check_size(width: int, height: int, rules: Rules) -> None:
    """Raise `ImageFailure` for an image without pixels, or with more than are decoded."""
    if width < 1 or height < 1:
        raise ImageFailure("corrupt", f"the header says {width} x {height} pixels")
    if width * height > rules.max_pixels:
        raise ImageFailure(
            "too_large",
            f"{width} x {height} pixels, more than the {rules.max_pixels:,} that are decoded",
        )


def _open(data: bytes, format: str, layout: Layout | None) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data), formats=[format])
    if layout is not None:
        silence_libtiff()
        image.seek(layout.page)
    return image


def _stated_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return width and height as they are stored: of a TIFF, Pillow gives those of the turned."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(image.tag_v2[WIDTH]), int(image.tag_v2[LENGTH])
    return image.size


def _flag_pages(image: ImageFile.ImageFile, layout: Layout | None, rules: Rules) -> tuple[str, ...]:
    """Raise `ImageSkip` for a file of several pages or frames; the flag where it is scored.

    A JPEG may hold several pictures, as cameras write them: previews and the like behind the first,
    which counts.
    """
    if layout is not None:
        pages = layout.pages
    else:
        pages = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    if pages == 1:
        return ()
    if not rules.score_all:
        raise ImageSkip("multi_page", f"{pages} pages or frames, expected a single image")
    return ("multi_page",)


def _verify_png(data: bytes) -> None:
    """Check the CRC of every chunk: Pillow's decoder takes damaged pixel data without a word."""
    with Image.open(io.BytesIO(data), formats=["png"]) as image:
        image.verify()


def _load(
    image: ImageFile.ImageFile, data: bytes, size: int, layout: Layout | None
) -> tuple[Image.Image, Box | None, bool]:
    """Decode; returns the grey image, the box of it that counts, and whether it is in colour."""
    if image.format in ("JPEG", "MPO"):
        decoded, box, coloured = shrink(image, data, size)
        grey = to_grey(decoded)
        grey.load()  # Before the file is closed.
        return grey, box, coloured
    cut_to_8_bits = _is_cut_to_8_bits(image)
    image.load()
    if image.format == "BMP" and image.mode == "RGBA":
        image = image.convert("RGB")  # type: ignore[assignment]  # Its fourth byte is mostly 0.
    has_hues = image.mode not in _GREY_MODES and not image.mode.startswith("I")
    flat = flatten(image)
    inverted = layout is not None and layout.is_deep_and_inverted
    grey = to_grey(flat, inverted=inverted, unsigned=layout is not None and layout.is_unsigned)
    if cut_to_8_bits:
        _check_depth(grey)
    return grey, None, has_hues and is_colour(flat)


def _is_cut_to_8_bits(image: ImageFile.ImageFile) -> bool:
    """Say whether Pillow keeps but the upper half of 16 bits: it does of all but plain grey."""
    plain = image.mode == "F" or image.mode.startswith("I")
    return not plain and any(";16" in str(tile.args) for tile in image.tile)


def _check_depth(grey: Image.Image) -> None:
    """Raise `ImageFailure` where the lower half had the image: it would be scored as dark."""
    brightest = int(grey.getextrema()[1])  # type: ignore[arg-type]
    if brightest < 64:
        bits = 8 + brightest.bit_length()
        raise ImageFailure(
            "unsupported",
            f"16-bit colour or transparency of which only {bits} bits are used; expected plain "
            "16-bit grey",
        )


def _flag_colour(coloured: bool, rules: Rules) -> tuple[str, ...]:
    if coloured and not rules.score_all:
        raise ImageSkip("colour", "a picture in colour, expected the grey of a radiograph")
    return ("colour",) if coloured else ()


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what EXIF says is to be done to show the image upright."""
    return _TRANSPOSE.get(orientation(image.info.get("exif", b"")))


def _explain(error: Exception, data: bytes, format: str) -> tuple[str, str]:
    """Sort what Pillow raised into a category and a sentence."""
    if isinstance(error, MemoryError):
        return "too_large", "not enough memory to decode the image"
    if isinstance(error, UnidentifiedImageError):
        error = _reason_of(data, format)
    text = " ".join(str(error).split()) or type(error).__name__
    kind = unreadable_kind(data) if format == "jpeg" else None
    if kind or any(words in text.lower() for words in _NOT_READ):
        return "unsupported", f"an encoding that is not read ({kind or text})"
    if isinstance(error, EOFError) or "truncated" in text.lower() or _ends_early(data, format):
        return "truncated", f"the file ends before the image does ({text})"
    if isinstance(error, UnidentifiedImageError):
        return "corrupt", "the file begins like an image, but its header cannot be read"
    return "corrupt", f"the image data is damaged ({text})"


def _reason_of(data: bytes, format: str) -> Exception:
    """Return why a format's reader refused a header: `Image.open` keeps it to itself."""
    try:
        Image.OPEN[format.upper()][0](io.BytesIO(data), "")
    except Exception as error:  # Whatever it is, it is only put into words.
        return error
    return UnidentifiedImageError("the header cannot be read")


def _ends_early(data: bytes, format: str) -> bool:
    """Say whether a file is shorter than its own header says, or lacks its end mark."""
    if format == "webp":  # RFC 9649, 2.4: the size that follows RIFF
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if format == "jpeg2000":  # ISO/IEC 15444-1, A.4.4: end of codestream, which no data look like
        return b"\xff\xd9" not in data
    if format == "tiff":
        return reaches_beyond(data)
    return format == "bmp" and len(data) < int.from_bytes(data[2:6], "little")
