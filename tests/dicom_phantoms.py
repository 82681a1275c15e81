"""DICOM files of drawn chests, in every transfer syntax that can be written here."""

from __future__ import annotations

import io
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from batchscan.phantom import draw_phantom

WIDTH, HEIGHT = 150, 120

NATIVE = {
    "implicit": uid.ImplicitVRLittleEndian,
    "explicit": uid.ExplicitVRLittleEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
}
BY_PYDICOM = {
    "rle": uid.RLELossless,
    "jpeg-ls": uid.JPEGLSLossless,
    "jpeg 2000": uid.JPEG2000Lossless,
}
BY_GDCM = {
    "jpeg lossless": uid.JPEGLossless,
    "jpeg lossless sv1": uid.JPEGLosslessSV1,
    "jpeg-ls near-lossless": uid.JPEGLSNearLossless,
    "jpeg 2000 lossy": uid.JPEG2000,
}
SYNTAXES = NATIVE | BY_PYDICOM | BY_GDCM
LOSSY = {"jpeg-ls near-lossless": 1, "jpeg 2000 lossy": 1}
"""Syntaxes that lose something, and how many grey levels of 255 a pixel may differ."""


@cache
def chest() -> NDArray[np.uint8]:
    """Draw a frontal chest: uint8 (HEIGHT, WIDTH)."""
    return draw_phantom(np.random.default_rng(3), True, WIDTH, HEIGHT)


def deep_chest(bits: int = 12) -> NDArray[np.uint16]:
    """Draw the same chest with more bits."""
    return chest().astype(np.uint16) << (bits - 8)


def dataset(pixels: NDArray[Any], **elements: Any) -> Dataset:
    """Make a data set of an image, in explicit VR little endian, that `elements` change.

    An element that is None is left out. A 3-dimensional array is one of RGB.
    """
    made = Dataset()
    made.SOPClassUID = uid.ComputedRadiographyImageStorage
    made.SOPInstanceUID = "1.2.3.4"
    made.Modality = "CR"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    made.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8 * pixels.dtype.itemsize
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.HighBit = elements.get("BitsStored", made.BitsStored) - 1
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    raw = pixels.tobytes()
    made.PixelData = raw + b"\0" * (len(raw) % 2)
    made["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    return made


def encoded(made: Dataset) -> bytes:
    """Write a data set with preamble and file meta information."""
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def file(pixels: NDArray[Any], **elements: Any) -> bytes:
    """Write an image in explicit VR little endian."""
    return encoded(dataset(pixels, **elements))


def without_meta(data: bytes) -> bytes:
    """Take preamble and file meta information away."""
    length = int.from_bytes(data[140:144], "little")  # (0002,0000), its group's length
    return data[144 + length :]


def in_syntax(name: str, pixels: NDArray[Any], **elements: Any) -> bytes:
    """Write an image in one of `SYNTAXES`."""
    syntax = SYNTAXES[name]
    made = dataset(pixels, **elements)
    if name in BY_GDCM:
        return _by_gdcm(encoded(made), name)
    if name in BY_PYDICOM:
        made.compress(syntax, generate_instance_uid=False)
        return encoded(made)
    if name == "big endian" and pixels.dtype.itemsize == 2:
        made.PixelData = pixels.byteswap().tobytes()
    made.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    made.save_as(
        stream,
        implicit_vr=name == "implicit",
        little_endian=name != "big endian",
        enforce_file_format=True,
    )
    return stream.getvalue()


def in_jpeg(
    pixels: NDArray[np.uint8], syntax: str = uid.JPEGBaseline8Bit, **elements: Any
) -> bytes:
    """Write an image of 8 bits in baseline JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", quality=95)
    made = dataset(pixels, **elements)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([stream.getvalue()])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return encoded(made)


def in_12_bit_jpeg() -> tuple[bytes, NDArray[np.uint16]]:
    """Write the means of blocks of 8 x 8 pixels in JPEG extended of 12 bits, and return them too.

    GDCM, the only encoder at hand, claims 16 bits, which ISO/IEC 10918-1 does not have. A block
    that is constant takes nothing but its first coefficient, which is easily coded by hand.
    """
    blocks = deep_chest()[:120, :144].reshape(15, 8, 18, 8).mean(axis=(1, 3)).round().astype(int)
    bits, last = "", 0
    for mean in blocks.ravel().tolist():
        coefficient = 8 * (mean - 2048)
        step, last = coefficient - last, coefficient
        size = abs(step).bit_length()
        value = step if step > 0 else step + (1 << size) - 1
        bits += f"{size:05b}" + (f"{value:0{size}b}" if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    stream = b"\xff\xd8" + _segment(0xDB, b"\0" + b"\1" * 64)
    stream += _segment(0xC1, struct.pack(">BHHBBBB", 12, 120, 144, 1, 1, 0x11, 0))
    stream += _segment(0xC4, b"\0" + bytes([0, 0, 0, 0, 16, *bytes(11)]) + bytes(range(16)))
    stream += _segment(0xC4, b"\x10" + bytes([1, *bytes(15)]) + b"\0")
    stream += _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + scan + b"\xff\xd9"
    pixels = np.kron(blocks, np.ones((8, 8), dtype=int)).astype(np.uint16)
    made = dataset(pixels, BitsStored=12)
    made.file_meta.TransferSyntaxUID = uid.JPEGExtended12Bit
    made.PixelData = encapsulate([stream])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return encoded(made), pixels


def _segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def _by_gdcm(data: bytes, name: str) -> bytes:
    """Have GDCM write another transfer syntax; it wants files."""
    kinds = {
        "jpeg lossless": gdcm.TransferSyntax.JPEGLosslessProcess14,
        "jpeg lossless sv1": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        "jpeg-ls near-lossless": gdcm.TransferSyntax.JPEGLSNearLossless,
        "jpeg 2000 lossy": gdcm.TransferSyntax.JPEG2000,
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.dcm"), Path(folder, "target.dcm")
        source.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(kinds[name]))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return target.read_bytes()
