"""The report's page in a browser: nothing fails, all is there, it can be read and printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chromium import DARK, print_to_pdf, screenshot, visit
from phantom_document import phantom_document, spoiled
from PIL import Image

from batchscan.report.document import Axis, BarChart, Bars, Document, Section, Sheet
from batchscan.report.page.html import render_html

HOSTILE: dict[str, Callable[[str], str]] = {
    "markup": lambda text: f"<script>alert(1)</script><img src=x onerror=alert(2)>{text}",
    "quotes": lambda text: f"\"'`></title></style></svg></text>&amp;{text}",
    "control": lambda text: f"{text}\n\r\t\x00\x1b\x7f\u202e\u200f\u2028\ud800{text}",
    "long": lambda text: text + "W" * 4000,
    "long path": lambda text: text + "/folder" * 600,
    "template": lambda text: "{{ 7 * 7 }}{% raw %}" + text,
    "Hebrew": lambda text: "\u05e9\u05dc\u05d5\u05dd " + text,
}

PROBE = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.documentElement.dataset.pictures = images.filter(i => i.naturalWidth > 0).length;
  document.documentElement.dataset.broken = images.filter(i => i.naturalWidth === 0).length;
  document.documentElement.dataset.overflows = wide;
  document.documentElement.dataset.outside = [...document.querySelectorAll("text")].filter(t => {
    const own = t.getBoundingClientRect(), all = t.ownerSVGElement.getBoundingClientRect();
    return own.left < all.left - 1 || own.right > all.right + 1
      || own.top < all.top - 1 || own.bottom > all.bottom + 1;
  }).map(t => t.textContent).join("|");
});
</script>
"""
"""Tells what a document cannot: it goes into a copy of the page, whose policy it takes off."""


def written(folder: Path, document: Document, name: str = "report") -> Path:
    page = folder / f"{name}.html"
    page.write_bytes(render_html(document).encode())
    return page


def probed(page: Path, *options: str) -> dict[str, str]:
    """Return what the probe says of a page."""
    copy = page.with_name("probed.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy.write_text(text.replace("</body>", PROBE + "</body>"))
    root = re.search(r"<html[^>]*>", visit(copy, *options).dom)
    assert root is not None
    return dict(re.findall(r'data-(\w+)="([^"]*)"', root[0]))


def pictures_of(document: Document) -> int:
    sheets = [b for section in document.sections for b in section.blocks if isinstance(b, Sheet)]
    pictures = [picture for sheet in sheets for picture in sheet.pictures]
    return len(pictures) + sum(1 for picture in pictures if picture.heat_map)


def test_the_page_opens(tmp_path: Path) -> None:
    """The browser has nothing to complain about, finds each section, and loads each picture."""
    document = phantom_document()
    page = written(tmp_path, document)
    seen = visit(page)
    assert seen.console == []
    for section in document.sections:
        assert f'<section id="{section.key}"' in seen.dom
    found = probed(page)
    assert (int(found["pictures"]), int(found["broken"])) == (pictures_of(document), 0)


def test_complaints_are_heard(tmp_path: Path) -> None:
    """The page's own policy stops a script, the network and a style, each with a complaint."""
    page = written(tmp_path, phantom_document())
    foreign = '<script>1</script><img src="http://127.0.0.1:9/x"><p style="color: red">'
    page.write_text(page.read_text().replace("</body>", foreign + "</body>"))
    assert len(visit(page).console) >= 3


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_becomes_markup(name: str, tmp_path: Path) -> None:
    """Whatever stands in names and labels, the browser has no other elements than without it."""
    plain = visit(written(tmp_path, phantom_document()))
    seen = visit(written(tmp_path, spoiled(phantom_document(), HOSTILE[name]), "hostile"))
    assert seen.console == []
    counts = [
        {tag: len(re.findall(f"<{tag}[ >]", dom)) for tag in TAGS} for dom in (plain.dom, seen.dom)
    ]
    assert counts[0] == counts[1]
    assert "<script" not in seen.dom


TAGS = ("section", "table", "tr", "td", "th", "figure", "img", "svg", "rect", "p", "style", "meta")


@pytest.mark.parametrize("width", [1100, 400])
@pytest.mark.parametrize("name", ["plain", "long", "long path", "Hebrew"])
def test_nothing_is_wider_than_the_window(name: str, width: int, tmp_path: Path) -> None:
    """No name, however long, makes the page scroll sideways or runs out of a drawing."""
    document = spoiled(phantom_document(), HOSTILE.get(name, str))
    found = probed(written(tmp_path, document), f"--window-size={width},2000")
    assert found["overflows"] == "false"
    assert found["outside"] == ""


@pytest.mark.parametrize(
    ("name", "width", "options"),
    [("light", 1100, ()), ("dark", 1100, (DARK,)), ("narrow", 500, ())],
)
def test_screenshots(name: str, width: int, options: tuple[str, ...], tmp_path: Path) -> None:
    """The page is drawn in both schemes: dark text on a light ground, and the other way round."""
    out = tmp_path / f"report-{name}.png"
    screenshot(written(tmp_path, phantom_document()), out, width, 5200, *options)
    grey = np.asarray(Image.open(out).convert("L"))
    assert grey.shape[1] == width
    assert (np.median(grey) < 60) == (name == "dark")
    assert np.ptp(grey) > 150


def test_long_lists_of_numbers_stay_off_paper(tmp_path: Path) -> None:
    """A chart of many bins prints without its table, which the JSON has, one of few with it."""
    pages = {}
    for bins in (6, 60):
        edges = tuple(n / bins for n in range(bins + 1))
        chart = BarChart(
            *("scores", "Scores", "Many."), Axis("Score", 0, 1), Axis("Images", 0, 9, "count"),
            edges, (Bars("all", (7.0,) * bins),),
        )  # fmt: skip
        page = written(tmp_path, Document("T", (), (Section("s", "S", (chart,)),)), str(bins))
        print_to_pdf(page, tmp_path / "report.pdf")
        content = (tmp_path / "report.pdf").read_bytes()
        pages[bins] = len(re.findall(rb"/Type\s*/Page\b", content))
    assert pages == {6: 1, 60: 1}


def test_paper(tmp_path: Path) -> None:
    """The page prints as a PDF of a few pages, on A4."""
    out = tmp_path / "report.pdf"
    print_to_pdf(written(tmp_path, phantom_document()), out)
    content = out.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 8
    assert re.search(rb"/MediaBox\s*\[0 0 59[45][.\d]* 84[12]", content)
