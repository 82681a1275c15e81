"""The square that the network sees: Pillow's bilinear resize, bit by bit, compiled or not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from batchscan.image import square
from batchscan.image.levels import Box
from batchscan.image.square import compiled_square, to_square

pytestmark = pytest.mark.skipif(
    compiled_square() is None and shutil.which("gcc") is None, reason="there is no C compiler here"
)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return Image.fromarray(levels)


def by_pillow(image: Image.Image, box: Box | None, size: int) -> NDArray[np.uint8]:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sides of those images that were left to the compiled function."""
    original, sides = compiled_square(), []
    assert original is not None

    def watched(pixels: bytes, of: tuple[int, int], box: Box, size: int) -> bytes:
        sides.append(of)
        return original(pixels, of, box, size)

    monkeypatch.setattr(square, "compiled_square", lambda: watched)
    return sides


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    size=st.integers(1, 200),
    cut=st.tuples(*[st.floats(0, 0.49)] * 4) | st.none(),
)
def test_any_size(
    width: int, height: int, size: int, cut: tuple[float, float, float, float] | None
) -> None:
    """Whatever the sides of an image and of the square, and the part that counts: as Pillow."""
    image = noise(width, height)
    box = None
    if cut is not None:
        left, upper, right, lower = cut
        box = (left * width, upper * height, width * (1 - right), height * (1 - lower))
    np.testing.assert_array_equal(to_square(image, box, size), by_pillow(image, box, size))


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_one_level(level: int) -> None:
    """An image of one level stays what it is, up to the ends of the scale."""
    image = Image.new("L", (333, 217), level)
    assert (to_square(image, None, 144) == level).all()


def test_is_used(used: list[tuple[int, int]]) -> None:
    """The compiled function has all pictures but very tall and very large ones."""
    sides = [(330, 250), (250, 330), (144, 144), (20, 10), (160, 176), (160, 177), (2500, 1700)]
    for width, height in sides:
        image = noise(width, height)
        np.testing.assert_array_equal(to_square(image, None, 144), by_pillow(image, None, 144))
    assert used == sides[:5]


def test_threads() -> None:
    """Images that are reduced at the same time do not mix."""
    images = [noise(400, 300, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            found = threads.map(to_square, images, [None] * 8, [144] * 8)
            for pixels, image in zip(found, images, strict=True):
                np.testing.assert_array_equal(pixels, by_pillow(image, None, 144))


@pytest.mark.parametrize(
    ("pixels", "sides", "box", "size"),
    [
        (11, (4, 3), (0, 0, 4, 3), 5),
        (13, (4, 3), (0, 0, 4, 3), 5),
        (12, (0, 3), (0, 0, 4, 3), 5),
        (12, (-4, -3), (0, 0, 4, 3), 5),
        (12, (4, 3), (0, 0, 4, 3), 0),
        (12, (4, 3), (0, 0, 4, 3), 16385),
        (12, (4, 3), (-0.1, 0, 4, 3), 5),
        (12, (4, 3), (0, 0, 4.1, 3), 5),
        (12, (4, 3), (0, 0, 4, 3.1), 5),
        (12, (4, 3), (2, 0, 2, 3), 5),
        (12, (4, 3), (0, float("nan"), 4, 3), 5),
    ],
)
def test_arguments(pixels: int, sides: tuple[int, int], box: Box, size: int) -> None:
    """The compiled function refuses what does not fit together."""
    compiled = compiled_square()
    assert compiled is not None
    with pytest.raises(ValueError, match="expected width x height bytes"):
        compiled(bytes(pixels), sides, box, size)


def test_another_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Pillow's own pixels are others, it is not used."""
    import batchscan.image.bilinear as built

    def other(*arguments: object) -> bytes:
        levels = original(*arguments)  # type: ignore[arg-type]
        return levels[:-1] + bytes([levels[-1] ^ 1])

    original = built.square
    monkeypatch.setattr(built, "square", other)
    compiled_square.cache_clear()
    try:
        assert compiled_square() is None
        image = noise(300, 200)
        np.testing.assert_array_equal(to_square(image, None, 144), by_pillow(image, None, 144))
    finally:
        monkeypatch.undo()
        compiled_square.cache_clear()


def test_not_built() -> None:
    """Without the compiled part, squares are made as ever."""
    program = (
        "import sys; sys.modules['batchscan.image.bilinear'] = None\n"
        "from PIL import Image\n"
        "from batchscan.image.square import compiled_square, to_square\n"
        "assert compiled_square() is None\n"
        "print(to_square(Image.linear_gradient('L'), None, 9).tobytes().hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    expected = to_square(Image.linear_gradient("L"), None, 9)
    assert done.stdout.strip() == expected.tobytes().hex()
