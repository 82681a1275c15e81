"""Phantoms: drawn chest X-rays, so that everything can be tried without any patient's data.

A phantom has the parts that a chest X-ray is read by (lungs, ribs, spine, heart, clavicles), with
random proportions, exposure and noise; pneumonia adds soft consolidations to the lungs. It looks
the part, but it is no model of disease: scores of phantoms say nothing about a network.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = list[tuple[float, float]]
Layer = NDArray[np.float32]

_SIDES = (-1, 1)
_README = """\
Chest X-ray phantoms, drawn by batchscan: synthetic images, no patients.
A few files are damaged on purpose.
"""


@dataclass(frozen=True)
class _Anatomy:
    """Proportions of one chest, as shares of the image's width or height."""

    middle: float
    apex: float
    base: float
    half_width: float
    heart_width: float
    rib_slope: float
    ribs: int


@dataclass(frozen=True)
class _Canvas:
    """A grid to draw layers on. Coordinates are shares of width and height, from top left."""

    width: int
    height: int

    def areas(self, *areas: Points, blur: float) -> Layer:
        """Fill polygons: float32 (height, width), 0 to 1, edges softened by `blur` of the width."""
        image = Image.new("L", (self.width, self.height))
        pen = ImageDraw.Draw(image)
        for area in areas:
            pen.polygon(self._pixels(area), fill=255)
        return self._softened(image, blur)

    def lines(self, lines: list[tuple[Points, float, int]], blur: float) -> Layer:
        """Draw lines of (points, width as a share, brightness 0 to 255), later ones above."""
        image = Image.new("L", (self.width, self.height))
        pen = ImageDraw.Draw(image)
        for points, width, brightness in lines:
            thickness = max(1, round(width * self.width))
            pen.line(self._pixels(points), fill=brightness, width=thickness, joint="curve")
        return self._softened(image, blur)

    def clouds(self, rng: np.random.Generator, cells: int) -> Layer:
        """Draw a smooth random field of about `cells` clouds across: (height, width), 0 to 1."""
        coarse = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((self.width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(image, dtype=np.float32) / np.float32(255)

    def _pixels(self, points: Points) -> Points:
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
    anatomy = _Anatomy(
        middle=rng.uniform(0.48, 0.52),
        apex=rng.uniform(0.12, 0.17),
        base=rng.uniform(0.64, 0.72),
        half_width=rng.uniform(0.33, 0.38),
        heart_width=rng.uniform(0.15, 0.19),
        rib_slope=rng.uniform(0.05, 0.09),
        ribs=int(rng.integers(8, 10)),
    )
    density = _density(rng, canvas, anatomy, pneumonia)
    return _exposed(rng, density, width, height)


def draw_archive(folder: Path, *, images: int = 60, seed: int = 0) -> None:
    """Write phantoms as JPEG and PNG into class folders below `folder`, some files damaged.

    Of `images` files named like images, four are damaged (a truncated JPEG, an empty file, a text
    with the wrong name, a PNG with a flipped bit) if `images` is 8 or more; a README stands beside
    them. The same seed gives the same phantoms.
    """
    rng = np.random.default_rng(seed)
    damaged = _damaged_files(rng) if images >= 8 else {}
    for number in range(images - len(damaged)):
        pneumonia = bool(rng.random() < 0.5) if number > 1 else number == 1
        site = "ab"[number // 2 % 2]
        parts = [f"site-{site}", str(2023 + number % 3), "PNEUMONIA" if pneumonia else "NORMAL"]
        width = int(rng.integers(600, 1401))
        size = (width, round(width * rng.uniform(0.72, 0.86)))
        kind = ("jpeg", "rgb", "jpeg", "png", "jpeg")[number % 5]
        suffix = "png" if kind == "png" else "jpeg"
        file = folder.joinpath(*parts, f"phantom-{number + 1:04d}.{suffix}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_encoded(draw_phantom(rng, pneumonia, *size), kind))
    for name, content in damaged.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(_README)


def _encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    """Encode as `jpeg`, `rgb` (grey, stored as a colour JPEG) or `png`."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    if kind == "png":
        image.save(stream, "png", compress_level=1)
    else:
        image.convert("RGB" if kind == "rgb" else "L").save(stream, "jpeg", quality=88)
    return stream.getvalue()


def _damaged_files(rng: np.random.Generator) -> dict[str, bytes]:
    pixels = draw_phantom(rng, True, 640, 520)
    jpeg, png = _encoded(pixels, "jpeg"), bytearray(_encoded(pixels, "png"))
    png[len(png) // 2] ^= 0x10
    return {
        "site-a/2023/PNEUMONIA/phantom-truncated.jpeg": jpeg[: len(jpeg) * 2 // 3],
        "site-a/2024/NORMAL/phantom-empty.jpeg": b"",
        "site-b/2023/NORMAL/phantom-note.jpeg": b"This is a note, not an image.\n",
        "site-b/2024/PNEUMONIA/phantom-damaged.png": bytes(png),
    }


def _density(
    rng: np.random.Generator, canvas: _Canvas, anatomy: _Anatomy, pneumonia: bool
) -> Layer:
    """Add all parts up: float32 (H, W), 0 for air to about 1 for the spine behind the heart."""
    lung_areas = [_lung(anatomy, side) for side in _SIDES]
    heart = canvas.areas(_heart(anatomy), blur=0.009)
    lungs = canvas.areas(*lung_areas, blur=0.006) * (1 - 0.8 * heart)
    body = canvas.areas(_torso(anatomy), *_arms(anatomy), blur=0.012)
    depth = np.linspace(0.40, 0.66, canvas.height, dtype=np.float32)[:, None]
    density = body * (depth + 0.05 * canvas.clouds(rng, 7))
    mediastinum = canvas.areas(_column(anatomy, 0.075), blur=0.02)
    density += body * 0.12 * np.maximum(mediastinum, heart)
    density -= lungs * (0.34 + 0.06 * canvas.clouds(rng, 9))
    density += lungs * 0.16 * canvas.lines(list(_vessels(rng, anatomy)), blur=0.0025)
    if pneumonia:
        density += lungs * _consolidations(rng, canvas, anatomy)
    density += body * 0.15 * canvas.lines(_ribs(anatomy), blur=0.0018)
    density += body * 0.16 * canvas.lines(_shoulders(anatomy), blur=0.0025)
    density += body * 0.10 * canvas.lines(_spine(anatomy), blur=0.004)
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


def _lung(anatomy: _Anatomy, side: int) -> Points:
    """Outline one lung: down the chest wall, along the diaphragm, up beside the spine."""
    top, base, half = anatomy.apex, anatomy.base, anatomy.half_width
    angle = base + 0.09
    down = np.linspace(0, 1, 24)
    outward = 0.11 + (half - 0.11) * np.sin(down * np.pi / 2) ** 0.62
    wall = _points(outward, top + (angle - top) * down**1.35)
    dome = [
        (half - 0.02 - (half - 0.10) * u, angle - 0.13 * np.sin(u * np.pi * 0.8) ** 0.7)
        for u in np.linspace(0.04, 1, 16)
    ]
    crown = [(0.075, base - 0.05), (0.065, top + 0.12), (0.068, top + 0.03), (0.085, top - 0.005)]
    return [(anatomy.middle + side * x, y) for x, y in [*wall, *dome, *crown]]


def _heart(anatomy: _Anatomy) -> Points:
    """Outline the heart with its great vessels: mostly on the patient's left, the image's right."""
    turn = np.linspace(0, 2 * np.pi, 40)
    centre, level = anatomy.middle + 0.05, anatomy.base - 0.11
    tilt = 0.35
    across, along = anatomy.heart_width * np.cos(turn), 0.155 * np.sin(turn)
    x = centre + across * np.cos(tilt) - 0.7 * along * np.sin(tilt)
    y = level + across * np.sin(tilt) * 0.9 + along * np.cos(tilt)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _torso(anatomy: _Anatomy) -> Points:
    half = anatomy.half_width
    right = [
        (0.085, -0.05),
        (0.09, 0.05),
        (0.2, 0.09),
        (0.42, 0.14),
        (half + 0.08, 0.34),
        (half + 0.045, 0.55),
        (half + 0.06, 0.8),
        (half + 0.075, 1.05),
    ]
    left = [(-x, y) for x, y in reversed(right)]
    return [(anatomy.middle + x, y) for x, y in [*right, *left]]


def _arms(anatomy: _Anatomy) -> list[Points]:
    arm = [(0.36, 0.10), (0.44, 0.12), (0.56, 0.22), (0.56, 0.62), (0.50, 0.42), (0.42, 0.34)]
    return [[(anatomy.middle + side * x, y) for x, y in arm] for side in _SIDES]


def _column(anatomy: _Anatomy, half_width: float) -> Points:
    left, right = anatomy.middle - half_width, anatomy.middle + half_width
    return [(left, -0.05), (right, -0.05), (right, 1.05), (left, 1.05)]


def _spine(anatomy: _Anatomy) -> list[tuple[Points, float, int]]:
    """Draw vertebrae, brighter than the gaps between them."""
    lines: list[tuple[Points, float, int]] = [(_column(anatomy, 0.0)[1:3], 0.075, 120)]
    pitch = (anatomy.base - anatomy.apex) / 9
    for number in range(-3, 15):
        y = anatomy.apex + number * pitch
        ends = [(anatomy.middle + side * 0.04, y) for side in _SIDES]
        lines += [
            (ends, 0.028, 190),
            ([(anatomy.middle, y - 0.008), (anatomy.middle, y + 0.02)], 0.008, 235),
        ]
    return lines


def _ribs(anatomy: _Anatomy) -> list[tuple[Points, float, int]]:
    """Draw ribs as tubes: bright edges, fainter inside; front parts fainter than back parts."""
    back, front = [], []
    pitch = (anatomy.base - anatomy.apex + 0.02) / anatomy.ribs
    turn = np.linspace(0, 1, 18)
    for side in _SIDES:
        for number in range(anatomy.ribs + 2):
            y = anatomy.apex - 0.015 + number * pitch
            reach = anatomy.half_width * min(1.0, 0.52 + 0.2 * number) + 0.008
            outward = 0.045 + (reach - 0.045) * np.sin(turn * np.pi / 2)
            fall = anatomy.rib_slope * (0.7 + 0.1 * number)
            course = y - 0.035 * np.sin(turn * np.pi) + fall * turn**2 + 0.4 * pitch * turn**5
            back.append(_points(anatomy.middle + side * outward, course))
            inward = reach - (reach * 0.62) * turn
            course = course[-1] + 0.055 * turn + 0.045 * np.sin(turn * np.pi / 2)
            front.append(_points(anatomy.middle + side * inward, course))
    return [
        *((line, 0.017, 62) for line in front),
        *((line, 0.011, 40) for line in front),
        *((line, 0.021, 200) for line in back),
        *((line, 0.013, 125) for line in back),
    ]


def _shoulders(anatomy: _Anatomy) -> list[tuple[Points, float, int]]:
    """Draw clavicles, shoulder blades' edges and the heads of the upper arms."""
    lines: list[tuple[Points, float, int]] = []
    for side in _SIDES:
        clavicle = [(0.05, 0.155), (0.13, 0.135), (0.22, 0.12), (0.30, 0.085), (0.37, 0.075)]
        blade = [(0.36, 0.12), (0.375, 0.2), (0.355, 0.3), (0.33, 0.36)]
        arm = [(0.44, 0.13), (0.49, 0.25), (0.53, 0.45)]
        for points, width, brightness in (
            (blade, 0.008, 110),
            (arm, 0.05, 150),
            (arm, 0.034, 110),
            (clavicle, 0.026, 230),
            (clavicle, 0.015, 160),
        ):
            moved = [(anatomy.middle + side * x, y + anatomy.apex - 0.14) for x, y in points]
            lines.append((moved, width, brightness))
    return lines


def _vessels(rng: np.random.Generator, anatomy: _Anatomy) -> Iterator[tuple[Points, float, int]]:
    """Grow vessels from each hilum outwards, thinner with every step."""
    for side in _SIDES:
        for _ in range(16):
            x, y = anatomy.middle + side * 0.075, (anatomy.apex + anatomy.base) / 2
            heading = rng.uniform(-1.25, 1.35)
            for step in range(7):
                length = rng.uniform(0.03, 0.05)
                ahead = (x + side * length * np.cos(heading), y + length * np.sin(heading))
                yield [(x, y), ahead], 0.014 / (1 + 0.7 * step), 220 - 22 * step
                x, y = ahead
                heading += rng.normal(0, 0.25)


def _consolidations(rng: np.random.Generator, canvas: _Canvas, anatomy: _Anatomy) -> Layer:
    """Draw one to three soft, patchy opacities: float32 (H, W), up to about 0.4."""
    x = np.linspace(0, 1, canvas.width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, canvas.height, dtype=np.float32)[:, None]
    opacity = np.zeros((canvas.height, canvas.width), dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        side = rng.choice(_SIDES)
        centre_x = anatomy.middle + side * rng.uniform(0.12, anatomy.half_width - 0.08)
        centre_y = rng.uniform(anatomy.apex + 0.15, anatomy.base)
        radius_x, radius_y = rng.uniform(0.06, 0.13), rng.uniform(0.06, 0.14)
        bell = np.exp(-((x - centre_x) ** 2) / np.float32(2 * radius_x**2))
        bell = bell * np.exp(-((y - centre_y) ** 2) / np.float32(2 * radius_y**2))
        opacity = np.maximum(opacity, bell * np.float32(rng.uniform(0.6, 1.0)))
    patchy = 0.45 + 0.35 * canvas.clouds(rng, 14) + 0.2 * canvas.clouds(rng, 40)
    return 0.5 * opacity * patchy


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    return list(zip(x.tolist(), y.tolist(), strict=True))
