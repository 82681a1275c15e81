"""The result of a race as rows: for people, for Markdown, for programs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.race.contenders import CEILING, LIBJPEG, OURS
from benchmarks.race.rounds import Entry, Time

NOTES = (
    "whole: seconds from the start of the process to its end, median (lowest to highest).",
    "start: seconds until the first images were scored; of batchscan, until their part was"
    " committed to disk.",
    "steady: images per second between a tenth and nine tenths of all.",
    "memory: the peak over all processes of a run, shared pages counted in proportion (PSS).",
    "times ours: this seconds by ours, and our steady rate by this one: medians of the ratios taken"
    " in each round; above 1, ours is faster.",
)

_DOCUMENTED = "ray_data_documented"

_HEADINGS = (
    *("", "whole s", "start s", "steady img/s", "memory MB", "times ours: whole", "steady"),
    "mean (largest) difference of scores",
)


@dataclass(frozen=True)
class Row:
    """Figures of one contender; None where there is none. `whole` is lowest, median, highest."""

    name: str
    title: str
    kind: str
    problem: str | None
    runs: int
    whole: tuple[float, float, float] | None
    start: float | None
    steady: float | None
    peak_megabytes: float | None
    whole_ratio: float | None
    steady_ratio: float | None
    mean_difference: float | None
    largest_difference: float | None
    times: tuple[Time, ...] = ()


def rows_of(entries: Sequence[Entry]) -> list[Row]:
    """Summarise a race; times of a contender with a problem are left out, as they do not count."""
    ours = next((entry.times for entry in entries if entry.contender.name == OURS), [])
    return [_row(entry, ours) for entry in entries]


def headlines(rows: Sequence[Row]) -> list[str]:
    """Say what the race is about, in sentences; those whose figures are missing are left out."""
    found = {row.name: row for row in rows}
    lines = []
    for kind, words in (("peer", "as documented"), ("tuned", "tuned by us")):
        ratios = [(each.whole_ratio, each.title) for each in rows if each.kind == kind]
        known = [(ratio, title) for ratio, title in ratios if ratio]
        if known:
            ratio, title = min(known)
            name = title.removesuffix(", tuned")
            lines.append(
                f"The fastest peer {words}, {name}, takes {ratio:.2f} times as long as batchscan."
            )
    documented = found.get(_DOCUMENTED)
    if documented and documented.whole_ratio:
        ratio = documented.whole_ratio
        lines.append(f"{documented.title} as documented takes {ratio:.2f} times as long.")
    for name, words in ((LIBJPEG, "with Pillow"), (CEILING, "with its own code")):
        ceiling = found.get(name)
        if ceiling and ceiling.steady_ratio:
            share = f"{ceiling.steady_ratio:.2f}"
            lines.append(
                f"In steady state batchscan has {share} of the rate of decoding alone {words}."
            )
    ours = found.get(OURS)
    if ours and ours.start:
        lines.append(f"Its first part is committed {ours.start:.1f} s after the start.")
    return lines


def as_text(rows: Sequence[Row]) -> str:
    """Lay the rows out for a terminal."""
    cells = [list(_HEADINGS), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [_aligned(line, widths) for line in cells]
    problems = [f"{row.title}: {row.problem}" for row in rows if row.problem]
    return "\n".join([*lines, "", *_below(headlines(rows)), *_below(problems), *NOTES])


def as_markdown(rows: Sequence[Row]) -> str:
    """Lay the rows out as a table in Markdown, the notes below it."""
    lines = [list(_HEADINGS), ["---"] + ["---:"] * (len(_HEADINGS) - 1), *map(_cells, rows)]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    problems = [f"{row.title}: {row.problem}" for row in rows if row.problem]
    remarks = [f"- {remark}" for remark in (*headlines(rows), *problems, *NOTES)]
    return "\n".join([*table, "", *remarks, ""])


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows in JSON's types."""
    return [asdict(row) for row in rows]


def _row(entry: Entry, ours: Sequence[Time]) -> Row:
    times = [] if entry.problem else entry.times
    seconds = [time.seconds for time in times]
    rounds = list(zip(times, ours, strict=False))  # The same round of each.
    return Row(
        name=entry.contender.name,
        title=entry.contender.title,
        kind=entry.contender.kind,
        problem=entry.problem,
        runs=len(times),
        whole=(min(seconds), statistics.median(seconds), max(seconds)) if seconds else None,
        start=_median(time.start for time in times),
        steady=_median(time.steady for time in times),
        peak_megabytes=None if entry.peak_bytes is None else entry.peak_bytes / 1e6,
        whole_ratio=_median(this.seconds / other.seconds for this, other in rounds),
        steady_ratio=_median(_quotient(other.steady, this.steady) for this, other in rounds),
        mean_difference=entry.mean_difference,
        largest_difference=entry.largest_difference,
        times=tuple(times),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _quotient(dividend: float | None, divisor: float | None) -> float | None:
    return dividend / divisor if dividend and divisor else None


def _cells(row: Row) -> list[str]:
    whole = "-"
    if row.whole:
        whole = f"{row.whole[1]:.1f} ({row.whole[0]:.1f} to {row.whole[2]:.1f})"
    difference = "-"
    if row.mean_difference is not None and row.largest_difference is not None:
        difference = f"{row.mean_difference:.5f} ({row.largest_difference:.3f})"
    figures = (
        (row.start, "{:.1f}".format),
        (row.steady, "{:.0f}".format),
        (row.peak_megabytes, "{:,.0f}".format),
        (row.whole_ratio, "{:.2f}".format),
        (row.steady_ratio, "{:.2f}".format),
    )
    return [row.title, whole, *(_shown(*figure) for figure in figures), difference]


def _shown(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(line, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _below(lines: Sequence[str]) -> list[str]:
    return [*lines, ""] if lines else []
