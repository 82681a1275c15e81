"""Phantoms: drawn chest X-rays, so that everything can be tried without any patient's data.

A phantom has the parts that a chest X-ray is read by (lungs, ribs, spine, heart, clavicles), with
random proportions, exposure and noise; pneumonia adds soft consolidations to the lungs. It looks
the part, but it is no model of disease: scores of phantoms say nothing about a network.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from batchscan import anatomy

Layer = NDArray[np.float32]

_FOLDERS = {
    "NORMAL": ("site-a/2023/NORMAL", "site-a/2024/NORMAL", "site-b/normal", "NORMAL"),
    "PNEUMONIA": (
        "site-a/2023/PNEUMONIA",
        "site-b/Pneumonia",
        "site-c/ward-2/2024/PNEUMONIA",
        "PNEUMONIA",
    ),
}
_KINDS = ("jpeg", "rgb", "jpeg", "png", "jpeg")
_README = """\
Chest X-ray phantoms, drawn by batchscan: synthetic images, no patients.
A few files are damaged on purpose.
"""


@dataclass(frozen=True)
class _Canvas:
    """A grid to draw layers on. Coordinates are shares of width and height, from top left."""

    width: int
    height: int

    def areas(self, *areas: anatomy.Points, blur: float) -> Layer:
        """Fill polygons: float32 (height, width), 0 to 1, edges softened by `blur` of the width."""
        image = Image.new("L", (self.width, self.height))
        pen = ImageDraw.Draw(image)
        for area in areas:
            pen.polygon(self._pixels(area), fill=255)
        return self._softened(image, blur)

    def lines(self, strokes: Sequence[anatomy.Stroke], blur: float) -> Layer:
        """Draw strokes, later ones above: float32 (height, width), 0 to 1."""
        image = Image.new("L", (self.width, self.height))
        pen = ImageDraw.Draw(image)
        for points, width, brightness in strokes:
            thickness = max(1, round(width * self.width))
            pen.line(self._pixels(points), fill=brightness, width=thickness, joint="curve")
        return self._softened(image, blur)

    def clouds(self, rng: np.random.Generator, cells: int) -> Layer:
        """Draw a smooth random field of about `cells` clouds across: (height, width), 0 to 1."""
        coarse = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((self.width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(image, dtype=np.float32) / np.float32(255)

    def _pixels(self, points: anatomy.Points) -> anatomy.Points:
        return [(x * self.width, y * self.height) for x, y in points]

    def _softened(self, image: Image.Image, blur: float) -> Layer:
        softened = image.filter(ImageFilter.GaussianBlur(blur * self.width))
        return np.asarray(softened, dtype=np.float32) / np.float32(255)


def draw_phantom(
    rng: np.random.Generator, pneumonia: bool, width: int, height: int
) -> NDArray[np.uint8]:
    """Draw a frontal chest X-ray phantom: uint8 (height, width), bright where tissue is dense."""
    # Drawn at half the size: the blur of real X-rays, and a fourth of the time.
    canvas = _Canvas(max(2, width // 2), max(2, height // 2))
    density = _density(rng, canvas, anatomy.Chest.random(rng), pneumonia)
    return _exposed(rng, density, width, height)


def draw_archive(folder: Path, *, images: int = 60, seed: int = 0) -> None:
    """Write `images` phantoms into class folders of several depths and spellings below `folder`.

    The classes take turns; three of five files are grey JPEG, the others RGB JPEG and PNG.
    Five files come on top: a truncated JPEG, a PNG with a flipped bit, an empty file and a text
    that are named like images, and a README. The same seed gives the same files.
    """
    rng = np.random.default_rng(seed)
    for number in range(images):
        label = ("NORMAL", "PNEUMONIA")[number % 2]
        turn = number // 2
        kind = _KINDS[turn % len(_KINDS)]
        width = int(rng.integers(600, 1401))
        height = round(width * rng.uniform(0.72, 0.86))
        pixels = draw_phantom(rng, label == "PNEUMONIA", width, height)
        name = f"phantom-{number + 1:04d}.{'png' if kind == 'png' else 'jpeg'}"
        subfolder = _FOLDERS[label][turn % 4]
        _write(folder / subfolder / name, _encoded(pixels, kind))
    for name, content in _damaged_files(rng).items():
        _write(folder / name, content)
    _write(folder / "README.txt", _README.encode())


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    """Encode as `jpeg`, `rgb` (grey, stored as a colour JPEG) or `png`."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    if kind == "png":
        image.save(stream, "png", compress_level=1)
    else:
        image.convert("RGB" if kind == "rgb" else "L").save(stream, "jpeg", quality=90)
    return stream.getvalue()


