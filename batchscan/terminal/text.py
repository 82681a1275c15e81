"""Text for a terminal: plain lines of less than 80 columns, nothing that a terminal would obey."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

WIDTH = 79
INDENT = "  "
LONGEST_CELL = 40
"""Longer cells of a table are cut."""
_LONGEST_NAME = 20
"""Values of longer names begin beside them, not below the others."""


def share(value: float) -> str:
    """Write a share with three decimals, but nothing that isn't 0 or 1 as if it were."""
    text = f"{value:.3f}"
    if text == "1.000" and value < 1:
        return ">0.999"
    return "<0.001" if text == "0.000" and value > 0 else text


def share_with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a share as `0.954 (0.932 to 0.969)`; `-` where it is not defined."""
    if value is None:
        return "-"
    if low is None or high is None:
        return share(value)
    return f"{share(value)} ({share(low)} to {share(high)})"


def ascii_text(text: str, width: int) -> str:
    """Return a text of at most `width` ASCII signs, with `?` for others."""
    return _cut("".join(sign if " " <= sign <= "~" else "?" for sign in text), width)


def printable(text: str, width: int | None = None) -> str:
    """Return a text with `?` for what a terminal could obey, cut to `width` signs if given."""
    return _cut("".join(map(_harmless, text)), width)


def one_line(text: str) -> str:
    r"""Return a text, such as a file's name, with escapes (`\n`, `\x1b`) for what is not shown.

    So no name can break a line of output, or do anything to a terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def paragraph(text: str, indent: str = INDENT, first: str | None = None) -> list[str]:
    """Break a text into lines; `first` begins the first line in place of `indent`."""
    return textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def entries(pairs: Iterable[tuple[str, str]], indent: str = INDENT) -> list[str]:
    """Lay out names and their values in two columns; long values are wrapped in theirs."""
    pairs = [(printable(name, 60), value) for name, value in pairs]
    width = max((len(name) for name, _ in pairs if len(name) <= _LONGEST_NAME), default=0)
    lines: list[str] = []
    for name, value in pairs:
        below = indent + " " * (width + 2)
        lines += paragraph(value, below, f"{indent}{name:<{width}}  ") or [indent + name]
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]], indent: str = INDENT) -> list[str]:
    """Lay out rows below a head: the first column to the left, all others to the right."""
    cells = [[printable(cell, LONGEST_CELL) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return [
        (
            indent + "  ".join(_placed(cell, widths, place) for place, cell in enumerate(row))
        ).rstrip()
        for row in cells
    ]


def _harmless(sign: str) -> str:
    if sign.isprintable():
        return sign
    return " " if sign.isspace() else "?"


def _placed(cell: str, widths: Sequence[int], place: int) -> str:
    return cell.rjust(widths[place]) if place else cell.ljust(widths[place])


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 3] + "..."
