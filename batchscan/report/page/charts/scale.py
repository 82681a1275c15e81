"""Scales: from the numbers of an axis to places on a drawing, and the ticks that are labelled."""

from __future__ import annotations

import math
from dataclasses import dataclass

from batchscan.report.document import Axis, Kind


@dataclass(frozen=True)
class Scale:
    """Maps `low` to `start` and `high` to `end`, both in the units of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value; one beyond the axis stops at its end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def scale_of(axis: Axis, start: float, end: float) -> Scale:
    """Return the scale of an axis; one without any extent is given some."""
    low, high = axis.low, axis.high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"axis {axis.title!r}: expected finite ends, found {low} and {high}")
    return Scale(low, high if high > low else low + 1.0, start, end)


def ticks_of(scale: Scale, most: int = 6, *, whole: bool = False) -> list[float]:
    """Return round numbers on a scale, at most `most`; whole numbers only, if asked."""
    step = _step(scale.high - scale.low, most, whole)
    slack = 1e-9 * step
    first = math.ceil((scale.low - slack) / step)
    last = math.floor((scale.high + slack) / step)
    return [number * step for number in range(first, last + 1)]


def tick_texts(ticks: list[float], kind: Kind) -> list[str]:
    """Return the labels of ticks, all with as many decimals as their step needs."""
    factor, sign = (100.0, "%") if kind == "percent" else (1.0, "")
    step = factor * (ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
    # A step is 1, 2, 2.5 or 5 times a power of ten, but for the rounding of its ticks.
    decimals = next(
        (d for d in range(12) if abs(step * 10**d % 1 - 0.5) > 0.49 and step * 10**d > 0.9), 3
    )
    # Zero may have come out as the smallest negative number.
    rounded = [round(tick * factor, decimals) + 0.0 for tick in ticks]
    return [f"{tick:,.{decimals}f}{sign}".replace("-", "−") for tick in rounded]  # noqa: RUF001


def _step(extent: float, most: int, whole: bool) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that gives few enough ticks."""
    power = 10.0 ** math.floor(math.log10(extent / most))
    factors = (1.0, 2.0, 5.0, 10.0, 20.0) if whole else (1.0, 2.0, 2.5, 5.0, 10.0, 20.0)
    step = next(power * factor for factor in factors if extent / (power * factor) <= most - 1)
    return max(1.0, step) if whole else step
