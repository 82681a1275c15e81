"""The shift suite: how much a network loses when images differ from those it was trained on.

Other hospitals have other detectors, exposures and exports. Twelve such changes, each at three
strengths, are made to images whose scores are known; the strongest still leaves an X-ray that a
radiologist would read. Changes with a direction (darker or brighter) take it by image, at random.

This is independent of `training.augmentation`: what a network trained against should not be all
that it is tested with. The same images get the same changes, whatever the number of threads.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

STRENGTHS = ("mild", "medium", "strong")

SEED = 20180222  # of the changes' random numbers; any number, but always the same

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, float, Generator], Pixels]


@dataclass(frozen=True)
class Shift:
    """One kind of change. `levels` are its numbers, mild to strong, in the unit that `what` says.

    `change` takes an image, uint8 (S, S), a level, and random numbers; it returns a new image.
    """

    name: str
    what: str
    levels: tuple[float, float, float]
    change: Change

    def describe(self, strength: str) -> str:
        """Say what is done at a strength, with its number."""
        return self.what.format(self.level(strength))

    def level(self, strength: str) -> float:
        """Return the number of a strength; raises `ValueError` for none of `STRENGTHS`."""
        if strength not in STRENGTHS:
            raise ValueError(f"expected {', '.join(STRENGTHS)}, found the strength {strength!r}")
        return self.levels[STRENGTHS.index(strength)]


def shifted(images: Pixels, shift: Shift, strength: str, *, threads: int = 1) -> Pixels:
    """Change images, uint8 (N, S, S), into new ones of that shape.

    Image n of any array gets the random numbers of position n. Raises `ValueError` for a strength
    that isn't one of `STRENGTHS`.
    """
    level = shift.level(strength)
    changed = np.empty_like(images)

    def change(position: int) -> None:
        random = np.random.default_rng([SEED, position])
        changed[position] = shift.change(np.asarray(images[position]), level, random)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(change, range(len(images))):
            pass  # Errors are raised here.
    return changed


def _brightness(pixels: Pixels, level: float, random: Generator) -> Pixels:
    return _by_table(pixels, np.arange(256) + level * _sign(random))


def _contrast(pixels: Pixels, level: float, random: Generator) -> Pixels:
    mean = pixels.mean()
    return _by_table(pixels, (np.arange(256) - mean) * level ** _sign(random) + mean)


def _gamma(pixels: Pixels, level: float, random: Generator) -> Pixels:
    return _by_table(pixels, (np.arange(256) / 255) ** level ** _sign(random) * 255)


def _histogram(pixels: Pixels, level: float, _random: Generator) -> Pixels:
    """Mix with the equalised image, in which every grey level is as frequent as any other."""
    equal = np.asarray(ImageOps.equalize(Image.fromarray(pixels)), dtype=np.float32)
    return _rounded(pixels + np.float32(level) * (equal - pixels))


def _blur(pixels: Pixels, level: float, _random: Generator) -> Pixels:
    return _filtered(pixels, ImageFilter.GaussianBlur(level / 100 * len(pixels)))


def _sharpen(pixels: Pixels, level: float, _random: Generator) -> Pixels:
    return _filtered(pixels, ImageFilter.UnsharpMask(len(pixels) / 100, round(level), threshold=0))


def _noise(pixels: Pixels, level: float, random: Generator) -> Pixels:
    noise = random.standard_normal(pixels.shape, dtype=np.float32)
    return _rounded(pixels + np.float32(level) * noise)


def _jpeg(pixels: Pixels, level: float, _random: Generator) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", quality=round(level))
    return np.asarray(Image.open(stream))


def _scale(pixels: Pixels, level: float, _random: Generator) -> Pixels:
    size = len(pixels)
    small = max(1, round(size * level / 100))
    image = Image.fromarray(pixels).resize((small, small), Image.Resampling.BILINEAR)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _crop(pixels: Pixels, level: float, random: Generator) -> Pixels:
    """Cut off a part of the width and height, more on one side or the other, and enlarge."""
    size = len(pixels)
    left, top = random.uniform(0, level / 100 * size, 2)
    kept = size * (1 - level / 100)
    image = Image.fromarray(pixels)
    box = (left, top, left + kept, top + kept)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))


def _border(pixels: Pixels, level: float, _random: Generator) -> Pixels:
    size = len(pixels)
    margin = round(size * level / 100)
    inside = max(1, size - 2 * margin)
    framed = Image.new("L", (size, size))
    image = Image.fromarray(pixels).resize((inside, inside), Image.Resampling.BILINEAR)
    framed.paste(image, (margin, margin))
    return np.asarray(framed)


def _rotation(pixels: Pixels, level: float, random: Generator) -> Pixels:
    image = Image.fromarray(pixels)
    return np.asarray(image.rotate(level * _sign(random), Image.Resampling.BILINEAR))


SHIFTS = (
    Shift("brightness", "{:g} of 255 grey levels darker or brighter", (20, 40, 60), _brightness),
    Shift("contrast", "contrast times {:g}, or divided by it", (1.2, 1.4, 1.7), _contrast),
    Shift("gamma", "grey levels to the power of {:g}, or its inverse", (1.25, 1.6, 2.2), _gamma),
    Shift("histogram", "{:.0%} of the way to an equalised histogram", (0.3, 0.6, 1.0), _histogram),
    Shift("blur", "Gaussian of {:g}% of the width", (0.4, 0.6, 0.9), _blur),
    Shift("sharpen", "unsharp mask of 1% of the width, {:g}%", (60, 120, 200), _sharpen),
    Shift("noise", "Gaussian of {:g} of 255 grey levels", (4, 8, 14), _noise),
    Shift("jpeg", "saved as JPEG of quality {:g}", (60, 30, 15), _jpeg),
    Shift("scale", "reduced to {:g}% of the width, and enlarged again", (65, 50, 35), _scale),
    Shift("crop", "{:g}% of width and height cut off, anywhere", (5, 10, 18), _crop),
    Shift("border", "shrunk into a black frame, {:g}% of the width each side", (3, 6, 12), _border),
    Shift("rotation", "turned by {:g} degrees, either way", (5, 10, 15), _rotation),
)
"""Every kind of change, photometric ones first."""


def _sign(random: Generator) -> int:
    return 1 if random.random() < 0.5 else -1


def _by_table(pixels: Pixels, table: NDArray[np.floating[Any]]) -> Pixels:
    """Replace each grey level n by `table[n]`, rounded into 0 to 255."""
    changed: Pixels = _rounded(table)[pixels]
    return changed


def _rounded(values: NDArray[np.floating[Any]]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _filtered(pixels: Pixels, kernel: ImageFilter.Filter) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(kernel))
