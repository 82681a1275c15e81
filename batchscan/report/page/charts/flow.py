"""Flow diagrams as in STARD: boxes from the top down, and to the side what leaves there."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from batchscan.report.document import Flow, FlowStep
from batchscan.report.page.charts.svg import BOLD, SIZE, drawing, element, group, words, wrapped

_WIDTH, _MAIN, _SIDE, _SIDE_WIDTH = 700.0, 270.0, 350.0, 350.0
_LINE, _PADDING, _GAP = 17.0, 11.0, 30.0
_COUNT_ROOM = 92.0


@dataclass(frozen=True)
class _Box:
    """A step with the lines that its text takes: those of its title, and of what leaves there."""

    step: FlowStep
    title: list[str]
    leaves: list[tuple[list[str], int]]

    @property
    def height(self) -> float:
        return 2 * _PADDING + _LINE * (len(self.title) + 1)

    @property
    def side_height(self) -> float:
        count = sum(len(lines) for lines, _ in self.leaves)
        return 2 * _PADDING + _LINE * count if count else 0.0


def flow_diagram(chart: Flow, name: str) -> Markup:
    """Draw a flow diagram; `name` is an id of the page's own."""
    parts: list[Markup] = [_arrow_head(name)]
    top = 1.0
    boxes = [_measured(step) for step in chart.steps]
    for number, box in enumerate(boxes):
        parts.append(_step_box(box, top))
        bottom = top + box.height
        if number == len(boxes) - 1 and not box.leaves:
            top = bottom
            break
        # What leaves stands between this step and the next one.
        following = bottom + max(_GAP, box.side_height + 2 * SIZE)
        if number < len(boxes) - 1:
            parts.append(_arrow(name, _MAIN / 2, bottom, _MAIN / 2, following))
        if box.leaves:
            middle = (bottom + following) / 2
            start = _MAIN / 2
            if number == len(boxes) - 1:
                parts.append(
                    element("path", d=f"M{start} {bottom:.1f}V{middle:.1f}", class_="flow-line")
                )
            parts.append(_arrow(name, start, middle, _SIDE, middle))
            parts.append(_side_box(box, middle - box.side_height / 2))
        top = following
    return drawing(
        parts, width=_WIDTH, height=top + 1, name=name, title=chart.caption, summary=chart.summary
    )


def _measured(step: FlowStep) -> _Box:
    room = _SIDE_WIDTH - 2 * _PADDING - _COUNT_ROOM
    leaves = [(wrapped(text, room), count) for text, count in step.leaves]
    return _Box(step, wrapped(step.title, (_MAIN - 2 * _PADDING) / BOLD), leaves)


def _step_box(box: _Box, top: float) -> Markup:
    parts = [element("rect", x=1, y=top, width=_MAIN - 2, height=box.height, rx=3, class_="box")]
    y = top + _PADDING + _LINE * 0.75
    for text in box.title:
        parts.append(words(text, _MAIN / 2, y, class_="box-title", text_anchor="middle"))
        y += _LINE
    count = f"n = {box.step.count:,}"
    parts.append(words(count, _MAIN / 2, y, class_="number", text_anchor="middle"))
    return group(parts)


def _side_box(box: _Box, top: float) -> Markup:
    width, height = _SIDE_WIDTH - 1, box.side_height
    parts = [element("rect", x=_SIDE, y=top, width=width, height=height, rx=3, class_="side-box")]
    y = top + _PADDING + _LINE * 0.75
    end = _SIDE + _SIDE_WIDTH - _PADDING
    for lines, count in box.leaves:
        parts.append(words(f"{count:,}", end, y, class_="number", text_anchor="end"))
        for text in lines:
            parts.append(words(text, _SIDE + _PADDING, y, class_="name"))
            y += _LINE
    return group(parts)


def _arrow(name: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return element(
        "line", x1=x1, y1=y1, x2=x2, y2=y2, class_="flow-line", marker_end=f"url(#{name}-head)"
    )


def _arrow_head(name: str) -> Markup:
    head = element("path", d="M0 0L8 4L0 8z", class_="flow-head")
    marker = element(
        "marker", head, id=f"{name}-head", markerWidth=8, markerHeight=8, refX=8, refY=4,
        orient="auto", markerUnits="userSpaceOnUse",
    )  # fmt: skip
    return element("defs", marker)
