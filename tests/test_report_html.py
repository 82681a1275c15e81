"""The report as HTML and as JSON, without a browser: the same numbers, and sound structure."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantom_document import phantom_document, spoiled

from batchscan.errors import UsageError
from batchscan.report.document import (
    Axis,
    Column,
    Document,
    Estimate,
    Kind,
    Section,
    Sheet,
    Table,
    Text,
    Value,
)
from batchscan.report.page.charts.scale import scale_of, tick_texts, ticks_of
from batchscan.report.page.charts.svg import cut, width_of
from batchscan.report.page.html import data_uri, render_html
from batchscan.report.page.json_file import as_json, json_bytes
from batchscan.report.page.report_files import check_report_place, write_report
from batchscan.report.page.values import shown, visible

TEXTS = st.text(st.characters(), max_size=40)
NUMBERS = st.floats() | st.integers(-(10**9), 10**9) | st.none() | st.booleans()


class Outline(HTMLParser):
    """The elements of a page, in their order: names with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def one_table(*values: Value, kind: Kind = "figure") -> Document:
    columns = (Column("name", "Name"), *(Column(f"c{n}", "C", kind) for n in range(len(values))))
    table = Table("t", "Caption", columns, (("row", *values),))
    return Document("Title", (), (Section("s", "Section", (table,)),))


# ------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (Estimate(0.9502, 0.9311, 0.9644), "figure", "0.950 (0.931 to 0.964)"),
        (Estimate(0.9502, 0.9311, 0.9644), "percent", "95.0% (93.1% to 96.4%)"),
        (Estimate(0.5), "figure", "0.500"),
        (Estimate(None, 0.1, 0.2), "figure", "–"),  # noqa: RUF001
        (None, "count", "–"),  # noqa: RUF001
        (math.nan, "figure", "–"),  # noqa: RUF001
        (-math.inf, "score", "–"),  # noqa: RUF001
        (10_000_000, "count", "10,000,000"),
        (0.0004, "p_value", "<0.001"),
        (0.04, "p_value", "0.040"),
        (0.0, "percent", "0.0%"),
        (1.0, "percent", "100.0%"),
        (0.99999, "percent", ">99.9%"),
        (0.00001, "percent", "<0.1%"),
        (0.9999, "figure", ">0.999"),
        (-0.0123, "figure", "−0.012"),  # noqa: RUF001
        (-0.9999, "percent", "<−99.9%"),  # noqa: RUF001
        (12.3456, "figure", "12.346"),
        (0.99999, "score", ">0.9999"),
        (2024, "text", "2024"),
        (True, "text", "yes"),
        (np.float32(0.5), "figure", "0.500"),
        (np.int64(1200), "count", "1,200"),
    ],
)
def test_values(value: Value, kind: Kind, text: str) -> None:
    """Each kind of value is shown as readers of papers know it; 0 and 1 only where it is that."""
    assert shown(value, kind) == text


@given(TEXTS)
def test_nothing_invisible(text: str) -> None:
    """A text has no sign in it that is not seen, or that turns those beside it."""
    shown_text = visible(text)
    assert all(sign.isprintable() or sign.isspace() for sign in shown_text)
    assert not set(shown_text) & set("\n\r\t\x00\u202e\u200f\u2028")
    if text.isprintable():
        assert shown_text == text


# --------------------------------------------------------------------- page


