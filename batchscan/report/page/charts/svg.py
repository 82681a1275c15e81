"""SVG elements, escaped as they are made; widths of text, which nobody here can measure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from markupsafe import Markup, escape

from batchscan.report.page.values import visible

SIZE = 12.0
"""The font's size, in the units of all charts."""

BOLD = 1.12
"""How much wider bold text is."""

_NARROW = set(" .,:;'|!()[]{}ijlIftr-/")
_WIDE = set("mwMWOQGD@%&_")


def element(tag: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """Return an element; attributes that are None are left out, `_` in their names becomes `-`.

    Text is escaped, and what is not seen or would turn other signs is written out.
    """
    opening = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _attribute(value))
        for name, value in attributes.items()
        if value is not None
    )
    if not children:
        return Markup("<{}{}/>").format(Markup(tag), opening)
    inner = Markup("").join(map(_escaped, children))
    return Markup("<{}{}>{}</{}>").format(Markup(tag), opening, inner, Markup(tag))


def group(parts: Iterable[Markup], **attributes: str | float | None) -> Markup:
    """Return a group of elements."""
    return element("g", Markup("\n").join(parts), **attributes)


def drawing(
    parts: Iterable[Markup], *, width: float, height: float, name: str, title: str, summary: str
) -> Markup:
    """Return a whole picture that is read out as its title and summary; `name` is its own id."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", summary, id=f"{name}-desc"),
        *(Markup("\n") + part for part in parts),
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=number(width),
        height=number(height),
    )


def words(
    text: str, x: float, y: float, *, room: float | None = None, **attributes: str | float | None
) -> Markup:
    """Return a text, cut to the `room` it has; what is cut can be read by pointing at it."""
    text = visible(text)
    short = text if room is None else cut(text, room)
    whole = () if short == text else (element("title", text),)
    return element("text", *whole, short, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight line of a class of the style sheet."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def path_of(points: Iterable[tuple[float, float]]) -> str:
    """Return the commands of a path through points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def number(value: float) -> str:
    """Return a coordinate: a tenth of a unit is finer than is seen."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def width_of(text: str) -> float:
    """Return about how wide a text is in a font without serifs, rather too much than too little."""
    return SIZE * sum(map(_width, text))


def cut(text: str, room: float) -> str:
    """Return as much of a text as fits, with an ellipsis for the rest."""
    if width_of(text) <= room + 0.01:  # It may have been measured the other way round.
        return text
    left = room - SIZE
    for place, sign in enumerate(text):
        left -= SIZE * _width(sign)
        if left < 0:
            return text[:place].rstrip() + "…"
    return text


def wrapped(text: str, room: float, most: int = 3) -> list[str]:
    """Break a text into at most `most` lines that fit; the last one is cut."""
    lines: list[str] = []
    left = visible(text).split()
    while left and len(lines) < most - 1:
        count = 1
        while count < len(left) and width_of(" ".join(left[: count + 1])) <= room:
            count += 1
        lines.append(cut(" ".join(left[:count]), room))
        left = left[count:]
    return [*lines, cut(" ".join(left), room)] if left else lines or [""]


def _width(sign: str) -> float:
    if sign in _NARROW:
        return 0.41
    if sign in _WIDE:
        return 1.0
    if unicodedata.east_asian_width(sign) in "WF":
        return 1.05
    return 0.72 if sign.isupper() else 0.64


def _attribute(value: str | float) -> str:
    return number(value) if isinstance(value, int | float) else value


def _escaped(child: str | Markup) -> Markup:
    return child if isinstance(child, Markup) else escape(visible(child))
