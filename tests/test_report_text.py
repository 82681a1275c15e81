"""A document as plain text for a terminal."""

from __future__ import annotations

import pytest

from batchscan.report.document import (
    Axis,
    BarChart,
    Block,
    Column,
    Document,
    Estimate,
    Flow,
    FlowStep,
    ForestPlot,
    Kind,
    Line,
    LineChart,
    Picture,
    Section,
    Sheet,
    Table,
    Text,
    Value,
)
from batchscan.report.page.text import render_text, shown

AXIS = Axis("x", 0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, "percent", "-"),
        ("words", "count", "words"),
        (True, "text", "yes"),
        (12345, "count", "12,345"),
        (0.95, "percent", "95.0%"),
        (1.0, "percent", "100.0%"),
        (0.9999, "percent", ">99.9%"),
        (0.0001, "percent", "<0.1%"),
        (-0.034, "percent", "-3.4%"),
        (-0.0001, "percent", ">-0.1%"),
        (0.0, "percent", "0.0%"),
        (0.0004, "p_value", "<0.001"),
        (1.0, "p_value", "1.000"),
        (0.12345, "figure", "0.123"),
        (-0.2, "figure", "-0.200"),
        (0.99999, "score", ">0.9999"),
        (2.5, "text", "2.5"),
        (Estimate(0.5, 0.25, 0.75), "figure", "0.500 (0.250 to 0.750)"),
        (Estimate(0.5, 0.25, 0.75), "percent", "50.0% (25.0% to 75.0%)"),
        (Estimate(0.5), "text", "0.500"),
        (Estimate(None, None, None, 3), "figure", "-"),
    ],
)
def test_values(value: Value, kind: Kind, expected: str) -> None:
    """Each kind of value has its form; nothing looks like 0 or 1 that is not."""
    assert shown(value, Column("x", "x", kind)) == expected


def rendered(*blocks: Block) -> str:
    section = Section("s", "A section", blocks)
    return render_text(Document("The title", (("name", "value"),), (section,)))


def test_head_and_sections() -> None:
    """Title, facts and the sections' titles come in their order."""
    text = rendered(Text("t", "Some words.", "warning"))
    assert text.split("\n") == [
        "The title", "  name  value", "", "A SECTION", "", "  WARNING  Some words.",
    ]  # fmt: skip


def test_narrow_and_wide_tables() -> None:
    """A table keeps its columns where they fit, else its rows come below each other, whole."""
    narrow = tuple(Column(f"c{n}", f"C{n}", "count") for n in range(3))
    assert "    C0  C1  C2\n    a    1   2" in rendered(Table("t", "T", narrow, (("a", 1, 2),)))
    long = "x" * 70
    wide = rendered(Table("t", "T", narrow, ((long, 1, 2),)))
    assert long in wide
    assert "C1  1" in wide
    many = rendered(Table("t", "T", narrow, ((long, 1, 2),) * 20))
    assert many.count("C1 1; C2 2") == 20
    assert "T" in rendered(Table("t", "T", narrow, (), "a note"))


def test_charts_and_pictures_say_what_they_show() -> None:
    """What cannot be drawn is there by its summary; a flow's counts are all there."""
    line = Line("curve", (0.0,), (0.0,))
    text = rendered(
        LineChart("l", "Lines", "Up and down.", AXIS, AXIS, (line,)),
        BarChart("b", "Bars", "Mostly low.", AXIS, AXIS, (0.0, 1.0), ()),
        ForestPlot("f", "Forest", "All alike.", AXIS, ()),
        Flow(
            "w", "Images", "", (FlowStep("found", 1200, (("failed", 7),)), FlowStep("left", 1193))
        ),
        Sheet("p", "Sheet", "A note.", (Picture(b"", None, "", ()),)),
    )
    for words in (
        "Up and down.",
        "Mostly low.",
        "All alike.",
        "1,200  found",
        "7  failed",
        "Sheet: 1 to be seen",
    ):
        assert words in text


def test_nothing_reaches_the_terminal_raw() -> None:
    """Control characters in any text are replaced."""
    columns = (Column("a", "A\x1b"), Column("b", "B\x1b"), Column("c", "C"))
    text = rendered(
        Text("t", "one\x1btwo"),
        Table("t", "T\x1b", columns, (("x\x1b", "y\x1b", "z" * 90 + "\x1b"),), "n\x1b"),
        Flow("w", "F\x1b", "", (FlowStep("\x1b", 1, (("\x1b", 1),)),)),
    )
    assert "\x1b" not in text
