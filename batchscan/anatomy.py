"""The parts of a drawn chest, as outlines and strokes; `batchscan.phantom` gives them density.

Coordinates are shares of the image's width and height, from the top left. As in every frontal
X-ray the patient faces us: the patient's left is the image's right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Points = list[tuple[float, float]]

Stroke = tuple[Points, float, int]
"""Points, width as a share of the image's width, brightness from 0 to 255."""

SIDES = (-1, 1)


@dataclass(frozen=True)
class Chest:
    """Proportions of one chest; `ribs` counts the pairs that show through the lungs."""

    middle: float
    apex: float
    base: float
    half_width: float
    heart_width: float
    rib_slope: float
    ribs: int

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        """Draw the proportions of one chest."""
        return cls(
            middle=rng.uniform(0.48, 0.52),
            apex=rng.uniform(0.12, 0.17),
            base=rng.uniform(0.64, 0.72),
            half_width=rng.uniform(0.33, 0.38),
            heart_width=rng.uniform(0.15, 0.19),
            rib_slope=rng.uniform(0.05, 0.09),
            ribs=int(rng.integers(8, 10)),
        )


def lung(chest: Chest, side: int) -> Points:
    """Outline one lung: down the chest wall, along the diaphragm, up beside the spine."""
    top, base, half = chest.apex, chest.base, chest.half_width
    angle = base + 0.09
    down = np.linspace(0, 1, 24)
    outward = 0.11 + (half - 0.11) * np.sin(down * np.pi / 2) ** 0.62
    wall = _points(outward, top + (angle - top) * down**1.35)
    dome = [
        (half - 0.02 - (half - 0.10) * u, angle - 0.13 * np.sin(u * np.pi * 0.8) ** 0.7)
        for u in np.linspace(0.04, 1, 16)
    ]
    crown = [(0.075, base - 0.05), (0.065, top + 0.12), (0.068, top + 0.03), (0.085, top - 0.005)]
    return [(chest.middle + side * x, y) for x, y in [*wall, *dome, *crown]]


def heart(chest: Chest) -> Points:
    """Outline the heart with its great vessels: mostly on the patient's left, the image's right."""
    turn = np.linspace(0, 2 * np.pi, 40)
    centre, level = chest.middle + 0.05, chest.base - 0.11
    tilt = 0.35
    across, along = chest.heart_width * np.cos(turn), 0.155 * np.sin(turn)
    x = centre + across * np.cos(tilt) - 0.7 * along * np.sin(tilt)
    y = level + across * np.sin(tilt) * 0.9 + along * np.cos(tilt)
    return _points(x, y)


def torso(chest: Chest) -> Points:
    """Outline neck, shoulders and trunk."""
    half = chest.half_width
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
    return [(chest.middle + x, y) for x, y in [*right, *left]]


def arms(chest: Chest) -> list[Points]:
    """Outline both upper arms, which leave the image at its edges."""
    arm = [(0.36, 0.10), (0.44, 0.12), (0.56, 0.22), (0.56, 0.62), (0.50, 0.42), (0.42, 0.34)]
    return [[(chest.middle + side * x, y) for x, y in arm] for side in SIDES]


def column(chest: Chest, half_width: float) -> Points:
    """Outline an upright band along the middle: the soft tissue around the spine."""
    left, right = chest.middle - half_width, chest.middle + half_width
    return [(left, -0.05), (right, -0.05), (right, 1.05), (left, 1.05)]


def spine(chest: Chest) -> list[Stroke]:
    """Draw vertebrae, brighter than the gaps between them."""
    lines: list[Stroke] = [([(chest.middle, -0.05), (chest.middle, 1.05)], 0.075, 120)]
    pitch = (chest.base - chest.apex) / 9
    for number in range(-3, 15):
        y = chest.apex + number * pitch
        ends = [(chest.middle + side * 0.04, y) for side in SIDES]
        lines += [
            (ends, 0.028, 190),
            ([(chest.middle, y - 0.008), (chest.middle, y + 0.02)], 0.008, 235),
        ]
    return lines


def ribs(chest: Chest) -> list[Stroke]:
    """Draw ribs as tubes: bright edges, fainter inside; front parts fainter than back parts."""
    back, front = [], []
    pitch = (chest.base - chest.apex + 0.02) / chest.ribs
    turn = np.linspace(0, 1, 18)
    for side in SIDES:
        for number in range(chest.ribs + 2):
            y = chest.apex - 0.015 + number * pitch
            reach = chest.half_width * min(1.0, 0.52 + 0.2 * number) + 0.008
            outward = 0.045 + (reach - 0.045) * np.sin(turn * np.pi / 2)
            fall = chest.rib_slope * (0.7 + 0.1 * number)
            course = y - 0.035 * np.sin(turn * np.pi) + fall * turn**2 + 0.4 * pitch * turn**5
            back.append(_points(chest.middle + side * outward, course))
            inward = reach - (reach * 0.62) * turn
            course = course[-1] + 0.055 * turn + 0.045 * np.sin(turn * np.pi / 2)
            front.append(_points(chest.middle + side * inward, course))
    return [
        *((line, 0.017, 62) for line in front),
        *((line, 0.011, 40) for line in front),
        *((line, 0.021, 200) for line in back),
        *((line, 0.013, 125) for line in back),
    ]


def shoulders(chest: Chest) -> list[Stroke]:
    """Draw clavicles, shoulder blades' edges and the heads of the upper arms."""
    lines: list[Stroke] = []
    for side in SIDES:
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
            moved = [(chest.middle + side * x, y + chest.apex - 0.14) for x, y in points]
            lines.append((moved, width, brightness))
    return lines


def vessels(rng: np.random.Generator, chest: Chest) -> Iterator[Stroke]:
    """Grow vessels from each hilum outwards, thinner with every step."""
    for side in SIDES:
        for _ in range(16):
            x, y = chest.middle + side * 0.075, (chest.apex + chest.base) / 2
            heading = rng.uniform(-1.25, 1.35)
            for step in range(7):
                length = rng.uniform(0.03, 0.05)
                ahead = (x + side * length * np.cos(heading), y + length * np.sin(heading))
                yield [(x, y), ahead], 0.014 / (1 + 0.7 * step), 220 - 22 * step
                x, y = ahead
                heading += rng.normal(0, 0.25)


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    return list(zip(x.tolist(), y.tolist(), strict=True))
