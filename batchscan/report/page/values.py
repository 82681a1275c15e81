"""Values as a reader sees them. The raw numbers are in report.json."""

from __future__ import annotations

import math
import unicodedata
from typing import TypeVar

import numpy as np

from batchscan.report.document import Estimate, Kind, Value

DASH = "–"  # noqa: RUF001
"""Stands where a figure is not defined."""

_Scalar = TypeVar("_Scalar")

_DECIMALS: dict[Kind, int] = {"percent": 1, "figure": 3, "p_value": 3, "score": 4}


def shown(value: Value, kind: Kind = "text") -> str:
    """Return a value as text, an estimate as `0.950 (0.931 to 0.964)`."""
    if isinstance(value, Estimate):
        interval = shown_interval(value, kind)
        return shown_number(value.value, kind) + (f" {interval}" if interval else "")
    return shown_number(value, kind)


def shown_interval(estimate: Estimate, kind: Kind) -> str:
    """Return the interval in parentheses; nothing where none can be stated."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return ""
    return f"({shown_number(estimate.low, kind)} to {shown_number(estimate.high, kind)})"


def plain(value: _Scalar) -> _Scalar:
    """Return a number of numpy's as one of Python's own, anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def shown_number(value: str | int | float | bool | None, kind: Kind = "text") -> str:
    """Return a single value as text; a dash for None, and for what is no finite number."""
    value = plain(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "text" and isinstance(value, int):
        return str(value)  # A year, or a number that something has.
    if kind == "count" or (isinstance(value, int) and kind != "percent"):
        return _minus(f"{value:,.0f}" if value == round(value) else f"{value:,.1f}")
    return _rounded(float(value), kind)


def _rounded(value: float, kind: Kind) -> str:
    """Round, but show nothing that isn't 0 or 1 as if it were."""
    sign = "%" if kind == "percent" else ""
    factor = 100.0 if sign else 1.0
    decimals = _DECIMALS.get(kind, 3)
    text, one, step = (f"{v * factor:,.{decimals}f}" for v in (abs(value), 1.0, 10.0**-decimals))
    smallest = step if not sign else f"{10.0**-decimals:.{decimals}f}"
    if value and float(text.replace(",", "")) == 0:
        return f"<{smallest}{sign}" if value > 0 else f">{_minus('-' + smallest)}{sign}"
    if text == one and abs(value) < 1:
        below = f"{factor - 10.0**-decimals:.{decimals}f}"
        return f">{below}{sign}" if value > 0 else f"<{_minus('-' + below)}{sign}"
    return _minus(f"{'-' * (value < 0)}{text}{sign}")


def _minus(text: str) -> str:
    return text.replace("-", "−")  # noqa: RUF001


def visible(text: str) -> str:
    r"""Return a text with escapes (`\n`, `\u202e`) for signs that are not seen or turn others.

    So a file's name can neither hide what it is, nor break what stands beside it.
    """
    if text.isprintable():
        return text
    return "".join(
        sign
        if sign.isprintable() or unicodedata.category(sign) == "Zs"
        else sign.encode("unicode_escape").decode()
        for sign in text
    )
