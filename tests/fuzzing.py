"""Damages files in the ways that disks, networks and attackers do, and judges what comes of it.

Used by `tests/test_fuzz.py` on phantoms and by `benchmarks/fuzz.py` on real files. The same random
generator gives the same damage.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from batchscan.image.signature import SNIFF_BYTES, sniff
from batchscan.phantom import draw_phantom
from batchscan.rules import Rules
from batchscan.run.shard import load_sample
from batchscan.schema import FAILED, FAILURES, FLAGS, SCORED, SKIPPED, SKIPS, score_table

SIZE = 144
RULES = Rules(max_pixels=20_000_000)
"""Small enough for many processes beside each other; damage often claims to be many pixels."""

_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 600  # Bytes at the start in which most formats say what they hold.
_TELLING = (0, 1, 2, 7, 8, 16, 31, 32, 63, 64, 127, 128, 200, 254, 255)


# --- sources -------------------------------------------------------------------------------------


def encodings(picture: Image.Image) -> dict[str, bytes]:
    """Encode a grey picture in every way of every format that batchscan knows and we can write."""
    files = {}
    for name, encode in _ENCODERS.items():
        try:
            data = encode(picture)
        except (ImportError, KeyError, OSError, ValueError):
            continue  # Nothing here writes that format.
        if sniff(data[:SNIFF_BYTES]) is not None:
            files[name] = data
    return files


def phantom_files(width: int = 120, height: int = 96) -> dict[str, bytes]:
    """Return a phantom in each of `encodings`."""
    pixels = draw_phantom(np.random.default_rng(5), True, width, height)
    return encodings(Image.fromarray(pixels))


def _pillow(format: str, mode: str = "L", **options: object) -> Callable[[Image.Image], bytes]:
    def encode(picture: Image.Image) -> bytes:
        stream = io.BytesIO()
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture, dtype=np.uint16) * 257)
        elif mode == "F":
            picture = Image.fromarray(np.asarray(picture, dtype=np.float32) / 255)
        else:
            picture = picture.convert(mode)
        picture.save(stream, format, **options)
        return stream.getvalue()

    return encode


def _dicom(picture: Image.Image) -> bytes:
    """Wrap a picture as an uncompressed computed radiograph (PS3.3 A.2), 8 bits."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    image = Dataset()
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    image.SOPInstanceUID = generate_uid(entropy_srcs=["batchscan"])
    image.Modality, image.BodyPartExamined, image.ViewPosition = "CR", "CHEST", "PA"
    image.Rows, image.Columns = picture.height, picture.width
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    pixels = picture.convert("L").tobytes()
    image.PixelData = pixels + bytes(len(pixels) % 2)
    image["PixelData"].VR = "OB"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


_ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": _pillow("JPEG", quality=88),
    "jpeg progressive": _pillow("JPEG", progressive=True),
    "jpeg rgb": _pillow("JPEG", "RGB", subsampling=2),
    "jpeg cmyk": _pillow("JPEG", "CMYK"),
    "png": _pillow("PNG", compress_level=1),
    "png 16": _pillow("PNG", "I;16", compress_level=1),
    "png 1": _pillow("PNG", "1"),
    "png palette": _pillow("PNG", "P", compress_level=1),
    "png rgba": _pillow("PNG", "RGBA", compress_level=1),
    "tiff": _pillow("TIFF"),
    "tiff lzw": _pillow("TIFF", compression="tiff_lzw"),
    "tiff deflate 16": _pillow("TIFF", "I;16", compression="tiff_deflate"),
    "tiff float": _pillow("TIFF", "F"),
    "tiff jpeg": _pillow("TIFF", compression="jpeg"),
    "bmp": _pillow("BMP"),
    "webp": _pillow("WEBP", "RGB"),
    "jpeg 2000": _pillow("JPEG2000"),
    "gif": _pillow("GIF"),
    "dicom": _dicom,
}


