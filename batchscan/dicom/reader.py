"""DICOM files -> pictures. The only module of the DICOM part that the others know.

What becomes of a file: `dicom_file` finds its elements, `dicom_selection` says what it is,
`dicom_pixels` decodes it, `dicom_levels` turns stored values into grey levels, and
`dicom_attributes` keeps what audits may know. No message ever repeats a value of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from batchscan.attributes import NO_ATTRIBUTES, Attributes
from batchscan.dicom.attributes import attributes_of
from batchscan.dicom.file import DicomFile, open_dicom
from batchscan.dicom.layout import Layout, check_limits, layout_of
from batchscan.dicom.levels import grey_levels
from batchscan.dicom.library import load_pydicom
from batchscan.dicom.pixels import keeps_container, read_palette, read_pixels
from batchscan.dicom.selection import check_has_pixels, unwanted
from batchscan.errors import ImageFailure, ImageSkip, NotScored
from batchscan.image.colour import is_colour
from batchscan.image.picture import Picture
from batchscan.rules import Rules


@dataclass
class _Known:
    """What is known of a file so far, for the row of one that gets no score."""

    width: int | None = None
    height: int | None = None
    attributes: Attributes = NO_ATTRIBUTES

    def completed(self, problem: NotScored) -> NotScored:
        return type(problem)(
            problem.category,
            problem.reason,
            width=self.width,
            height=self.height,
            attributes=self.attributes,
        )


def read_dicom(data: bytes, size: int, rules: Rules) -> Picture:
    """Decode a DICOM file (PS3.10) for a square of `size` pixels, in the standard's order.

    What is no frontal X-ray of the chest is skipped, or scored with a flag where `rules.score_all`;
    then the first of several frames counts. Raises `NotScored`, and nothing else.
    """
    known = _Known()
    try:
        load_pydicom()
        return _read(data, size, rules, known)
    except Exception as error:  # The libraries raise many types, and quote the file in them.
        raise known.completed(_as_problem(error)) from None


def _as_problem(error: Exception) -> NotScored:
    if isinstance(error, NotScored):
        return error
    if isinstance(error, MemoryError):
        return ImageFailure("too_large", "not enough memory to decode the image")
    if isinstance(error, ImportError):
        return ImageFailure("unsupported", "a package for DICOM is missing; reinstall batchscan")
    return ImageFailure("corrupt", f"the DICOM data is damaged ({type(error).__name__})")


def _read(data: bytes, size: int, rules: Rules, known: _Known) -> Picture:
    file = open_dicom(data, rules)
    known.width = file.elements.integer("Columns")
    known.height = file.elements.integer("Rows")
    known.attributes = attributes_of(file.elements, rules.id_key)
    check_has_pixels(file)
    reasons = unwanted(file)
    if reasons and not rules.score_all:
        raise ImageSkip(*reasons[0])
    layout = layout_of(file.elements)
    check_limits(layout, rules)
    grey, is_colourful = _to_grey(file, layout)
    if is_colourful and not rules.score_all:
        raise ImageSkip("colour", "the channels differ: a picture in colour, not a radiograph")
    flags = [category for category, _ in reasons] + ["colour"] * is_colourful
    return _picture(grey, size, layout, tuple(flags), known.attributes)


def _to_grey(file: DicomFile, layout: Layout) -> tuple[Image.Image, bool]:
    """Return an 8-bit grey image, and whether it was in colour."""
    pixels = read_pixels(file, layout)
    if layout.photometric == "PALETTE COLOR":
        return _from_colour(read_palette(pixels, file.elements), 16)
    if layout.samples == 3:
        return _from_colour(pixels, layout.stored)
    container = keeps_container(file.syntax)
    grey = grey_levels(pixels, file.elements, layout, container=container)
    return Image.fromarray(grey), False


def _from_colour(pixels: NDArray[Any], bits: int) -> tuple[Image.Image, bool]:
    """Take RGB of any depth, (rows, columns, 3); grey is its luma (ITU-R BT.601)."""
    deep = pixels.dtype.itemsize > 1
    image = Image.fromarray((pixels >> (bits - 8)).astype("u1") if deep else pixels)
    return image.convert("L"), is_colour(image)


def _picture(
    grey: Image.Image, size: int, layout: Layout, flags: tuple[str, ...], attributes: Attributes
) -> Picture:
    """Average blocks of 2, 4 or 8 pixels while the square is still covered, as for JPEG."""
    shorter = min(grey.size)
    factor = next(n for n in (8, 4, 2, 1) if n == 1 or shorter // n >= size)
    box = (0.0, 0.0, grey.width / factor, grey.height / factor)
    if factor > 1:
        grey = grey.reduce(factor)
    return Picture(grey, layout.columns, layout.rows, box=box, flags=flags, attributes=attributes)
