"""A document as plain text for a terminal. Charts and pictures are there by what they say."""

from __future__ import annotations

from itertools import chain

from batchscan.report.document import (
    Block,
    Column,
    Document,
    Estimate,
    Flow,
    Kind,
    Section,
    Sheet,
    Table,
    Text,
    Value,
)
from batchscan.terminal.text import (
    INDENT,
    LONGEST_CELL,
    WIDTH,
    entries,
    paragraph,
    printable,
    table,
)

MANY_ROWS = 8
"""Of more rows that are too wide each is written as a paragraph, not as a list."""

_TONES = {"warning": "WARNING  ", "note": "", "good": "", "plain": ""}


def render_text(document: Document) -> str:
    """Render a document as lines of less than 80 columns, where its tables allow that."""
    head = [printable(document.title), *entries(document.facts)]
    return "\n\n".join(["\n".join(head), *map(_section, document.sections)])


def _section(section: Section) -> str:
    blocks = ["\n".join(_block(block)) for block in section.blocks]
    return "\n\n".join([printable(section.title).upper(), *filter(None, blocks)])


def _block(block: Block) -> list[str]:
    if isinstance(block, Text):
        return paragraph(block.text, first=INDENT + _TONES[block.tone])
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Flow):
        return _flow(block)
    if isinstance(block, Sheet):
        number = f"{len(block.pictures):,} to be seen in the HTML."
        return paragraph(f"{block.caption}: {number} {block.note}")
    return paragraph(f"{block.caption}: {block.summary}")


def _table(block: Table) -> list[str]:
    rows = [
        [shown(value, column) for value, column in zip(row, block.columns, strict=True)]
        for row in block.rows
    ]
    lines = _laid_out([column.title for column in block.columns], rows) if rows else []
    note = paragraph(block.note) if block.note else []
    return [*paragraph(block.caption), *lines, *note]


def _laid_out(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lay a table out: two columns as entries, what is too wide row by row."""
    if len(head) == 2:
        return entries([(name, value) for name, value in rows], INDENT * 2)
    lines = table(head, rows, INDENT * 2)
    cut = any(len(cell) > LONGEST_CELL for cell in chain(head, *rows))
    if not cut and max(map(len, lines)) <= WIDTH:
        return lines
    lines = []
    for row in rows:
        named = list(zip(head[1:], row[1:], strict=True))
        lines += paragraph(row[0], INDENT * 3, INDENT * 2)
        if len(rows) > MANY_ROWS:
            lines += paragraph("; ".join(f"{name} {cell}" for name, cell in named), INDENT * 3)
        else:
            lines += entries(named, INDENT * 3)
    return lines


def _flow(block: Flow) -> list[str]:
    lines = paragraph(block.caption)
    for step in block.steps:
        lines += paragraph(f"{step.count:>12,}  {step.title}")
        for title, count in step.leaves:
            lines += paragraph(f"{title}", INDENT * 10, f"{INDENT * 3}- {count:>12,}  ")
    return lines


def shown(value: Value, column: Column) -> str:
    """Write a value of a table's column; an estimate with its interval, nothing as a dash."""
    if not isinstance(value, Estimate):
        return _plain(value, column.kind)
    kind = "figure" if column.kind == "text" else column.kind
    text = _plain(value.value, kind)
    if value.value is None or value.low is None or value.high is None:
        return text
    return f"{text} ({_plain(value.low, kind)} to {_plain(value.high, kind)})"


def _plain(value: str | int | float | bool | None, kind: Kind) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if kind == "percent":
        return f"{_rounded(value * 100, 1, (0, 100))}%"
    if kind == "p_value":
        return _rounded(value, 3, (0,))
    if kind in ("figure", "score"):
        return _rounded(value, 3 if kind == "figure" else 4, (0, 1))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _rounded(value: float, digits: int, exact: tuple[int, ...]) -> str:
    """Round, but write no 0 or 1 that isn't one: <0.001, >0.999, and >-0.001 below 0."""
    text, step = f"{value:.{digits}f}", 10**-digits
    for limit in exact:
        if float(text) == limit and value != limit:
            if limit == 0:
                return f"<{step:.{digits}f}" if value > 0 else f">-{step:.{digits}f}"
            if limit != 0 and value < limit:
                return f">{limit - step:.{digits}f}"
    return text.replace("-", "", 1) if float(text) == 0 else text