def test_structure() -> None:
    """Landmarks, one title, headings in order, captions, scopes, alternatives, unique ids."""
    page = render_html(phantom_document())
    outline = Outline(page)
    assert page.startswith("<!DOCTYPE html>\n")
    assert outline.of("html") == [{"lang": "en"}]
    assert [len(outline.of(tag)) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(outline.of("caption")) == len(outline.of("table")) > 0
    assert {each.get("scope") for each in outline.of("th")} == {"col", "row"}
    assert all(each["alt"] for each in outline.of("img"))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in outline.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_nothing_from_elsewhere() -> None:
    """No script, no address of anything else; a policy that forbids both."""
    page = render_html(phantom_document())
    outline = Outline(page)
    assert not outline.of("script", "link", "iframe", "object", "form", "base")
    for _, attributes in outline.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert "default-src 'none'; style-src 'sha256-" in page
    assert "url(http" not in page
    assert "@import" not in page


def test_charts_are_described() -> None:
    """Each drawing is a picture with a title and a sentence; those that say nothing are hidden."""
    for each in Outline(render_html(phantom_document())).of("svg"):
        assert each.get("aria-hidden") == "true" or each.get("role") == "img"
    page = render_html(phantom_document())
    assert page.count("<desc") == page.count('role="img"') == 5
    assert "<desc" in page
    assert "The area under the curve is 0.950.</desc>" in page


@given(TEXTS)
def test_any_text(text: str) -> None:
    """Any text at all gives a page and JSON that can be written as UTF-8, the JSON with it raw."""
    document = spoiled(phantom_document(), lambda plain: plain + text)
    render_html(document).encode()
    facts = json.loads(json_bytes(document))["facts"]
    assert facts[0]["name"] == "Result" + text


@given(st.lists(NUMBERS, min_size=1, max_size=4))
def test_any_numbers(values: list[Value]) -> None:
    """Any number gives a page; in JSON those that are finite come back, all others are null."""
    document = one_table(*values)
    render_html(document)
    row = json.loads(json_bytes(document))["sections"]["s"]["blocks"]["t"]["rows"][0]
    for number, value in enumerate(values):
        odd = isinstance(value, float) and not math.isfinite(value)
        assert row[f"c{number}"] == (None if odd else value)


def test_cut_captions() -> None:
    """What follows a caption's first sentence is there, behind it."""
    page = render_html(spoiled(phantom_document(), lambda text: f"{text}. The method"))
    assert '<p class="caption">ROC curve</p>' in page
    assert '<p class="method">The method</p>' in page


def test_pictures_of_other_kinds() -> None:
    """Bytes that are neither PNG nor JPEG are refused, rather than shown as nothing."""
    with pytest.raises(ValueError, match="PNG or JPEG"):
        data_uri(b"GIF89a")


def test_empty_documents() -> None:
    """A section without blocks, a sheet without pictures and a table without rows are no error."""
    table = Table("t", "Nothing", (Column("a", "A"),), ())
    blocks = (table, Sheet("p", "Pictures", "", ()))
    document = Document("T", (), (Section("a", "A", ()), Section("b", "B", blocks)))
    assert "There is none." in render_html(document)
    assert as_json(document)["sections"]["a"]["blocks"] == {}


# ------------------------------------------------------------------ contrast


def schemes() -> list[dict[str, str]]:
    css = (files("batchscan.report.page") / "templates/report.css").read_text()
    light, dark = re.findall(r":root \{\n(.*?)\}", css, re.DOTALL)[:2]
    return [dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in (light, dark)]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted(luminance(colour) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast(scheme: int) -> None:
    """Text has a contrast of at least 4.5, what is drawn of at least 3 (WCAG 2.2, AA)."""
    colours = schemes()[scheme]
    for text in ("text", "muted", "link", "warning", "good"):
        assert contrast(colours[text], colours["ground"]) >= 4.5, text
        assert contrast(colours[text], colours["raised"]) >= 4.5, text
    for tone in ("warning", "good"):
        for text in (tone, "text"):
            assert contrast(colours[text], colours[f"{tone}-ground"]) >= 4.5, tone
    for drawn in ("axis", *(f"series-{number}" for number in range(1, 7))):
        assert contrast(colours[drawn], colours["ground"]) >= 3, drawn


def test_every_colour_is_defined_in_both() -> None:
    """The dark scheme leaves no colour out."""
    light, dark = schemes()
    assert light.keys() == dark.keys()


# -------------------------------------------------------------------- charts


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-4, 1e6),
    st.booleans(),
    st.sampled_from(["percent", "figure", "count"]),
)
def test_ticks(low: float, extent: float, whole: bool, kind: Kind) -> None:
    """Ticks are few, on the axis, and no two of them have the same label."""
    scale = scale_of(Axis("x", low, low + extent), 0, 100)
    ticks = ticks_of(scale, whole=whole)
    assert len(ticks) <= 7
    assert all(scale.low - extent * 1e-6 <= tick <= scale.high + extent * 1e-6 for tick in ticks)
    if not whole and len(ticks) > 1:
        assert len(set(tick_texts(ticks, kind))) == len(ticks)


def test_axis_without_extent() -> None:
    """An axis of one number alone is drawn all the same; one that ends nowhere is refused."""
    assert ticks_of(scale_of(Axis("x", 3, 3), 0, 100))
    with pytest.raises(ValueError, match="finite"):
        scale_of(Axis("x", 0, math.nan), 0, 100)


@given(TEXTS, st.floats(12, 200))
def test_cut(text: str, room: float) -> None:
    """A text that is cut fits where it should."""
    assert width_of(cut(text, room)) <= room + 12


# ---------------------------------------------------------------------- JSON


def test_json_has_what_the_page_has() -> None:
    """Every estimate of the page's tables is in the JSON, unrounded, with the same text."""
    document = phantom_document()
    page, found = render_html(document), json.loads(json_bytes(document))
    assert (found["format"], found["format_version"]) == ("batchscan report", 1)
    assert list(found["sections"]) == [section.key for section in document.sections]
    row = found["sections"]["summary"]["blocks"]["key_figures"]["rows"][0]
    assert row == {
        "figure": "Sensitivity",
        "estimate": {"value": 0.9501, "low": 0.9322, "high": 0.9634, "n": 800},
    }
    numbers = 0
    for section in found["sections"].values():
        for block in section["blocks"].values():
            for line in block.get("rows", []) if block["kind"] == "table" else []:
                for key, value in line.items():
                    if isinstance(value, dict):
                        kind = block["columns"][key]["kind"]
                        assert escape(shown(Estimate(**value), kind).split(" (")[0]) in page
                        numbers += 1
    assert numbers > 10


def test_keys_are_unique() -> None:
    """Two blocks of one key are refused: one would hide the other."""
    text = Text("a", "A")
    document = Document("T", (), (Section("s", "S", (text, replace(text, text="B"))),))
    with pytest.raises(ValueError, match="unique"):
        json_bytes(document)


# --------------------------------------------------------------------- files


def test_both_files(tmp_path: Path) -> None:
    """A report is a page and its numbers under the same name; writing again replaces both."""
    out = tmp_path / "report.v2.html"
    for _ in range(2):
        check_report_place(out, "--out")
        done = write_report(phantom_document(), out)
    assert done.numbers == tmp_path / "report.v2.json"
    assert {file.name for file in tmp_path.iterdir()} == {"report.v2.html", "report.v2.json"}
    assert done.page_bytes == out.stat().st_size


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("report", "ends in .html"),
        ("card.html", "something else"),
        ("folder.html", "a folder"),
        ("nowhere/report.html", "does not exist"),
        ("results.html", "overwrite"),
    ],
)
def test_places_that_are_refused(name: str, found: str, tmp_path: Path) -> None:
    """Neither results nor what is no report are overwritten; the message says what to do."""
    (tmp_path / "card.json").write_text('{"format": "batchscan model"}')
    (tmp_path / "folder.html").mkdir()
    taken = tmp_path / "results.json"
    with pytest.raises(UsageError, match=found):
        check_report_place(tmp_path / name, "--out", taken)
