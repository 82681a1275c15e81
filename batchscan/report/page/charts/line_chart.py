"""Curves with bands, and points that are worth a label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from batchscan.report.document import Line, LineChart
from batchscan.report.page.charts.frame import WIDTH, Frame, frame_of
from batchscan.report.page.charts.labels import Box, place_labels
from batchscan.report.page.charts.svg import SIZE, drawing, element, group, path_of, words

Points = list[tuple[float, float]]

STYLES = 6
"""How many lines can be told apart, by colour and by dash; further ones begin anew."""

_SQUARE, _FLAT = 400.0, 260.0
_FEW = 24
"""The points of a line with as few as this are marked, each with its interval as a whisker."""


def line_chart(chart: LineChart, name: str) -> Markup:
    """Draw curves; `name` is an id of the page's own. Shares against shares get a square."""
    square = (chart.x.low, chart.x.high) == (chart.y.low, chart.y.high)
    frame = frame_of(chart.x, chart.y, height=_SQUARE if square else _FLAT)
    curves = [_curve(each, frame, style) for each, style in _styled(chart.lines)]
    clipped = group(curves, clip_path=f"url(#{name}-area)")
    return drawing(
        [frame.clip(f"{name}-area"), frame.axes, clipped, *_marks(chart, frame)],
        width=WIDTH,
        height=frame.height,
        name=name,
        title=chart.caption,
        summary=chart.summary,
    )


def line_legend(chart: LineChart) -> list[tuple[Markup, str]]:
    """Return a sample of each line, and its label; nothing for a line alone."""
    return [
        (_sample(style), each.label) for each, style in _styled(chart.lines) if len(chart.lines) > 1
    ]


def _styled(lines: Sequence[Line]) -> list[tuple[Line, str]]:
    """Give each line its class: those to be compared with one of their own, the others in turn."""
    styled, number = [], 0
    for each in lines:
        if each.dashed:
            styled.append((each, "comparison"))
        else:
            styled.append((each, f"series-{number % STYLES + 1}"))
            number += 1
    return styled


def _sample(style: str) -> Markup:
    stroke = element("line", x1=1, y1=6, x2=31, y2=6, class_=f"curve {style}")
    return element("svg", stroke, class_="sample", viewBox="0 0 32 12", aria_hidden="true")


def _curve(each: Line, frame: Frame, style: str) -> Markup:
    points = _placed(each.x, each.y, frame)
    low, high = _placed(each.x, each.low, frame), _placed(each.x, each.high, frame)
    parts: list[Markup] = []
    few = len(points) <= _FEW and not each.dashed
    if low and few and not each.step:
        parts += _whiskers(low, high)
    elif low:
        outline = _stepped(high, each.step) + _stepped(low, each.step)[::-1]
        parts.append(element("path", d=path_of(outline) + "Z", class_="band"))
    if points:
        parts.append(element("path", d=path_of(_stepped(points, each.step)), class_="curve"))
    if few and not each.step:
        parts += [element("circle", cx=x, cy=y, r=3, class_="dot") for x, y in points]
    return group(parts, class_=style)


def _placed(x: Sequence[float], y: Sequence[float], frame: Frame) -> Points:
    return [(frame.x(a), frame.y(b)) for a, b in zip(x, y, strict=False)]


def _stepped(points: Points, step: bool) -> Points:
    """Return the corners of a step line, which keeps its height up to each next x."""
    if not step:
        return points
    corners = points[:1]
    for (_, y), (x, following) in pairwise(points):
        corners += [(x, y), (x, following)]
    return corners


def _whiskers(low: Points, high: Points) -> list[Markup]:
    parts = []
    for (x, bottom), (_, top) in zip(low, high, strict=True):
        stroke = f"M{x:.1f} {bottom:.1f}V{top:.1f}M{x - 3:.1f} {top:.1f}h6"
        parts.append(element("path", d=f"{stroke}M{x - 3:.1f} {bottom:.1f}h6", class_="whisker"))
    return parts


def _marks(chart: LineChart, frame: Frame) -> list[Markup]:
    """Draw the marks, each label where it covers least of the curves."""
    places = [(frame.x(mark.x), frame.y(mark.y)) for mark in chart.marks]
    avoid = [point for each in chart.lines for point in _dense(_placed(each.x, each.y, frame))]
    inside = Box(frame.x.start, frame.y.end, frame.x.end, frame.y.start)
    labels = [mark.label for mark in chart.marks]
    parts = []
    for (x, y), box, label in zip(
        places, place_labels(labels, places, avoid, inside), labels, strict=True
    ):
        parts.append(element("circle", cx=x, cy=y, r=5, class_="mark"))
        baseline = box.bottom - SIZE * 0.3
        parts.append(words(label, box.left, baseline, room=box.right - box.left, class_="label"))
    return parts


def _dense(points: Points) -> Points:
    """Return points no further apart than a label is high, so that none slips between two."""
    dense = points[:1]
    for (x1, y1), (x2, y2) in pairwise(points):
        count = int(max(abs(x2 - x1), abs(y2 - y1)) / SIZE) + 1
        dense += [(x1 + (x2 - x1) * n / count, y1 + (y2 - y1) * n / count) for n in range(1, count)]
        dense.append((x2, y2))
    return dense
