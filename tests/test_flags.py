"""Tests of what is odd about an image that is scored all the same."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import encode, flags_seen
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from batchscan.image.decode import decode
from batchscan.image.flags import flags_of
from batchscan.phantom import draw_phantom
from batchscan.schema import FLAGS

SIZE = 100


def flags(pixels: NDArray[np.uint8], width: int = 500, height: int = 400) -> tuple[str, ...]:
    return flags_of(pixels[np.newaxis], [(width, height)])[0]


def ramp(low: int, high: int) -> NDArray[np.uint8]:
    return np.linspace(low, high, SIZE * SIZE).astype(np.uint8).reshape(SIZE, SIZE)


def test_phantoms_have_none() -> None:
    """An image that looks like an X-ray has no flags."""
    rng = np.random.default_rng(0)
    for width, height in ((600, 500), (300, 290)):
        pixels = draw_phantom(rng, False, width, height)
        assert flags_seen(decode(encode(Image.fromarray(pixels), "png"), 144)) == ()


@pytest.mark.parametrize(("low", "high"), [(0, 0), (255, 255), (120, 120), (90, 98), (0, 8)])
def test_blank(low: int, high: int) -> None:
    """Pixels that differ by noise alone are blank, whatever their grey; nothing else is said."""
    assert flags(ramp(low, high)) == ("blank",)


@pytest.mark.parametrize(("low", "high"), [(90, 99), (0, 9), (10, 200), (0, 255)])
def test_not_blank(low: int, high: int) -> None:
    """Pixels that differ by more are not."""
    assert "blank" not in flags(ramp(low, high))


@pytest.mark.parametrize("ends", [(0, 0), (255, 255), (0, 255), (3, 252)])
@pytest.mark.parametrize(("share", "expected"), [(0.94, ()), (0.96, ("saturated",))])
def test_saturated(ends: tuple[int, int], share: float, expected: tuple[str, ...]) -> None:
    """An image is saturated from 95% of black or white pixels on."""
    pixels = np.full(SIZE * SIZE, 128, dtype=np.uint8)
    count = round(share * len(pixels))
    pixels[:count] = np.resize(np.array(ends, dtype=np.uint8), count)
    assert flags(pixels.reshape(SIZE, SIZE)) == expected


def test_nearly_black_is_not_black() -> None:
    """A dark image that isn't black is not saturated, nor is a bright one."""
    for low, high in ((4, 40), (200, 251)):
        assert flags(ramp(low, high)) == ()


@pytest.mark.parametrize(("width", "height"), [(49, 49), (49, 60), (60, 49)])
def test_low_resolution(width: int, height: int) -> None:
    """A shorter side of less than half of what the model sees is flagged; exactly half is not."""
    assert flags(ramp(0, 200), width, height) == ("low_resolution",)
    assert flags(ramp(0, 200), max(width, 50), max(height, 50)) == ()


@pytest.mark.parametrize(("width", "height"), [(901, 300), (300, 901)])
def test_extreme_aspect(width: int, height: int) -> None:
    """One side of more than three times the other is flagged; three times is not."""
    assert flags(ramp(0, 200), width, height) == ("extreme_aspect",)
    assert flags(ramp(0, 200), min(width, 900), min(height, 900)) == ()


def test_several() -> None:
    """An image can have several flags, in a fixed order."""
    pixels = np.zeros((SIZE, SIZE), dtype=np.uint8)
    pixels[0, 0] = 200
    assert flags(pixels, 10, 40) == ("saturated", "low_resolution", "extreme_aspect")


def test_each_has_its_own() -> None:
    """Of several images at once, each has the flags that it has alone."""
    images = [ramp(0, 8), ramp(0, 200), np.where(ramp(0, 255) > 128, 255, 0).astype(np.uint8)]
    sides = [(500, 400), (40, 30), (400, 90)]
    alone = [flags(pixels, *each) for pixels, each in zip(images, sides, strict=True)]
    assert flags_of(np.stack(images), sides) == alone
    assert alone[:2] == [("blank",), ("low_resolution",)]


@given(st.binary(min_size=16, max_size=16), st.integers(1, 10**6), st.integers(1, 10**6))
def test_flags_are_known(content: bytes, width: int, height: int) -> None:
    """Every flag is one that is documented."""
    pixels = np.frombuffer(content, dtype=np.uint8).reshape(4, 4)
    assert set(flags(pixels, width, height)) <= set(FLAGS)
