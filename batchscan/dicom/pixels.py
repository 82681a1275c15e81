"""Pixel data of a DICOM file -> the stored values of its first frame.

Pillow must be loaded before GDCM, as it is here: the other way round, python-gdcm 3.2.6 makes
Pillow overwrite memory when it writes a PNG.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image  # noqa: F401 (before GDCM)

from batchscan.dicom.elements import uid_name
from batchscan.dicom.file import BIG_ENDIAN, DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE, DicomFile
from batchscan.dicom.layout import Layout
from batchscan.dicom.stream import check_stream, first_frame
from batchscan.errors import ImageFailure

if TYPE_CHECKING:
    from batchscan.dicom.elements import Elements

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
_STDERR = threading.Lock()
_PUBLIC = re.compile(r"1\.2\.840\.10008\.1\.2(\.\d{1,3}){0,3}")


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
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(pixels, elements.dataset)
    if colours.dtype.itemsize == 1:
        return colours.astype(np.uint16) * 257
    return colours.astype(np.uint16)


def keeps_container(syntax: str) -> bool:
    """Say whether values come with all the bits allocated, or as a codec's numbers."""
    return syntax in (*_NATIVE, _RLE)


def syntax_name(uid: str) -> str:
    """Name a transfer syntax in words; a private UID is not repeated, as it may tell of a place."""
    name = uid_name(uid) or (uid if _PUBLIC.fullmatch(uid) else "")
    return f"the transfer syntax {name}" if name else "a private transfer syntax"


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
    if syntax == _RLE and layout.samples == 1:
        return _run_lengths(stream, layout)
    if syntax != _RLE:
        header = check_stream(
            stream,
            rows=layout.rows,
            columns=layout.columns,
            samples=layout.samples,
            bits=layout.allocated,
        )
        if syntax == _EXTENDED and header.precision > 8:
            return _extended(stream, layout)
    return _decode(syntax, encapsulate([stream], has_bot=False), layout)


def _run_lengths(stream: bytes, layout: Layout) -> NDArray[Any]:
    """Decode grey RLE (PS3.5, annex G) as pydicom's plugin does, but without pydicom's copies."""
    from rle.utils import decode_pixel_data

    with _without_stderr(), _without_panic():
        values = decode_pixel_data(
            stream,
            version=2,
            rows=layout.rows,
            columns=layout.columns,
            bits_allocated=layout.allocated,
        )
    kind = f"<u{layout.allocated // 8}"
    return np.frombuffer(values, dtype=kind).reshape(layout.rows, layout.columns)


def _decode(
    syntax: str, pixels: memoryview | bytes, layout: Layout, **options: Any
) -> NDArray[Any]:
    """Have pydicom decode one frame; colour comes as RGB (PS3.3, C.7.6.3.1.2)."""
    from pydicom.pixels.decoders.base import get_decoder

    options |= {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "planar_configuration": layout.planar,
        "pixel_keyword": "PixelData",
        "view_only": True,
        "correct_unused_bits": False,  # That would be a second pass over all pixels.
        "decoding_plugin": _PLUGINS.get(syntax, ""),
    }
    decoder = get_decoder(syntax)
    noisy = options["decoding_plugin"] == "gdcm" or syntax == _RLE  # RLE in colour
    with _without_stderr() if noisy else contextlib.nullcontext(), _without_panic():
        array: NDArray[Any] = decoder.as_array(pixels, index=0, raw=layout.samples == 1, **options)[
            0
        ]
    return array


@contextlib.contextmanager
def _without_panic() -> Iterator[None]:
    """Turn a panic of a decoder in Rust, which is no `Exception`, into the failure that it is."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ImageFailure("corrupt", "the compressed pixel data is damaged") from None


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep to itself what GDCM's copy of libjpeg and the RLE decoder print on damaged data."""
    with _STDERR:
        kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)


def _extended(stream: bytes, layout: Layout) -> NDArray[np.uint16]:
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
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, layout.stored, layout.stored - 1, 0))
    with _without_stderr():
        text = image.GetBuffer()
    buffer = text.encode("utf-8", "surrogateescape")  # It gives bytes as a str.
    return np.frombuffer(buffer, dtype="<u2").reshape(layout.rows, layout.columns)