# --- damage --------------------------------------------------------------------------------------


def mutate(rng: random.Random, data: bytes, other: bytes) -> tuple[str, bytes]:
    """Damage a file in one to three ways; `other` lends its bytes. Returns the ways, and bytes."""
    names = rng.choices(list(_DAMAGES), k=rng.choice((1, 1, 1, 2, 3)))
    for name in names:
        data = _DAMAGES[name](rng, data, other)
    if data.startswith(_PNG) and rng.random() < 0.7:
        data = with_right_sums(data)  # Else nearly all damage to a PNG ends at its check sums.
        names.append("right sums")
    return " + ".join(names), data


def with_right_sums(data: bytes) -> bytes:
    """Return a PNG with the CRC of each chunk made right, as far as chunks can be followed."""
    pieces, place = [data[:8]], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(data):
            break
        check = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        pieces.append(data[place:end] + check)
        place = end + 4
    return b"".join([*pieces, data[place:]])


def _place(rng: random.Random, data: bytes) -> int:
    """Choose a place, as often in the header as in all the rest."""
    return rng.randrange(min(len(data), _HEADER) if rng.random() < 0.5 else len(data))


def _flip_bits(rng: random.Random, data: bytes, _: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        damaged[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _truncate(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: _place(rng, data)] if data else data


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Continue one file with the end of another."""
    if not data or not other:
        return data
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def _edit_header(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Overwrite bytes near the start with numbers that lie at the edge of something."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 2, 4)) if data else 0):
        place = rng.randrange(min(len(data), _HEADER))
        width = rng.choice((1, 2, 4))
        value = bytes(rng.choice(_TELLING) for _ in range(width))
        damaged[place : place + width] = value[: len(data) - place]
    return bytes(damaged)


def _zero_block(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Lose a block, as disks do."""
    if not data:
        return data
    place, size = _place(rng, data), rng.choice((16, 512, 4096))
    return data[:place] + bytes(len(data[place : place + size])) + data[place + size :]


def _insert(rng: random.Random, data: bytes, _: bytes) -> bytes:
    place = _place(rng, data) if data else 0
    return data[:place] + rng.randbytes(rng.choice((1, 2, 3, 16, 300))) + data[place:]


def _repeat(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Write a stretch twice."""
    if not data:
        return data
    place, size = _place(rng, data), rng.choice((4, 64, 1024))
    return data[: place + size] + data[place:]


_DAMAGES = {
    "bit flips": _flip_bits,
    "truncation": _truncate,
    "splice": _splice,
    "header edit": _edit_header,
    "zeroed block": _zero_block,
    "insertion": _insert,
    "repetition": _repeat,
}


# --- judgement -----------------------------------------------------------------------------------


def outcome(folder: Path, data: bytes, rules: Rules = RULES) -> str:
    """Bring a file the whole way to its row; returns `scored` or the category.

    Raises `AssertionError` where the row is not as every row must be, and whatever else is raised.
    """
    name = "damaged.jpeg"
    (folder / name).write_bytes(data)
    sample = load_sample(str(folder), name, SIZE, rules)
    (row,) = score_table([sample.row]).to_pylist()
    assert row["path"] == name
    assert row["bytes"] == len(data)
    if row["status"] == SCORED:
        assert sample.image is not None
        pixels = sample.image.pixels
        assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE), np.uint8)
        assert 0 < row["width"] * row["height"] <= rules.max_pixels
        assert set(row["flags"]) <= FLAGS.keys()
        return SCORED
    assert sample.image is None
    assert row["error"]
    assert row["error"].isprintable(), repr(row["error"])
    if row["status"] == SKIPPED:
        assert row["skip"] in SKIPS
        assert row["failure"] is None
        return str(row["skip"])
    assert row["status"] == FAILED
    assert row["failure"] in FAILURES
    assert row["failure"] not in ("vanished", "read_error", "changed", "permission_denied")
    return str(row["failure"])
