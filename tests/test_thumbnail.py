"""Tests of the small pictures for people, and of finding a file again by its path."""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import encode, picture
from dicom_phantoms import deep_chest, file
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchscan.archive.display import display_path, name_of
from batchscan.errors import ImageFailure, ImageSkip
from batchscan.image.decode import decode, thumbnail
from batchscan.rules import Rules

PICTURE = picture(600, 420)


@pytest.mark.parametrize(
    ("format", "options"),
    [("jpeg", {"quality": 95}), ("png", {}), ("tiff", {}), ("webp", {"lossless": True})],
)
def test_shows_what_the_file_shows(format: str, options: dict[str, object]) -> None:
    """A thumbnail is the whole picture, smaller, with its aspect ratio."""
    small = thumbnail(encode(PICTURE, format, **options), 200)
    expected = PICTURE.resize((286, 200), Image.Resampling.LANCZOS)
    assert small.shape == (200, 286)
    assert small.dtype == np.uint8
    assert np.abs(small.astype(int) - np.asarray(expected)).mean() < 2


@pytest.mark.parametrize("turn", range(1, 9))
def test_upright(turn: int) -> None:
    """A picture that is stored turned or mirrored is shown upright, as the network sees it."""
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encode(PICTURE, "jpeg", quality=95, exif=exif.tobytes())
    small = thumbnail(data, 100)
    assert small.shape == ((100, 143) if turn < 5 else (100, 70))
    square = Image.fromarray(small).resize((48, 48), Image.Resampling.BILINEAR)
    seen = decode(data, 48).pixels.astype(int)
    assert np.abs(np.asarray(square) - seen).mean() < 4


@pytest.mark.parametrize(
    ("size", "shape"),
    [((40, 32), (32, 40)), ((1200, 100), (17, 200)), ((100, 1200), (100, 8)), ((3, 1), (1, 3))],
)
def test_odd_sizes(size: tuple[int, int], shape: tuple[int, int]) -> None:
    """Small pictures stay as they are, and no shape of picture becomes wider than two heights."""
    assert thumbnail(encode(Image.new("L", size, 90), "png"), 100).shape == shape


def test_dicom() -> None:
    """A DICOM image of 12 bits is shown by the grey levels that the network sees."""
    data = file(deep_chest(), BitsStored=12)
    small = thumbnail(data, 60)
    assert small.shape == (60, 75)
    square = Image.fromarray(small).resize((30, 30), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(square).astype(int) - decode(data, 30).pixels).mean() < 5


def test_raises_as_decoding_does() -> None:
    """Damaged files, limits and pictures in colour are refused by the same categories."""
    for data, rules, expected in [
        (encode(PICTURE, "jpeg")[:3000], Rules(), ImageFailure),
        (b"", Rules(), ImageFailure),
        (encode(PICTURE, "png"), Rules(max_pixels=100), ImageFailure),
        (encode(Image.new("RGB", (50, 50), "red"), "png"), Rules(), ImageSkip),
    ]:
        with pytest.raises(expected) as problem:
            thumbnail(data, 50, rules)
        with pytest.raises(expected) as other:
            decode(data, 50, rules)
        assert problem.value.category == other.value.category


@given(st.binary(min_size=1, max_size=20).filter(lambda raw: b"\0" not in raw))
def test_names_come_back(raw: bytes) -> None:
    """Each file is found again by its path in the result, whatever bytes its name has."""
    name = os.fsdecode(raw)
    assert name_of(display_path(name)) == name


@given(st.text(alphabet="\\x5cé4", min_size=1, max_size=12))
def test_names_that_look_escaped_come_back(name: str) -> None:
    """So is one whose name looks like an escape."""
    assert name_of(display_path(name)) == name
