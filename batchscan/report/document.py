"""A document: sections of blocks that hold raw numbers, and nothing of how they are drawn.

Every part of the report makes such sections; `batchscan.report` turns the same document into HTML
and into JSON, so that both always show the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["plain", "good", "warning", "note"]
Kind = Literal["text", "count", "percent", "figure", "p_value", "score"]
"""How a value is shown: `percent` is a proportion shown as 95.0%, `figure` has three decimals,
`score` four, `p_value` is at least "<0.001"."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval. None where it is not defined, or no interval can be stated.

    `n` is what it rests on: the denominator of a proportion, else the images.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


Value = str | int | float | bool | Estimate | None


@dataclass(frozen=True)
class Text:
    """One paragraph of plain text; never markup. A `warning` says what can't be trusted."""

    key: str
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Column:
    """A column of a table; `kind` also says how the `Estimate`s in it are shown."""

    key: str
    title: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows. A value of None is shown as a dash."""

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`."""

    title: str
    low: float
    high: float
    kind: Kind = "figure"


@dataclass(frozen=True)
class Line:
    """A curve through the points (x, y), with a band from `low` to `high` where these are given.

    At most a few hundred points: whoever makes it has thinned it. A step line changes its y at
    each x. `dashed` is for what is only there to be compared with, such as a diagonal.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    dashed: bool = False
    step: bool = False


@dataclass(frozen=True)
class Mark:
    """One point of a chart that is worth a label, such as the threshold."""

    label: str
    x: float
    y: float


@dataclass(frozen=True)
class LineChart:
    """Curves. `summary` says in a sentence what they show, for who can't see them."""

    key: str
    caption: str
    summary: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Bars:
    """A series of a bar chart: a height for each bin."""

    label: str
    heights: tuple[float, ...]


@dataclass(frozen=True)
class BarChart:
    """A histogram with one edge more than heights; `lines` are vertical, such as a threshold."""

    key: str
    caption: str
    summary: str
    x: Axis
    y: Axis
    edges: tuple[float, ...]
    series: tuple[Bars, ...]
    lines: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ForestRow:
    """A line of a forest plot; `muted` where the images are too few to say anything."""

    group: str
    name: str
    estimate: Estimate
    muted: bool = False


@dataclass(frozen=True)
class ForestPlot:
    """Estimates with intervals under each other; `reference` is that of all images."""

    key: str
    caption: str
    summary: str
    x: Axis
    rows: tuple[ForestRow, ...]
    reference: float | None = None


@dataclass(frozen=True)
class FlowStep:
    """A box of a flow diagram, and the boxes that leave it to the side: (text, count)."""

    title: str
    count: int
    leaves: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Flow:
    """A flow diagram from the top down: each count is the one above less what leaves there."""

    key: str
    caption: str
    summary: str
    steps: tuple[FlowStep, ...]


@dataclass(frozen=True)
class Picture:
    """A picture in a contact sheet: PNG or JPEG bytes, and another with the heat map over it."""

    image: bytes
    heat_map: bytes | None
    alternative: str
    lines: tuple[str, ...]
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """A contact sheet. `values` of its pictures are what the JSON tells of them."""

    key: str
    caption: str
    note: str
    pictures: tuple[Picture, ...]


Block = Text | Table | LineChart | BarChart | ForestPlot | Flow | Sheet


@dataclass(frozen=True)
class Section:
    """A section of the document; keys of sections, and of blocks in one, are unique."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """The whole: `facts` stand below the title, as pairs of name and value."""

    title: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
