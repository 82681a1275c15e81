"""A document as one HTML file: no network, no script, nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from batchscan.report.document import (
    BarChart,
    Block,
    Document,
    Estimate,
    Flow,
    ForestPlot,
    LineChart,
    Section,
    Sheet,
    Table,
    Text,
)
from batchscan.report.page.chart_data import chart_data
from batchscan.report.page.charts.bar_chart import bar_chart, bar_legend
from batchscan.report.page.charts.flow import flow_diagram
from batchscan.report.page.charts.forest_plot import forest_legend, forest_plot
from batchscan.report.page.charts.line_chart import line_chart, line_legend
from batchscan.report.page.values import shown, shown_interval, shown_number, visible
from batchscan.version import VERSION

if TYPE_CHECKING:
    from jinja2 import Environment

_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}

_KINDS: dict[type, str] = {
    Text: "text",
    Table: "table",
    LineChart: "chart",
    BarChart: "chart",
    ForestPlot: "wide_chart",
    Flow: "wide_chart",
    Sheet: "sheet",
}
"""The macro of `blocks.html` that lays each kind of block out."""


def render_html(document: Document) -> str:
    """Return a document as a page of HTML. All text in it is escaped; it may hold any sign."""
    style = (files(__package__) / "templates" / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(f"\n{style}".encode()).digest()).decode()
    page = _environment().get_template("report.html")
    return page.render(document=document, style=Markup(style), digest=digest, version=VERSION)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "kind_of": lambda block: _KINDS[type(block)],
        "is_estimate": lambda value: isinstance(value, Estimate),
        "is_number": lambda kind: kind != "text",
        "warnings_of": warnings_of,
        "drawn": drawn,
        "legend": legend,
        "chart_data": chart_data,
        "data_uri": data_uri,
        "title_and_rest": title_and_rest,
        "breakable": breakable,
        "shown": shown,
        "shown_number": shown_number,
        "shown_interval": shown_interval,
    }
    return environment


def _finalize(value: Any) -> Any:
    """Write out what is not seen in every text of a document, before it is escaped."""
    return visible(value) if type(value) is str else value


def warnings_of(section: Section) -> int:
    """Count a section's warnings."""
    return sum(1 for each in section.blocks if isinstance(each, Text) and each.tone == "warning")


def drawn(block: Block, name: str) -> Markup:
    """Draw a chart; `name` is an id that nothing else on the page has."""
    match block:
        case LineChart():
            return line_chart(block, name)
        case BarChart():
            return bar_chart(block, name)
        case ForestPlot():
            return forest_plot(block, name)
        case Flow():
            return flow_diagram(block, name)
    raise TypeError(f"expected a chart, found {type(block).__name__}")


def legend(block: Block, name: str) -> list[tuple[Markup, str]]:
    """Return samples and labels of what is drawn; `name` as it was for `drawn`."""
    match block:
        case LineChart():
            return line_legend(block)
        case BarChart():
            return bar_legend(block, name)
        case ForestPlot():
            return forest_legend(block)
    return []


def breakable(text: str) -> Markup:
    """Return a text that lines may break behind each slash, as paths should, and is escaped."""
    return Markup("/<wbr>").join(visible(text).split("/"))


def title_and_rest(caption: str) -> tuple[str, str]:
    """Return a caption's first sentence, and what follows."""
    title, _, rest = caption.partition(". ")
    return title, rest


def data_uri(picture: bytes) -> str:
    """Return a picture as an address that holds it. Raises `ValueError` unless PNG or JPEG."""
    for start, kind in _PICTURES.items():
        if picture.startswith(start):
            return f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    raise ValueError(f"expected a PNG or JPEG picture, found bytes that begin {picture[:8]!r}")