def _damaged_files(rng: np.random.Generator) -> dict[str, bytes]:
    pixels = draw_phantom(rng, True, 640, 520)
    jpeg, png = _encoded(pixels, "jpeg"), bytearray(_encoded(pixels, "png"))
    png[len(png) // 2] ^= 0x10
    return {
        "site-a/2023/NORMAL/truncated.jpeg": jpeg[: len(jpeg) * 2 // 3],
        "site-a/2023/PNEUMONIA/damaged.png": bytes(png),
        "site-c/unsorted/empty.jpeg": b"",
        "site-c/unsorted/note.jpeg": b"This is a note, not an image.\n",
    }


def _density(
    rng: np.random.Generator, canvas: _Canvas, chest: anatomy.Chest, pneumonia: bool
) -> Layer:
    """Add all parts up: float32 (H, W), 0 for air to about 1 for the spine behind the heart."""
    lung_areas = [anatomy.lung(chest, side) for side in anatomy.SIDES]
    heart = canvas.areas(anatomy.heart(chest), blur=0.009)
    lungs = canvas.areas(*lung_areas, blur=0.006) * (1 - 0.8 * heart)
    body = canvas.areas(anatomy.torso(chest), *anatomy.arms(chest), blur=0.012)
    depth = np.linspace(0.40, 0.66, canvas.height, dtype=np.float32)[:, None]
    density = body * (depth + 0.05 * canvas.clouds(rng, 7))
    mediastinum = canvas.areas(anatomy.column(chest, 0.075), blur=0.02)
    density += body * 0.12 * np.maximum(mediastinum, heart)
    density -= lungs * (0.34 + 0.06 * canvas.clouds(rng, 9))
    density += lungs * 0.16 * canvas.lines(list(anatomy.vessels(rng, chest)), blur=0.0025)
    if pneumonia:
        density += lungs * _consolidations(rng, canvas, chest)
    density += body * 0.15 * canvas.lines(anatomy.ribs(chest), blur=0.0018)
    density += body * 0.16 * canvas.lines(anatomy.shoulders(chest), blur=0.0025)
    density += body * 0.10 * canvas.lines(anatomy.spine(chest), blur=0.004)
    return density


def _exposed(
    rng: np.random.Generator, density: Layer, width: int, height: int
) -> NDArray[np.uint8]:
    """Turn density into grey levels: exposure, uneven beam, noise and the side marker."""
    gain, gamma = rng.uniform(0.98, 1.2), rng.uniform(0.9, 1.15)
    grey = np.clip(density * np.float32(gain) + np.float32(0.03), 0, 1) ** np.float32(gamma)
    x = np.linspace(-1, 1, grey.shape[1], dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, grey.shape[0], dtype=np.float32)[:, None]
    grey *= 1 - np.float32(0.12) * (x * x + y * y)
    image = Image.fromarray((grey * 245).astype(np.uint8))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    _mark_side(rng, image)
    noise = rng.standard_normal((height, width), dtype=np.float32)
    noise *= np.float32(rng.uniform(2.0, 4.5))
    noise += np.asarray(image)
    return np.clip(noise, 0, 255).astype(np.uint8)


def _mark_side(rng: np.random.Generator, image: Image.Image) -> None:
    """Draw the letter R that stands beside the patient's right side."""
    left, top = 0.03 * image.width, rng.uniform(0.05, 0.3) * image.height
    size = 0.035 * image.width
    pen, stroke = ImageDraw.Draw(image), max(1, round(size / 7))
    pen.line([(left, top), (left, top + size)], fill=240, width=stroke)
    pen.line([(left + size * 0.2, top + size * 0.5), (left + size * 0.55, top + size)], 240, stroke)
    pen.ellipse([left, top, left + size * 0.55, top + size * 0.52], outline=240, width=stroke)


def _consolidations(rng: np.random.Generator, canvas: _Canvas, chest: anatomy.Chest) -> Layer:
    """Draw one to three soft, patchy opacities: float32 (H, W), up to about 0.4."""
    x = np.linspace(0, 1, canvas.width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, canvas.height, dtype=np.float32)[:, None]
    opacity = np.zeros((canvas.height, canvas.width), dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        side = rng.choice(anatomy.SIDES)
        centre_x = chest.middle + side * rng.uniform(0.12, chest.half_width - 0.08)
        centre_y = rng.uniform(chest.apex + 0.15, chest.base)
        radius_x, radius_y = rng.uniform(0.06, 0.13), rng.uniform(0.06, 0.14)
        bell = np.exp(-((x - centre_x) ** 2) / np.float32(2 * radius_x**2))
        bell = bell * np.exp(-((y - centre_y) ** 2) / np.float32(2 * radius_y**2))
        opacity = np.maximum(opacity, bell * np.float32(rng.uniform(0.6, 1.0)))
    patchy = 0.45 + 0.35 * canvas.clouds(rng, 14) + 0.2 * canvas.clouds(rng, 40)
    return 0.5 * opacity * patchy
