"""Any JSON value as indented text: for what a program doesn't know, and must not leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchscan.terminal.text import INDENT, entries, paragraph, share_with_interval

MOST_ITEMS = 8  # of a long list


def outline(fields: Mapping[str, Any], indent: str = INDENT) -> list[str]:
    """Lay out named JSON values, each on its line, or below its name where it is no short one."""
    lines: list[str] = []
    plain: list[tuple[str, str]] = []
    for name, value in fields.items():
        if _is_flat(value):
            plain.append((words(name), one_line(value)))
            continue
        lines += entries(plain, indent)
        plain = []
        lines += paragraph(words(name), indent) + _below(value, indent + INDENT)
    return lines + entries(plain, indent)


def one_line(value: Any) -> str:
    """Write a JSON value on one line: numbers short, names and items separated by commas."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        items = [f"{words(name)} {one_line(item)}" for name, item in value.items()]
        return ", ".join(items) or "none"
    if isinstance(value, str):
        return value
    return ", ".join(map(one_line, value)) or "none"


def rates(fields: Mapping[str, Any]) -> dict[str, str]:
    """Write the numbers of a record, by name: shares with the intervals that belong to them.

    The interval of `auc` is a pair `auc_interval`, or `auc_low` and `auc_high`.
    """
    result = {}
    for name, value in fields.items():
        stem = name.rpartition("_")[0]
        if stem in fields and name.endswith(("_interval", "_low", "_high")):
            continue
        if isinstance(value, float):
            ends = fields.get(f"{name}_interval") or [None, None]
            low, high = fields.get(f"{name}_low", ends[0]), fields.get(f"{name}_high", ends[1])
            result[name] = share_with_interval(value, low, high)
        else:
            result[name] = one_line(value)
    return result


def words(name: str) -> str:
    """Turn the name of a field into words."""
    return name.replace("_", " ")


def _below(value: Any, indent: str) -> list[str]:
    if isinstance(value, Mapping):
        return outline(value, indent)
    lines: list[str] = []
    for item in value[:MOST_ITEMS]:
        lines += paragraph(one_line(item), indent + INDENT, f"{indent}- ")
    if len(value) > MOST_ITEMS:
        lines.append(f"{indent}... {len(value) - MOST_ITEMS:,} more, see --json")
    return lines


def _is_flat(value: Any) -> bool:
    """Say whether a value fits on a line: a single one, or a collection of single ones."""
    if isinstance(value, Mapping):
        return all(map(_is_item, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(map(_is_single, value))
    return True


def _is_item(value: Any) -> bool:
    """Say whether a value can stand after its name, within a line."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return False
    return _is_single(value)


def _is_single(value: Any) -> bool:
    return not isinstance(value, Mapping | Sequence) or isinstance(value, str)
