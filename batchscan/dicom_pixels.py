"""Pixel data of a DICOM file -> the stored values of its first frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchscan.dicom_file import BIG_ENDIAN, DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE, DicomFile
from batchscan.dicom_selection import frame_count
from batchscan.dicom_stream import check_stream, first_frame
from batchscan.errors import ImageFailure
from batchscan.raster import check_size
from batchscan.rules import Rules

if TYPE_CHECKING:
    from batchscan.dicom_elements import Elements

_NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, BIG_ENDIAN)
_RLE = "1.2.840.10008.1.2.5"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_PLUGINS = {  # PS3.6, annex A; the fastest decoder of each that needs no GPL
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    _EXTENDED: "pillow",  # JPEG extended, if of 8 bits
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless, any predictor
    "1.2.840.10008.1.2.4.70": "gdcm",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # high-throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202": "pylibjpeg",  # the same, progressive by resolution
    "1.2.840.10008.1.2.4.203": "pylibjpeg",  # high-throughput JPEG 2000
    _RLE: "pylibjpeg",
}
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PUBLIC = re.compile(r"1\.2\.840\.10008\.1\.2(\.\d{1,3}){0,3}")


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
    """Read the image pixel module; raises `ImageFailure` for what it must not say, or is not read."""
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


def read_pixels(file: DicomFile, layout: Layout) -> NDArray[np.generic]:
    """Return the first frame as it is stored: uint8 or uint16 (rows, columns), all bits of it.

    Three samples give RGB, (rows, columns, 3). Raises `ImageFailure`; the decoders may raise
    anything else on damaged data.
    """
    assert file.pixels is not None
    if file.syntax not in (*_NATIVE, *_PLUGINS):
        raise ImageFailure("unsupported", f"{syntax_name(file.syntax)} is not read")
    if file.syntax in _NATIVE:
        values = _native(file, layout)
    else:
        values = _compressed(file.pixels, file.syntax, layout)
    if values.dtype.itemsize > 2:
        raise ImageFailure("unsupported", "the decoder gave more than 16 bits a sample")
    unsigned = values.astype(values.dtype.newbyteorder("="), copy=False)
    return unsigned.view(f"u{unsigned.dtype.itemsize}")


def read_palette(pixels: NDArray[Any], elements: Elements) -> NDArray[np.uint16]:
    """Look palette colours up (PS3.3, C.7.9): RGB of 16 bits, uint16 (rows, columns, 3)."""
    from pydicom.pixels import apply_color_lut

    colours = apply_color_lut(pixels, elements.dataset)
    if colours.dtype.itemsize == 1:
        return colours.astype(np.uint16) * 257
    return colours.astype(np.uint16)


def keeps_container(syntax: str) -> bool:
    """Say whether values come with all the bits allocated, or as a codec's numbers."""
    return syntax in (*_NATIVE, _RLE)


def syntax_name(uid: str) -> str:
    """Name a transfer syntax in words; a private UID is not repeated, as it may tell of a place."""
    from pydicom.uid import UID_dictionary

    if uid in UID_dictionary:
        return f"the transfer syntax {UID_dictionary[uid][0]}"
    return f"the transfer syntax {uid}" if _PUBLIC.fullmatch(uid) else "a private transfer syntax"


def _native(file: DicomFile, layout: Layout) -> NDArray[Any]:
    assert file.pixels is not None
    per_pixel = 2 if layout.photometric == "YBR_FULL_422" else layout.samples
    size = layout.rows * layout.columns * per_pixel * layout.allocated // 8
    found = len(file.pixels)
    if file.declared is None:
        raise ImageFailure("corrupt", "the pixel data is in fragments, but said to be uncompressed")
    if found < size:
        raise ImageFailure(
            "truncated" if file.declared > found else "corrupt",
            f"expected {size:,} bytes of pixels, found {found:,}",
        )
    return _decode(file.syntax, file.pixels[:size], layout, pixel_vr=file.pixel_vr or "OW")


def _compressed(pixels: memoryview, syntax: str, layout: Layout) -> NDArray[Any]:
    from pydicom.encaps import encapsulate

    stream = first_frame(pixels, layout.frames)
    if syntax != _RLE:
        header = check_stream(
            stream, rows=layout.rows, columns=layout.columns, samples=layout.samples
        )
        if syntax == _EXTENDED and header.precision > 8:
            return _extended(stream, layout, header.precision)
    return _decode(syntax, encapsulate([stream], has_bot=False), layout)


def _decode(
    syntax: str, pixels: memoryview | bytes, layout: Layout, **options: Any
) -> NDArray[Any]:
    """Have pydicom decode one frame; colour comes as RGB (PS3.3, C.7.6.3.1.2)."""
    from pydicom.pixels import get_decoder

    array: NDArray[Any] = get_decoder(syntax).as_array(
        pixels,
        index=0,
        raw=layout.samples == 1,
        decoding_plugin=_PLUGINS.get(syntax, ""),
        view_only=True,
        rows=layout.rows,
        columns=layout.columns,
        number_of_frames=1,
        samples_per_pixel=layout.samples,
        photometric_interpretation=layout.photometric,
        bits_allocated=layout.allocated,
        bits_stored=layout.stored,
        pixel_representation=int(layout.signed),
        planar_configuration=layout.planar,
        pixel_keyword="PixelData",
        **options,
    )[0]
    return array


def _extended(stream: bytes, layout: Layout, precision: int) -> NDArray[np.uint16]:
    """Decode JPEG extended of 12 bits, which GDCM can but pydicom's plugin for it refuses to."""
    import gdcm

    if layout.samples != 1 or layout.allocated != 16:
        raise ImageFailure("unsupported", "JPEG of 12 bits is read in grey and 16 bits only")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation
    image.SetPhotometricInterpretation(kind(kind.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, precision, precision - 1, 0))
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")  # It gives bytes as a str.
    return np.frombuffer(buffer, dtype="<u2").reshape(layout.rows, layout.columns)
