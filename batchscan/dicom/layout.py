"""How the pixels of a DICOM image are laid out, and whether that can be read at all."""

from __future__ import annotations

from dataclasses import dataclass

from batchscan.dicom.elements import Elements
from batchscan.dicom.selection import frame_count
from batchscan.errors import ImageFailure
from batchscan.image.raster import check_size
from batchscan.rules import Rules

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class Layout:
    """How pixels are stored (PS3.3, C.7.6.3; PS3.5, 8.1.1).

    `photometric` is the photometric interpretation; `samples` is 1, or 3 for colour. Each sample
    takes `allocated` bits, of which `stored` count, the highest at `high_bit`.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    planar: int


def layout_of(elements: Elements) -> Layout:
    """Read the image pixel module; raises `ImageFailure` for what is wrong or not read."""
    allocated = elements.integer("BitsAllocated") or 0
    stored = elements.integer("BitsStored") or allocated
    high_bit = elements.integer("HighBit")
    samples = elements.integer("SamplesPerPixel") or 1
    layout = Layout(
        rows=elements.integer("Rows") or 0,
        columns=elements.integer("Columns") or 0,
        frames=frame_count(elements),
        samples=samples,
        photometric=elements.code("PhotometricInterpretation")
        or ("MONOCHROME2" if samples == 1 else "RGB"),
        allocated=allocated,
        stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        signed=elements.integer("PixelRepresentation") == 1,
        planar=elements.integer("PlanarConfiguration") or 0,
    )
    _check_layout(layout)
    return layout


def _check_layout(layout: Layout) -> None:
    if layout.photometric not in (_GREY if layout.samples == 1 else _COLOUR) or (
        layout.samples not in (1, 3)
    ):
        raise ImageFailure(
            "unsupported", "expected grey, palette, RGB or YBR pixels, found another kind of colour"
        )
    if layout.allocated not in (8, 16):
        raise ImageFailure(
            "unsupported", f"expected 8 or 16 bits a sample, found {layout.allocated}"
        )
    if not 1 <= layout.stored <= layout.high_bit + 1 <= layout.allocated:
        raise ImageFailure(
            "corrupt",
            f"{layout.stored} bits up to bit {layout.high_bit} do not fit in {layout.allocated}",
        )


def check_limits(layout: Layout, rules: Rules) -> None:
    """Raise `ImageFailure` for an image without pixels, or with more values than are decoded."""
    check_size(layout.columns, layout.rows, rules)
    values = layout.rows * layout.columns * layout.samples * layout.frames
    if values > rules.max_pixels:
        raise ImageFailure(
            "too_large",
            f"{values:,} values in {layout.frames:,} frames, more than the "
            f"{rules.max_pixels:,} that are decoded",
        )
