"""Where labels go, so that they cover neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchscan.report.page.charts.svg import SIZE, width_of
from batchscan.report.page.values import visible

_AWAY = 9.0


@dataclass(frozen=True)
class Box:
    """A rectangle; `top` is above `bottom`, so it is the smaller number."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, x: float, y: float) -> bool:
        """Say whether a point lies in it."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom

    def meets(self, other: Box) -> bool:
        """Say whether both have a point in common."""
        across = self.left <= other.right and other.left <= self.right
        return across and self.top <= other.bottom and other.top <= self.bottom


def place_labels(
    labels: Sequence[str],
    points: Sequence[tuple[float, float]],
    avoid: Sequence[tuple[float, float]],
    inside: Box,
) -> list[Box]:
    """Return a box for each label near its point, inside, where it covers least."""
    placed: list[Box] = []
    for label, point in zip(labels, points, strict=True):
        width = min(width_of(visible(label)), inside.right - inside.left)
        boxes = [_moved(box, inside) for box in _around(point, width)]
        placed.append(min(boxes, key=lambda box: _harm(box, placed, points, avoid)))
    return placed


def _around(point: tuple[float, float], width: float) -> list[Box]:
    """Return the boxes that are tried: to the right first, then the left, above and below."""
    x, y = point
    height = SIZE * 1.3
    lefts = (x + _AWAY, x - _AWAY - width, x - width / 2)
    tops = (y + _AWAY, y - _AWAY - height, y - height / 2, y + 3 * _AWAY, y - 3 * _AWAY - height)
    return [Box(left, top, left + width, top + height) for top in tops for left in lefts]


def _moved(box: Box, inside: Box) -> Box:
    right = min(0.0, inside.right - box.right)
    down = min(0.0, inside.bottom - 2 - box.bottom)
    x = right + max(0.0, inside.left + 2 - box.left - right)
    y = down + max(0.0, inside.top - box.top - down)
    return Box(box.left + x, box.top + y, box.right + x, box.bottom + y)


def _harm(
    box: Box,
    placed: Sequence[Box],
    points: Sequence[tuple[float, float]],
    avoid: Sequence[tuple[float, float]],
) -> int:
    others = sum(100 for other in placed if box.meets(other))
    marks = sum(50 for point in points if box.covers(*point))
    return others + marks + sum(1 for point in avoid if box.covers(*point))
