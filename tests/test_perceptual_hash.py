"""batchscan.image.perceptual_hash: near for one radiograph, far for two, exact everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import encode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from batchscan.image.decode import decode
from batchscan.image.perceptual_hash import (
    NEAR,
    hashes_as_text,
    hashes_from_text,
    perceptual_hashes,
)
from batchscan.phantom import draw_phantom

SIZE = 144


def phantoms(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [Image.fromarray(draw_phantom(rng, bool(n % 2), 500, 420)) for n in range(count)]


def hashes(images: list[Image.Image], size: int = SIZE, **options: object) -> NDArray[np.uint64]:
    form = {"format": "png"} | options
    squares = [decode(encode(image, **form), size).pixels for image in images]  # type: ignore[arg-type]
    return perceptual_hashes(np.stack(squares))


def apart(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return how many bits differ between each hash of one and each of the other."""
    return np.bitwise_count(one[:, np.newaxis] ^ other)


def test_copies_are_near() -> None:
    """A smaller copy, another encoding and another size of the square leave a hash near."""
    images = phantoms(12)
    original = hashes(images)
    half = [image.resize((250, 210), Image.Resampling.LANCZOS) for image in images]
    for copies in (hashes(half), hashes(images, format="jpeg", quality=40), hashes(images, 150)):
        assert np.diag(apart(original, copies)).max() <= NEAR


def test_exposure_changes_little() -> None:
    """Brighter, and with less contrast, an image keeps its hash but for a bit or two."""
    images = phantoms(8)
    other = [image.point([round(40 + 0.7 * level) for level in range(256)]) for image in images]
    assert np.diag(apart(hashes(images), hashes(other))).max() <= 2


def test_different_noise_is_far() -> None:
    """Squares that have nothing in common differ in about half of the bits."""
    squares = np.random.default_rng(0).integers(0, 256, (60, SIZE, SIZE), dtype=np.uint8)
    found = apart(perceptual_hashes(squares), perceptual_hashes(squares))
    others = found[~np.eye(60, dtype=bool)]
    assert others.min() > NEAR
    assert 31 < others.mean() < 33


def test_real_copies_are_near(real_images: Path) -> None:
    """The 224-pixel copies of real X-rays are near their originals, and no other image is."""
    small = real_images.parent / "chest_xray_224" / "train"
    names = [path.relative_to(real_images) for path in sorted(real_images.rglob("*.jpeg"))]
    if not all((small / name).exists() for name in names):
        pytest.skip(f"the smaller copies are not here: {small}")
    original, copies = (
        perceptual_hashes(
            np.stack([decode((root / name).read_bytes(), SIZE).pixels for name in names])
        )
        for root in (real_images, small)
    )
    near = apart(original, copies) <= NEAR
    assert near.diagonal().all()
    assert near.sum() == len(names)


@pytest.mark.parametrize("level", [0, 1, 200, 255])
@pytest.mark.parametrize("size", [1, 2, 16, 144, 1024])
def test_one_grey_level(level: int, size: int) -> None:
    """An image of one grey level has the hash 0, whatever the level."""
    assert perceptual_hashes(np.full((2, size, size), level, dtype=np.uint8)).tolist() == [0, 0]


def test_no_images() -> None:
    """No images, no hashes."""
    assert perceptual_hashes(np.empty((0, SIZE, SIZE), np.uint8)).shape == (0,)


@given(st.lists(st.integers(0, 39), min_size=1, max_size=70))
def test_company_changes_nothing(chosen: list[int]) -> None:
    """A hash is the same alone, in any company and at any place."""
    squares = np.random.default_rng(1).integers(0, 256, (40, 40, 40), dtype=np.uint8)
    alone = [int(perceptual_hashes(squares[n : n + 1])[0]) for n in chosen]
    assert perceptual_hashes(squares[chosen]).tolist() == alone


@given(arrays(np.uint8, (3, 33, 33)))
def test_layout_changes_nothing(squares: NDArray[np.uint8]) -> None:
    """Where pixels lie in memory, and so the order of summing, does not matter."""
    elsewhere = np.asfortranarray(squares)
    assert perceptual_hashes(elsewhere).tolist() == perceptual_hashes(squares).tolist()


@given(st.lists(st.none() | st.integers(0, 2**64 - 1)), st.integers(0, 3))
def test_text_and_back(values: list[int | None], start: int) -> None:
    """A hash survives as 16 digits, with gaps, in pieces and from any row on."""
    texts = [
        None if value is None else hashes_as_text(np.array([value], np.uint64))[0]
        for value in values
    ]
    assert all(text is None or len(text) == 16 for text in texts)
    column = pa.chunked_array([pa.array(texts, pa.string()), pa.array([None], pa.string())])
    found = hashes_from_text(column.slice(start))
    assert found.type == pa.uint64()
    assert found.to_pylist() == [*values, None][start:]


@pytest.mark.parametrize("text", ["", "zz" * 8, "ab", "0" * 17, "0 " * 8, "é" * 8])
def test_other_texts(text: str) -> None:
    """A text that is no hash is refused, not read as another number."""
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        hashes_from_text(pa.array([text]))
