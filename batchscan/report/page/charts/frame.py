"""What line and bar charts share: the area with its grid, its axes and their labels."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from batchscan.report.document import Axis
from batchscan.report.page.charts.scale import Scale, scale_of, tick_texts, ticks_of
from batchscan.report.page.charts.svg import SIZE, element, group, line, width_of, words

WIDTH = 480.0
_RIGHT, _TOP, _BOTTOM = 18.0, 12.0, 46.0


@dataclass(frozen=True)
class Frame:
    """The area between `left`, `right`, `top` and `bottom`, and the scales of both axes."""

    x: Scale
    y: Scale
    axes: Markup

    @property
    def height(self) -> float:
        """The height of the whole drawing."""
        return self.y.start + _BOTTOM

    def clip(self, name: str) -> Markup:
        """Return the definition of a clipping path that is the area."""
        left, top = self.x.start, self.y.end
        area = element(
            "rect", x=left, y=top - 1, width=self.x.end - left, height=self.y.start - top + 2
        )
        return element("defs", element("clipPath", area, id=name))


def frame_of(x: Axis, y: Axis, *, height: float) -> Frame:
    """Lay out an area of this height; the labels of `y` get the room they need."""
    across = scale_of(y, _TOP + height, _TOP)
    ticks = ticks_of(across, whole=y.kind == "count")
    texts = tick_texts(ticks, y.kind)
    left = 30.0 + max(map(width_of, texts), default=0.0)
    along = scale_of(x, left, WIDTH - _RIGHT)
    parts = [
        *_across(along, across, ticks, texts),
        *_along(along, across, x),
        line(along.start, across.start, along.end, across.start, "axis"),
        words(
            x.title,
            (along.start + along.end) / 2,
            across.start + _BOTTOM - 8,
            room=along.end - along.start,
            class_="axis-title",
            text_anchor="middle",
        ),
        _upright(y.title, 14.0, (across.start + across.end) / 2, height),
    ]
    return Frame(along, across, group(parts))


def _across(x: Scale, y: Scale, ticks: list[float], texts: list[str]) -> list[Markup]:
    """Draw the grid's horizontal lines, with the labels of the upright axis."""
    parts = []
    for tick, text in zip(ticks, texts, strict=True):
        parts.append(line(x.start, y(tick), x.end, y(tick), "grid"))
        parts.append(words(text, x.start - 7, y(tick) + SIZE / 3, class_="tick", text_anchor="end"))
    return parts


def _along(x: Scale, y: Scale, axis: Axis) -> list[Markup]:
    """Draw the ticks of the lower axis; the outer labels stay inside the drawing."""
    parts = []
    ticks = ticks_of(x, whole=axis.kind == "count")
    for tick, text in zip(ticks, tick_texts(ticks, axis.kind), strict=True):
        place = x(tick)
        parts.append(line(place, y.start, place, y.start + 4, "axis"))
        centre = min(place, WIDTH - width_of(text) / 2)
        parts.append(words(text, centre, y.start + 18, class_="tick", text_anchor="middle"))
    return parts


def _upright(text: str, x: float, y: float, room: float) -> Markup:
    turn = f"rotate(-90 {x:.1f} {y:.1f})"
    return words(text, x, y, room=room, class_="axis-title", text_anchor="middle", transform=turn)
