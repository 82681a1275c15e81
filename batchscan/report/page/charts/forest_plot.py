"""Forest plots: names, numbers of images, intervals and estimates, a line for each group."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from batchscan.report.document import ForestPlot, ForestRow
from batchscan.report.page.charts.scale import Scale, scale_of, tick_texts, ticks_of
from batchscan.report.page.charts.svg import (
    BOLD,
    SIZE,
    drawing,
    element,
    group,
    line,
    width_of,
    words,
)
from batchscan.report.page.values import shown, shown_number

_WIDTH = 700.0
_NAME_END, _COUNT_END, _LEFT, _RIGHT = 170.0, 236.0, 254.0, 510.0
_ROW, _HEAD, _TOP, _BOTTOM = 22.0, 26.0, 34.0, 46.0


def forest_plot(chart: ForestPlot, name: str) -> Markup:
    """Draw a forest plot; `name` is an id of the page's own. Intervals beyond the axis get arrows.

    Groups that are muted are drawn hollow and dashed.
    """
    scale = scale_of(chart.x, _LEFT, _RIGHT)
    bottom = _TOP + sum(_HEAD if isinstance(each, str) else _ROW for each in _lines(chart))
    parts = [*_axis(chart, scale, bottom), *_heads(chart)]
    top = _TOP
    for each in _lines(chart):
        if isinstance(each, str):
            top += _HEAD
            parts.append(words(each, 0, top - 7, room=(_LEFT - 10) / BOLD, class_="forest-group"))
        else:
            parts.append(_row(each, chart, scale, top + _ROW / 2))
            top += _ROW
    return drawing(
        parts,
        width=_WIDTH,
        height=bottom + _BOTTOM,
        name=name,
        title=chart.caption,
        summary=chart.summary,
    )


def forest_legend(chart: ForestPlot) -> list[tuple[Markup, str]]:
    """Return a sample of what is muted, and what it means, where something is."""
    if not any(row.muted for row in chart.rows):
        return []
    parts = [
        line(1, 6, 31, 6, "whisker"),
        element("rect", x=12, y=2, width=8, height=8, class_="dot"),
    ]
    row = group(parts, class_="forest-row muted")
    sample = element("svg", row, class_="sample", viewBox="0 0 32 12", aria_hidden="true")
    return [(sample, "Too few images to say anything")]


def _lines(chart: ForestPlot) -> Iterator[str | ForestRow]:
    """Yield the rows, and the name of each group before its first one."""
    group_name = ""
    for row in chart.rows:
        if row.group != group_name:
            yield row.group
        group_name = row.group
        yield row


def _heads(chart: ForestPlot) -> list[Markup]:
    counted = any(row.estimate.n is not None for row in chart.rows)
    heads = [words("Estimate (95% interval)", _WIDTH, 14, class_="head", text_anchor="end")]
    if counted:
        heads.append(words("n", _COUNT_END, 14, class_="head", text_anchor="end"))
    return heads


def _axis(chart: ForestPlot, scale: Scale, bottom: float) -> list[Markup]:
    ticks = ticks_of(scale, 5)
    parts = []
    for tick, text in zip(ticks, tick_texts(ticks, chart.x.kind), strict=True):
        parts.append(line(scale(tick), _TOP, scale(tick), bottom, "grid"))
        parts.append(words(text, scale(tick), bottom + 16, class_="tick", text_anchor="middle"))
    parts.append(line(_LEFT, bottom, _RIGHT, bottom, "axis"))
    middle = (_LEFT + _RIGHT) / 2
    room = 2 * (_WIDTH - middle)
    title = words(chart.x.title, middle, bottom + 36, room=room, class_="axis-title",
                  text_anchor="middle")  # fmt: skip
    return [*parts, title, *_reference(chart, scale, bottom)]


def _reference(chart: ForestPlot, scale: Scale, bottom: float) -> list[Markup]:
    if chart.reference is None:
        return []
    place = scale(chart.reference)
    text = f"all: {shown_number(chart.reference, chart.x.kind)}"
    half = width_of(text) / 2
    x = min(max(place, _LEFT + half), _RIGHT - half / 2)
    label = words(text, x, 28, class_="label", text_anchor="middle")
    return [line(place, _TOP, place, bottom, "threshold"), label]


def _row(row: ForestRow, chart: ForestPlot, scale: Scale, y: float) -> Markup:
    text = shown(row.estimate, chart.x.kind)
    baseline = y + SIZE / 3
    parts = [
        words(row.name, 12, baseline, room=_NAME_END - 12, class_="name"),
        words(text, _WIDTH, baseline, class_="number", text_anchor="end"),
    ]
    if row.estimate.n is not None:
        count = f"{row.estimate.n:,}"
        parts.append(words(count, _COUNT_END, baseline, class_="number", text_anchor="end"))
    parts += _interval(row, scale, y)
    return group(parts, class_="forest-row muted" if row.muted else "forest-row")


def _interval(row: ForestRow, scale: Scale, y: float) -> Iterator[Markup]:
    """Draw the estimate and its interval, as far as there are such."""
    value, low, high = row.estimate.value, row.estimate.low, row.estimate.high
    if low is not None and high is not None:
        yield line(scale(low), y, scale(high), y, "whisker")
        for bound, beyond, way in (
            (low, low < scale.low, -1.0),
            (high, high > scale.high, 1.0),
        ):
            yield _end(scale(bound), y, way if beyond else 0.0)
    if value is not None and scale.low <= value <= scale.high:
        yield element("rect", x=scale(value) - 4, y=y - 4, width=8, height=8, class_="dot")


def _end(x: float, y: float, way: float) -> Markup:
    """Draw the end of an interval: an arrow's head if it goes on beyond the axis."""
    if way:
        stroke = f"M{x - 6 * way:.1f} {y - 4:.1f}L{x:.1f} {y:.1f}L{x - 6 * way:.1f} {y + 4:.1f}"
    else:
        stroke = f"M{x:.1f} {y - 3:.1f}v6"
    return element("path", d=stroke, class_="whisker-end")
