"""Histograms: the bars of each series side by side in their bin, told apart by pattern, too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from batchscan.report.document import BarChart
from batchscan.report.page.charts.frame import WIDTH, Frame, frame_of
from batchscan.report.page.charts.svg import SIZE, drawing, element, group, line, width_of, words
from batchscan.report.page.values import visible

STYLES = 6
_HEIGHT = 240.0


def bar_chart(chart: BarChart, name: str) -> Markup:
    """Draw a histogram; `name` is an id of the page's own."""
    frame = frame_of(chart.x, chart.y, height=_HEIGHT)
    defs = element("defs", *(_pattern(name, style) for style in _styles(chart)))
    return drawing(
        [defs, frame.axes, *_series(chart, frame, name), *_lines(chart.lines, frame)],
        width=WIDTH,
        height=frame.height,
        name=name,
        title=chart.caption,
        summary=chart.summary,
    )


def bar_legend(chart: BarChart, name: str) -> list[tuple[Markup, str]]:
    """Return a sample of each series and its label; nothing for a series alone."""
    if len(chart.series) < 2:
        return []
    return [
        (_sample(name, style), series.label)
        for series, style in zip(chart.series, _styles(chart), strict=True)
    ]


def _styles(chart: BarChart) -> list[int]:
    return [number % STYLES + 1 for number in range(len(chart.series))]


def _pattern(name: str, style: int) -> Markup:
    """Return the filling of a series: plain for the first, hatched more and more for the next."""
    turn = {2: 45, 3: -45, 4: 0, 5: 90, 6: 20}.get(style, 0)
    ground = element("rect", width=6, height=6, class_=f"ground-{style}")
    hatch = element("line", x1=0, y1=0, x2=0, y2=6, class_="hatch")
    return element(
        "pattern",
        ground,
        *(() if style == 1 else (hatch,)),
        id=f"{name}-fill-{style}",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform=f"rotate({turn})",
    )


def _sample(name: str, style: int) -> Markup:
    fill = f"url(#{name}-fill-{style})"
    kind = f"bar series-{style}"
    bar = element("rect", x=1, y=1, width=30, height=10, fill=fill, class_=kind)
    return element("svg", bar, class_="sample", viewBox="0 0 32 12", aria_hidden="true")


def _series(chart: BarChart, frame: Frame, name: str) -> list[Markup]:
    count = len(chart.series)
    drawn = []
    for number, (series, style) in enumerate(zip(chart.series, _styles(chart), strict=True)):
        bars = []
        for (left, right), height in zip(pairwise(chart.edges), series.heights, strict=True):
            start, end = frame.x(left), frame.x(right)
            gap = min(2.0, (end - start) / 8)
            width = (end - start - gap) / count
            bars.append(_bar(start + gap / 2 + number * width, width, frame, height))
        fill = f"url(#{name}-fill-{style})"
        drawn.append(group(bars, class_=f"bar series-{style}", fill=fill))
    return drawn


def _bar(x: float, width: float, frame: Frame, height: float) -> Markup:
    top, bottom = sorted((frame.y(height), frame.y(0.0)))
    if height and bottom - top < 1:
        top = bottom - 1  # A single image among millions is still there.
    return element("rect", x=x, y=top, width=f"{width:.2f}", height=bottom - top)


def _lines(lines: Sequence[tuple[str, float]], frame: Frame) -> list[Markup]:
    """Draw upright lines, each label a line of text lower than the last, so that none meet."""
    parts = []
    for number, (label, value) in enumerate(sorted(lines, key=lambda each: each[1])):
        x, top = frame.x(value), frame.y.end
        parts.append(line(x, frame.y.start, x, top, "threshold"))
        to_the_right = x + 8 + width_of(visible(label)) <= frame.x.end or value <= _middle(frame)
        room = (frame.x.end - x if to_the_right else x - frame.x.start) - 8
        place = x + 6 if to_the_right else x - 6
        anchor = "start" if to_the_right else "end"
        y = top + SIZE * (1 + 1.4 * number)
        parts.append(words(label, place, y, room=room, class_="label", text_anchor=anchor))
    return parts


def _middle(frame: Frame) -> float:
    return (frame.x.low + frame.x.high) / 2
