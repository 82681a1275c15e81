"""What a chart shows as a table, for who can't see it or wants to copy it; short ones only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from batchscan.report.document import (
    BarChart,
    Block,
    Column,
    Estimate,
    Flow,
    ForestPlot,
    Kind,
    Line,
    LineChart,
    Table,
    Value,
)

_MOST = 60
"""Tables of more rows are left out: report.json has all numbers."""


def chart_data(block: Block) -> Table | None:
    """Return the numbers of a chart; None where they are too many to be read."""
    match block:
        case LineChart():
            table = _of_lines(block)
        case BarChart():
            table = _of_bars(block)
        case ForestPlot():
            table = _of_groups(block)
        case Flow():
            table = _of_steps(block)
        case _:
            return None
    return table if 0 < len(table.rows) <= _MOST else None


def _of_lines(chart: LineChart) -> Table:
    columns = (
        Column("line", "Line"),
        Column("x", chart.x.title, chart.x.kind),
        Column("y", chart.y.title, chart.y.kind),
    )
    rows = [row for line in chart.lines if not line.dashed for row in _points(line)]
    return Table(chart.key, chart.caption, columns, tuple(rows))


def _points(line: Line) -> list[tuple[Value, ...]]:
    if not line.low or not line.high:
        return [(line.label, x, y) for x, y in zip(line.x, line.y, strict=True)]
    points = zip(line.x, line.y, line.low, line.high, strict=True)
    return [(line.label, x, Estimate(y, low, high)) for x, y, low, high in points]


def _of_bars(chart: BarChart) -> Table:
    series = tuple(
        Column(f"series_{number}", each.label, chart.y.kind)
        for number, each in enumerate(chart.series)
    )
    heights: Sequence[tuple[float, ...]] = list(
        zip(*(each.heights for each in chart.series), strict=True)
    )
    rows: list[tuple[Value, ...]] = [
        (f"{_edge(low, chart.x.kind)} to {_edge(high, chart.x.kind)}", *each)
        for (low, high), each in zip(pairwise(chart.edges), heights, strict=True)
    ]
    return Table(chart.key, chart.caption, (Column("bin", chart.x.title), *series), tuple(rows))


def _edge(value: float, kind: Kind) -> str:
    """Return the edge of a bin, which is a round number more often than not."""
    return f"{100 * value:.4g}%" if kind == "percent" else f"{value:.4g}"


def _of_groups(chart: ForestPlot) -> Table:
    columns = (
        Column("group", "Group"),
        Column("name", "Name"),
        Column("n", "n", "count"),
        Column("estimate", chart.x.title, chart.x.kind),
    )
    rows = tuple(
        (row.group, row.name + " (too few)" * row.muted, row.estimate.n, row.estimate)
        for row in chart.rows
    )
    return Table(chart.key, chart.caption, columns, rows)


def _of_steps(flow: Flow) -> Table:
    rows: list[tuple[Value, ...]] = []
    for step in flow.steps:
        rows.append((step.title, step.count))
        rows += [(f"of these, {text}", count) for text, count in step.leaves]
    columns = (Column("step", "Step"), Column("count", "Images", "count"))
    return Table(flow.key, flow.caption, columns, tuple(rows))
