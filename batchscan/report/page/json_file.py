"""report.json: every number of a document, raw, under the keys of its sections and blocks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from batchscan.report.document import (
    Axis,
    BarChart,
    Block,
    Document,
    Estimate,
    Flow,
    ForestPlot,
    Line,
    LineChart,
    Section,
    Sheet,
    Table,
    Text,
    Value,
)
from batchscan.report.page.values import plain

FORMAT = "batchscan report"
FORMAT_VERSION = 1


def json_bytes(document: Document) -> bytes:
    """Return a document as JSON in UTF-8, keys in the document's order.

    What is no finite number is null. Half a surrogate pair, as file names may hold, is written as
    JSON's escape. Raises `ValueError` for two sections, blocks or columns with one key.
    """
    text = json.dumps(as_json(document), indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode(errors="backslashreplace")


def as_json(document: Document) -> dict[str, Any]:
    """Return a document in JSON's types; raises `ValueError` as `json_bytes` does."""
    sections = _keyed((each.key, _section(each)) for each in document.sections)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "title": document.title,
        "facts": [{"name": name, "value": value} for name, value in document.facts],
        "sections": sections,
    }


def _section(section: Section) -> dict[str, Any]:
    blocks = _keyed((block.key, _block(block)) for block in section.blocks)
    return {"title": section.title, "blocks": blocks}


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"kind": "text", "tone": block.tone, "text": block.text}
        case Table():
            return _table(block)
        case LineChart():
            return _line_chart(block)
        case BarChart():
            return _bar_chart(block)
        case ForestPlot():
            return _forest_plot(block)
        case Flow():
            return _flow(block)
        case Sheet():
            return _sheet(block)


def _table(table: Table) -> dict[str, Any]:
    keys = [column.key for column in table.columns]
    return {
        "kind": "table",
        "caption": table.caption,
        "columns": _keyed((c.key, {"title": c.title, "kind": c.kind}) for c in table.columns),
        "rows": [dict(zip(keys, map(_value, row), strict=True)) for row in table.rows],
        "note": table.note,
    }


def _line_chart(chart: LineChart) -> dict[str, Any]:
    return {
        "kind": "line_chart",
        **_chart(chart),
        "y": _axis(chart.y),
        "lines": [_line(line) for line in chart.lines],
        "marks": [
            {"label": mark.label, "x": _number(mark.x), "y": _number(mark.y)}
            for mark in chart.marks
        ],
    }


def _line(line: Line) -> dict[str, Any]:
    points = {name: _numbers(getattr(line, name)) for name in ("x", "y", "low", "high")}
    return {"label": line.label, **points, "dashed": line.dashed, "step": line.step}


def _bar_chart(chart: BarChart) -> dict[str, Any]:
    return {
        "kind": "bar_chart",
        **_chart(chart),
        "y": _axis(chart.y),
        "edges": _numbers(chart.edges),
        "series": [
            {"label": each.label, "heights": _numbers(each.heights)} for each in chart.series
        ],
        "lines": [{"label": label, "x": _number(x)} for label, x in chart.lines],
    }


def _forest_plot(chart: ForestPlot) -> dict[str, Any]:
    return {
        "kind": "forest_plot",
        **_chart(chart),
        "reference": _number(chart.reference),
        "rows": [
            {
                "group": row.group,
                "name": row.name,
                "estimate": _value(row.estimate),
                "muted": row.muted,
            }
            for row in chart.rows
        ],
    }


def _chart(chart: LineChart | BarChart | ForestPlot) -> dict[str, Any]:
    return {"caption": chart.caption, "summary": chart.summary, "x": _axis(chart.x)}


def _flow(flow: Flow) -> dict[str, Any]:
    return {
        "kind": "flow",
        "caption": flow.caption,
        "summary": flow.summary,
        "steps": [
            {
                "title": step.title,
                "count": _number(step.count),
                "leaves": [{"text": text, "count": _number(n)} for text, n in step.leaves],
            }
            for step in flow.steps
        ],
    }


def _sheet(sheet: Sheet) -> dict[str, Any]:
    return {
        "kind": "sheet",
        "caption": sheet.caption,
        "note": sheet.note,
        "pictures": [
            {
                "alternative": picture.alternative,
                "lines": list(picture.lines),
                "values": _values(picture.values),
            }
            for picture in sheet.pictures
        ],
    }


def _values(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: _value(value) for name, value in values.items()}


def _axis(axis: Axis) -> dict[str, Any]:
    low, high = _number(axis.low), _number(axis.high)
    return {"title": axis.title, "low": low, "high": high, "kind": axis.kind}


def _value(value: Value) -> Any:
    if isinstance(value, Estimate):
        names = ("value", "low", "high", "n")
        return {name: _number(getattr(value, name)) for name in names}
    value = plain(value)
    return value if isinstance(value, str | bool) else _number(value)


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float | None) -> float | None:
    value = plain(value)
    return value if value is not None and math.isfinite(value) else None


def _keyed(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    keyed: dict[str, Any] = {}
    for key, value in pairs:
        if key in keyed:
            raise ValueError(f"expected keys that are unique in a document, found {key!r} twice")
        keyed[key] = value
    return keyed
