"""The tables of a card: images by side, figures, calibration, operating curve, shift suite.

Each function takes a field of the card as JSON holds it and returns lines. A value of another shape
raises Python's own errors (`TypeError`, `KeyError`, ...): whoever calls shows it in another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchscan.terminal.outline import one_line, outline, rates, words
from batchscan.terminal.text import share, share_with_interval, table

SENSITIVITIES = (0.80, 0.85, 0.90, 0.93, 0.95, 0.97, 0.98, 0.99)
"""What is shown of an operating curve: the highest threshold that reaches each of these."""

Json = Mapping[str, Any]


def sides(value: Json) -> list[str]:
    """Lay out the images of each side of the split, by class, and whatever else is counted."""
    rows = {
        name: {**side.get("images", {}), **{key: side[key] for key in side if key != "images"}}
        for name, side in value.items()
    }
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [
        [words(name), *(one_line(row.get(column)) for column in columns)]
        for name, row in rows.items()
    ]
    return table(["side", *columns], cells)


def figures(value: Json) -> list[str]:
    """Lay out the figures of each side, those of single classes below their class."""
    names = list(dict.fromkeys(name for side in value.values() for name in side))
    groups = list(dict.fromkeys(_class_of(name) for name in names))
    rows = []
    for group in groups:
        rows += [["" for _ in value], [f"{group} against the rest"]] if group else []
        for name in names:
            if _class_of(name) == group:
                cells = [_figure(name, side.get(name)) for side in value.values()]
                rows.append([words(name.partition("[")[0]), *cells])
    return table(["", *map(words, value)], rows)


def calibration(value: Json) -> list[str]:
    """Lay out what calibration changed, and how."""
    rest = dict(value)
    before, after = rest.pop("before"), rest.pop("after")
    rows = [
        [_SHORT.get(name, words(name)), *(_quality(side, name) for side in (before, after))]
        for name in before
        if name not in ("bins", "intervals")
    ]
    if "bins" in after:
        rest["reliability"] = f"{len(after['bins'])} bins, see --json"
    return [*outline(rest), "", *table(["", "before", "after"], rows)]


def _quality(side: Json, name: str) -> str:
    low, high = side.get("intervals", {}).get(name) or (None, None)
    value = f"{side[name]:.4f}"
    return value if low is None else f"{value} ({low:.4f} to {high:.4f})"


_SHORT = {"expected_calibration_error": "calibration error"}


def operating_curve(value: Sequence[Json]) -> list[str]:
    """Lay out some points of the curve, one for each sensitivity that it reaches."""
    chosen = []
    for target in SENSITIVITIES:
        reaching = [point for point in value if point["sensitivity"] >= target]
        point = max(reaching, key=lambda each: float(each["threshold"]), default=None)
        if point is not None and point not in chosen:
            chosen.append(point)
    rows = [rates(point) | {"threshold": f"{point['threshold']:.4g}"} for point in chosen]
    if not rows:
        return []
    lines = table([words(name) for name in rows[0]], [list(row.values()) for row in rows])
    return [*lines, f"  ({len(rows)} of {len(value)} points, see --json)"]


def shift_suite(value: Json) -> list[str]:
    """Lay out figures on changed images: in short, then for each shift and strength."""
    rest = {name: value[name] for name in value if name not in _SHIFT_TABLES}
    lines = outline(rest)
    rows = [
        [
            f"{words(name)}, {kind}",
            _changed(value, kind, name),
            value["worst_at"][name] if kind == "worst" else "",
        ]
        for name in value["clean"]
        for kind in ("clean", "mean", "worst")
    ]
    lines += ["", *table(["", "value", "at"], rows)]
    for name in value["clean"]:
        lines += ["", *_by_strength(name, value["rows"])]
    return lines


_SHIFT_TABLES = ("clean", "mean", "worst", "worst_at", "intervals", "rows")


def _changed(value: Json, kind: str, name: str) -> str:
    low, high = value.get("intervals", {}).get(kind, {}).get(name) or (None, None)
    return share_with_interval(value[kind][name], low, high)


def _by_strength(figure: str, rows: Sequence[Json]) -> list[str]:
    """Lay out one figure: shifts down, strengths across."""
    strengths = list(dict.fromkeys(row["strength"] for row in rows))
    values = {(row["shift"], row["strength"]): row[figure] for row in rows}
    cells = [
        [words(shift), *(_or_dash(values.get((shift, strength))) for strength in strengths)]
        for shift in dict.fromkeys(row["shift"] for row in rows)
    ]
    return table([words(figure), *strengths], cells)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else share(value)


def _class_of(name: str) -> str:
    """Return the class in `recall[VIRUS]`; "" for figures of all classes together."""
    return name.partition("[")[2].removesuffix("]")


def _figure(name: str, found: Json | None) -> str:
    """Write a figure: a share, with its interval if it has one, or what was counted."""
    if found is None or found["value"] is None:
        return "-"
    plain = name.partition("[")[0]
    if plain in _COUNTS or plain.startswith("predicted_"):
        return f"{found['value']:,.0f}"
    return share_with_interval(found["value"], found.get("ci_low"), found.get("ci_high"))


_COUNTS = frozenset(
    f"{prefix}_{kind}" for prefix in ("true", "false") for kind in ("positive", "negative")
) | {"labelled", "labelled_not_scored"}
