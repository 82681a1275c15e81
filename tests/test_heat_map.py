"""Tests of the heat map over a radiograph."""

from __future__ import annotations

import numpy as np
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchscan.report.sheets.heat_map import heat_map

GREY = np.asarray(picture(90, 60))


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("L")).astype(np.int64)


def test_nothing_to_say_leaves_the_picture() -> None:
    """Where a map is about 0 the picture stays grey, as it was."""
    coloured = heat_map(GREY, np.full((9, 9), 0.3, np.float32), 20.0).astype(np.int64)
    assert np.abs(coloured - GREY[..., np.newaxis]).max() <= 1


def test_orange_for_and_blue_against() -> None:
    """What speaks for the class is orange, what speaks against it blue, each at its place."""
    places = np.zeros((8, 8), np.float32)
    places[:, :2], places[:, 6:] = 9.0, -9.0
    coloured = heat_map(GREY, places, 20.0).astype(np.int64)
    red, _, blue = np.moveaxis(coloured, -1, 0)
    assert (red > blue + 20)[:, :15].all()
    assert (blue > red + 20)[:, 75:].all()
    assert (np.abs(red - blue) <= 3)[:, 40:50].all()


@given(st.integers(0, 255), st.floats(-1e6, 1e6, width=32))
def test_anatomy_stays_readable(level: int, value: float) -> None:
    """Any map leaves brighter what was brighter: 40 grey levels remain at least 20."""
    grey = np.full((4, 8), level, np.uint8)
    grey[:, 4:] = min(255, level + 40)
    step = int(grey[0, -1]) - level
    places = np.full((3, 3), value, np.float32)
    shades = luma(heat_map(grey, places, 20.0))
    assert shades[0, -1] - shades[0, 0] >= step // 2


def test_strong_places_are_outlined() -> None:
    """A line that is seen without colour encloses what is at least half of the full colour."""
    places = np.zeros((9, 9), np.float32)
    places[3:6, 3:6] = 20.0
    grey = np.full((90, 90), 60, np.uint8)
    shades = luma(heat_map(grey, places, 20.0))
    rows = shades[45] > 180
    assert rows.sum() == 2
    first, last = np.flatnonzero(rows)
    assert 25 <= first <= 32
    assert 57 <= last <= 64
    assert not (luma(heat_map(grey, -places, 20.0)) > 180).any()
