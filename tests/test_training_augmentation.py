"""training.augmentation: what is changed while training, how far, and that it follows the seed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from training.device import open_device

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

from training import augmentation  # noqa: E402
from training.augmentation import CHANGES, SPARED, Augmentation, Random  # noqa: E402


def waves(count: int, size: int = 24, seed: int = 0) -> np.ndarray:
    """Smooth pictures without symmetry, float32 (count, size, size, 1), 20 to 235."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    phases = np.random.default_rng(seed).uniform(0, 6, (count, 1, 1, 2))
    levels = np.sin(5 * columns + 2 * rows + phases[..., 0]) + np.cos(4 * rows + phases[..., 1])
    return (127.5 + 53 * levels)[..., np.newaxis].astype(np.float32)


def changed(names: tuple[str, ...], images: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.asarray(Augmentation(names, seed)(images, training=True))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_shape_and_range_are_kept(count: int) -> None:
    """All changes together keep the shape of a batch of any size, and grey levels 0 to 255."""
    random = np.random.default_rng(count)
    given = random.choice([0, 40, 128, 255], (count, 20, 20, 1)).astype(np.uint8)
    found = changed(CHANGES, given)
    assert found.shape == given.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= -1e-3
    assert found.max() <= 255.001


def test_nothing_changes_outside_training() -> None:
    """Validation and scoring see the images as they are."""
    given = waves(8)
    layer = Augmentation(CHANGES, seed=1)
    np.testing.assert_array_equal(layer(given), given)
    np.testing.assert_array_equal(layer(given, training=False), given)


def test_seed_repeats_the_changes() -> None:
    """The same seed gives the same changes, another seed others; each batch has its own."""
    given = waves(8)
    layer = Augmentation(CHANGES, seed=1)
    first, second = (np.asarray(layer(given, training=True)) for _ in range(2))
    np.testing.assert_array_equal(changed(CHANGES, given, seed=1), first)
    assert np.abs(second - first).mean() > 1
    assert np.abs(changed(CHANGES, given, seed=2) - first).mean() > 1


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_changes_images(name: str) -> None:
    """Every change that a recipe can name changes some images, and leaves them recognisable."""
    given = waves(40) + np.random.default_rng(0).normal(0, 5, (40, 24, 24, 1)).astype(np.float32)
    found = changed((name,), given)
    differences = np.abs(found - given).mean(axis=(1, 2, 3))
    assert (differences > 0.3).sum() >= 5
    assert np.corrcoef(found.ravel(), given.ravel())[0, 1] > 0.4


def test_some_images_keep_their_grey_levels() -> None:
    """The last four of ten images keep their grey levels; the others do not."""
    given = waves(20)
    differences = np.abs(changed(("tone",), given) - given).max(axis=(1, 2, 3))
    spared = 20 * SPARED // 10
    assert np.all(differences[-spared:] < 1e-3)
    assert np.all(differences[:-spared] > 1)


def test_flip_mirrors() -> None:
    """An image is mirrored left and right, or is as it was; both happen."""
    given = waves(40)
    found = changed(("flip",), given)
    same = np.abs(found - given).max(axis=(1, 2, 3)) < 1e-3
    mirrored = np.abs(found - given[:, :, ::-1]).max(axis=(1, 2, 3)) < 1e-3
    assert np.all(same ^ mirrored)
    assert 10 <= mirrored.sum() <= 30


def test_moving_never_mirrors() -> None:
    """Without `flip`, what lies left stays left, and what lies at the top stays at the top."""
    marked = np.full((64, 48, 48, 1), 30, dtype=np.float32)
    marked[:, 8:20, 8:20] = 220
    found = changed(("move", "nudge"), marked)[..., 0]
    quadrants = [found[:, :24, :24], found[:, :24, 24:], found[:, 24:, :24]]
    upper_left, upper_right, lower_left = (part.mean(axis=(1, 2)) for part in quadrants)
    assert np.all(upper_left > upper_right)
    assert np.all(upper_left > lower_left)


class Always(Random):
    """Random numbers that are always the same one."""

    def __init__(self, value: float) -> None:
        super().__init__(seed=0)
        self.value = value

    def uniform(self, images: np.ndarray, low: float, high: float) -> np.ndarray:
        assert low <= self.value <= high
        return np.full((images.shape[0], 1, 1, 1), self.value, dtype=np.float32)


@pytest.mark.parametrize("quality", [15, 30, 50, 75, 90])
def test_jpeg_is_that_of_files(quality: int) -> None:
    """The JPEG change gives nearly what a grey JPEG file of the same quality gives.

    One of the two rounds its table and its pixels, the other doesn't; the same tables do the rest.
    """
    noise = np.random.default_rng(0).normal(0, 8, (4, 32, 32, 1))
    given = np.clip(np.rint(waves(4, size=32) + noise), 0, 255).astype(np.float32)
    found = np.asarray(augmentation.jpeg(Always(quality), given / 255)) * 255
    np.testing.assert_allclose(found[2:], given[2:], atol=1e-3)  # half of the images
    for ours, image in zip(found[:2, ..., 0], given[:2, ..., 0], strict=True):
        stream = io.BytesIO()
        Image.fromarray(image.astype(np.uint8)).save(stream, "jpeg", quality=quality)
        file = np.asarray(Image.open(stream), dtype=np.float32)
        lost = np.abs(file - image).mean()
        assert np.abs(ours - file).mean() < 1.5
        assert np.abs(ours - image).mean() == pytest.approx(lost, abs=0.5)
        assert lost > 1
    assert quality < 90 or np.abs(found - given).mean() < 3
