"""Random changes that a chest X-ray could have had anyway; applied while training, never after.

The training images of one class can differ from the other's in ways that have nothing to do with
the lungs: how far the child stands from the detector, how the film is exposed, how much the file
was shrunk and compressed, which letters are on it. A network learns whatever separates the classes,
so each of these is varied here, for every image anew, more widely than it varies between the
classes. What stays is anatomy.

Every change takes and returns grey levels as float32 (B, S, S, 1), 0 to 1, and draws its random
numbers from one Keras seed generator: the numbers follow from the seed, and the generator's state
is a variable, which a checkpoint can hold. All is written with `keras.ops`, so that it runs on the
device that trains, whatever the backend.

`flip` is the one change that anatomy forbids in earnest: mirrored, the heart lies on the right
(situs inversus, about 1 in 10,000). Pneumonia knows no side, and what is learned from one lung then
holds for both; whether that pays was measured (docs/training.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from training.jpeg_blocks import quantise

Change = Callable[["Random", Any], Any]

ROTATION = 0.2  # radians: up to 11 degrees either way
SHEAR = 0.1
SHIFT = 0.08  # of the size
ZOOM = 0.3  # of the logarithm: from 0.74 to 1.35
ASPECT = 0.15  # of the logarithm, width against height


class Random:
    """Random numbers for a batch: one for each image, shaped to be combined with (B, S, S, 1)."""

    def __init__(self, seed: int) -> None:
        self.generator = keras.random.SeedGenerator(seed)

    def uniform(self, images: Any, low: float, high: float) -> Any:
        """Return float32 (B, 1, 1, 1), `low` to `high`."""
        shape = (ops.shape(images)[0], 1, 1, 1)
        return keras.random.uniform(shape, low, high, dtype="float32", seed=self.generator)

    def sometimes(self, images: Any, chance: float) -> Any:
        """Return float32 (B, 1, 1, 1), 1 with this chance and else 0."""
        return ops.cast(self.uniform(images, 0, 1) < chance, "float32")

    def noise(self, images: Any) -> Any:
        """Return normally distributed float32 (B, S, S, 1), mean 0, deviation 1."""
        return keras.random.normal(ops.shape(images), dtype="float32", seed=self.generator)


def move(random: Random, images: Any) -> Any:
    """Turn, shear, zoom, stretch and shift; what comes in from outside is black."""
    return _transform(random, images, 1.0)


def nudge(random: Random, images: Any) -> Any:
    """Turn, shear, zoom, stretch and shift a little."""
    return _transform(random, images, 0.4)


def flip(random: Random, images: Any) -> Any:
    """Mirror left and right, every other image."""
    mirrored = random.sometimes(images, 0.5)
    return mirrored * ops.flip(images, axis=2) + (1 - mirrored) * images


def tone(random: Random, images: Any) -> Any:
    """Change the curve from exposure to grey: gamma, an s-shape, contrast, brightness."""
    gamma = ops.exp(random.uniform(images, -0.7, 0.7))
    levels = ops.power(images + 1e-6, gamma)
    bend = random.uniform(images, -0.7, 0.7)
    levels = levels + bend * ops.sin(math.tau * levels) / math.tau
    contrast = ops.exp(random.uniform(images, -0.4, 0.4))
    return ops.clip((levels - 0.5) * contrast + 0.5 + random.uniform(images, -0.15, 0.15), 0, 1)


def exposure(random: Random, images: Any) -> Any:
    """Change contrast and brightness a little."""
    contrast = random.uniform(images, 0.8, 1.2)
    return ops.clip((images - 0.5) * contrast + 0.5 + random.uniform(images, -0.1, 0.1), 0, 1)


def sharpness(random: Random, images: Any) -> Any:
    """Blur, as by a larger focus or a smaller copy, or sharpen, as viewers and scanners do."""
    half = _smaller_and_back(images, 2)
    amount = random.uniform(images, -1.0, 1.5)  # below 0 sharper
    return ops.clip(images + ops.minimum(amount, 1.0) * (half - images), 0, 1)


def coarseness(random: Random, images: Any) -> Any:
    """Shrink to a third and enlarge again, a fourth of the images."""
    return _on_part(images, 3, 4, partial(_coarsen, random))


def noise(random: Random, images: Any) -> Any:
    """Add grain, up to 0.04 of the grey range, half of the images."""
    return _on_part(images, 2, 4, partial(_add_grain, random))


def jpeg(random: Random, images: Any) -> Any:
    """Quantise as JPEG does (ITU-T T.81), at quality 15 to 90, half of the images."""
    return _on_part(images, 0, 2, partial(_compress, random))


def frame(random: Random, images: Any) -> Any:
    """Darken towards the corners, or close the collimator in on some of the four sides."""
    size = images.shape[1]
    place = ops.reshape(ops.linspace(-1.0, 1.0, size), (1, size, 1, 1))
    across = ops.transpose(place, (0, 2, 1, 3))
    vignette = random.sometimes(images, 0.3) * random.uniform(images, -0.2, 0.4)
    images = images * (1 - vignette * (place**2 + across**2) / 2)
    inside: Any = 1.0
    for line in (place, -place, across, -across):
        edge = 1 - random.sometimes(images, 0.2) * random.uniform(images, 0.02, 0.25)
        inside = inside * ops.cast(line < edge, "float32")
    return ops.clip(images * inside, 0, 1)


def patches(random: Random, images: Any) -> Any:
    """Cover places with even rectangles, and paste blocky marks like letters, up to three each."""
    for _ in range(2):
        images = _stamp(random, images, fill=0.5, cell=(0.01, 0.035), chance=0.4)
    return _stamp(random, images, fill=1.1, cell=(0.02, 0.07), chance=0.5)


PLACES: dict[str, Change] = {"nudge": nudge, "move": move, "flip": flip}
"""What changes where things are; applied first."""

LEVELS: dict[str, Change] = {
    "exposure": exposure,
    "tone": tone,
    "sharpness": sharpness,
    "coarseness": coarseness,
    "noise": noise,
    "jpeg": jpeg,
    "frame": frame,
    "patches": patches,
}
"""What changes grey levels, in this order: the exposure, then the film, then the file."""

CHANGES = (*PLACES, *LEVELS)
SPARED = 4  # of ten images keep their grey levels


class Augmentation(keras.layers.Layer):  # type: ignore[misc]
    """Grey levels uint8 or float (B, S, S, 1), 0 to 255 -> float32 of the same shape and range.

    It changes nothing unless `training` is true. The last images of a batch keep their grey levels,
    so that the network also sees plenty of images as they are; batches must be shuffled.
    """

    def __init__(self, changes: tuple[str, ...], seed: int) -> None:
        super().__init__(dtype="float32", name="augmentation")
        random = Random(seed)
        self.generator = random.generator  # as an attribute, Keras counts it as the layer's state
        self._places = [partial(PLACES[name], random) for name in PLACES if name in changes]
        self._levels = [partial(LEVELS[name], random) for name in LEVELS if name in changes]

    def call(self, images: Any, training: bool = False) -> Any:
        """Apply the changes, while training."""
        images = ops.cast(images, "float32")
        if not training:
            return images
        images = _one_after_another(self._places, images / 255)
        if self._levels:
            change = partial(_one_after_another, self._levels)
            images = _on_part(images, 0, 10 - SPARED, change, parts=10)
        return ops.stop_gradient(images * 255)


def _one_after_another(changes: Sequence[Callable[[Any], Any]], images: Any) -> Any:
    for change in changes:
        images = change(images)
    return images


def _on_part(
    images: Any, first: int, last: int, change: Callable[[Any], Any], parts: int = 4
) -> Any:
    """Change a part of a batch: what is not computed costs nothing.

    The batch is cut into `parts`; those from `first` up to and without `last` are changed.
    """
    count = ops.shape(images)[0]
    start, stop = count * first // parts, count * last // parts
    return ops.concatenate([images[:start], change(images[start:stop]), images[stop:]], axis=0)


def _coarsen(random: Random, images: Any) -> Any:
    amount = random.uniform(images, 0.3, 1.0)
    return images + amount * (_smaller_and_back(images, 3) - images)


def _add_grain(random: Random, images: Any) -> Any:
    amount = random.uniform(images, 0, 0.04)
    return ops.clip(images + amount * random.noise(images), 0, 1)


def _compress(random: Random, images: Any) -> Any:
    quality = random.uniform(images, 15, 90)
    return quantise(images, ops.where(quality < 50, 50 / quality, 2 - quality / 50))


def _transform(random: Random, images: Any, strength: float) -> Any:
    def one(bound: float) -> Any:
        return random.uniform(images, -bound * strength, bound * strength)[:, 0, 0, 0]

    size = images.shape[1]
    angle, shear, zoom, aspect = one(ROTATION), one(SHEAR), one(ZOOM), one(ASPECT)
    wide, high = ops.exp(zoom + aspect), ops.exp(zoom - aspect)
    a, b = ops.cos(angle) * wide, (shear - ops.sin(angle)) * high
    c, d = ops.sin(angle) * wide, ops.cos(angle) * high
    middle = (size - 1) / 2
    x = middle + one(SHIFT) * size - (a + b) * middle
    y = middle + one(SHIFT) * size - (c + d) * middle
    nothing = ops.zeros_like(a)
    matrices = ops.stack([a, b, x, c, d, y, nothing, nothing], axis=1)
    return ops.image.affine_transform(
        images,
        matrices,
        interpolation="bilinear",
        fill_mode="constant",
        fill_value=0.0,
        data_format="channels_last",
    )


def _smaller_and_back(images: Any, factor: int) -> Any:
    window = (factor, factor)
    small = ops.average_pool(images, window, padding="same", data_format="channels_last")
    return ops.image.resize(
        small, images.shape[1:3], interpolation="bilinear", data_format="channels_last"
    )


def _stamp(
    random: Random, images: Any, *, fill: float, cell: tuple[float, float], chance: float
) -> Any:
    """Stamp a grid of 5 x 5 cells, each set with the chance `fill`, at one grey level.

    `cell` is the range of a cell's width and height, as a share of the image's.
    """
    rows = _cells(random, images, cell)
    columns = _cells(random, images, cell)
    shape = (ops.shape(images)[0], 5, 5)
    drawn = keras.random.uniform(shape, dtype="float32", seed=random.generator)
    pattern = ops.cast(drawn < fill, "float32")
    mask = ops.matmul(ops.matmul(rows, pattern), ops.transpose(columns, (0, 2, 1)))
    mask = mask[..., None] * random.sometimes(images, chance)
    return images + mask * (random.uniform(images, 0, 1) - images)


def _cells(random: Random, images: Any, cell: tuple[float, float]) -> Any:
    """Return float32 (B, S, 5): whether a row of pixels lies in each of five cells somewhere."""
    size = images.shape[1]
    width = random.uniform(images, *cell)[:, :, 0, 0] * size
    start = random.uniform(images, -0.1, 1.0)[:, :, 0, 0] * size
    number = ops.floor((ops.reshape(ops.arange(size, dtype="float32"), (1, size)) - start) / width)
    return ops.cast(number[..., None] == ops.arange(5, dtype="float32"), "float32")
