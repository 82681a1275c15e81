"""Subgroups: for whom the model does worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchscan.report.document import (
    Axis,
    Block,
    Column,
    Estimate,
    ForestPlot,
    ForestRow,
    Kind,
    Section,
    Table,
    Text,
)
from batchscan.report.figures.comparisons import (
    COMPARED,
    FEWEST,
    Compared,
    Figures,
    Sample,
    by_score,
    compare,
    corrected,
    figures_of,
)
from batchscan.report.figures.gaps import clustering, left_out, nothing_to_measure, one_class_only
from batchscan.report.figures.groups import groups_of
from batchscan.report.figures.key_figures import figures_from
from batchscan.report.input.rows import Rows
from batchscan.report.input.selection import outcomes_of, patients_of, usable

_TITLES = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
_KINDS: dict[str, Kind] = {"auc": "figure", "sensitivity": "percent", "specificity": "percent"}

_METHODS = (
    "Intervals: AUC: DeLong's, or Obuchowski's where clustered; rates: Wilson's. Differences are "
    "those to all other images, taken as independent: AUC: normal; rates: Newcombe's intervals, "
    "the score test (Fisher's exact test where fewer than 5 images are expected in a cell). "
    "P-values are corrected for all tests of this section (Holm)."
)


def subgroups_section(rows: Rows) -> Section:
    """Return the figures of each group of each column in `rows.by`, and how they differ.

    For two classes. Raises `UsageError` for a label that is no class name.
    """
    return Section("subgroups", "Subgroups", tuple(_blocks(rows)))


def _blocks(rows: Rows) -> Iterator[Block]:
    if not rows.by:
        text = "No column was named to divide the images by: name some with --by, such as sex."
        yield Text("no_columns", text, "note")
        return
    if len(rows.classes) > 2:
        yield Text("two_classes_only", "Subgroups are computed for two classes only.", "note")
        return
    outcomes = outcomes_of(rows)
    if gap := nothing_to_measure(rows, outcomes) or one_class_only(rows, outcomes):
        yield gap
        return
    patient = patients_of(rows)
    sample, order = by_score(outcomes, patient)
    groups, notes = _compared(rows, sample, order)
    found, tests = corrected(groups)
    yield _finding(found, tests)
    yield from (*left_out(outcomes), *clustering(patient), _rule(found), *notes)
    yield from _plots(found, figures_of(sample))
    yield from _tables(found)
    yield Text("methods", _METHODS, "note")


def _compared(
    rows: Rows, sample: Sample, order: NDArray[np.intp]
) -> tuple[list[Compared], list[Text]]:
    """Compute all groups of all columns; also say what was done to the values of a column."""
    found: list[Compared] = []
    notes: list[Text] = []
    numbers = np.flatnonzero(usable(rows))[order]
    for column in dict.fromkeys(rows.by):
        values = rows.table.column(column).combine_chunks().take(pa.array(numbers))
        groups = groups_of(column, values)
        found += compare(sample, groups)
        if groups.note:
            notes.append(Text(f"groups_{column}", f"{column}: {groups.note}", "note"))
        if len(groups.names) == 1:
            text = f"{column}: all images are in one group; there is nothing to be compared."
            notes.append(Text(f"one_group_{column}", text, "note"))
    return found, notes


def _finding(groups: Sequence[Compared], tests: int) -> Text:
    """Say in a sentence where groups differ."""
    worse = [
        f"{group.column} {group.name} ({_TITLES[name]} {_signed(each.estimate.value)})"
        for group in groups
        for name, each in zip(COMPARED, group.differences, strict=bool(group.differences))
        if each.p is not None and each.p < 0.05 and (each.estimate.value or 0) < 0
    ]
    if not tests:
        text = "No group could be compared with the rest."
        return Text("finding", text, "note")
    if not worse:
        text = f"In {tests:,} tests no group did significantly worse than the rest."
        return Text("finding", f"{text} That does not show that all do equally well.", "note")
    shown = "; ".join(worse[:10]) + (f"; and {len(worse) - 10:,} more" if len(worse) > 10 else "")
    text = f"Significantly worse than the rest, corrected for {tests:,} tests: {shown}."
    return Text("finding", text, "warning")


def _signed(value: float | None) -> str:
    return f"{value or 0.0:+.3f}"


def _rule(groups: Sequence[Compared]) -> Text:
    small = sum(1 for group in groups if group.figures.lacks("auc"))
    text = (
        f"Figures that rest on fewer than {FEWEST} images say too little: sensitivity rests on the "
        "positive ones, specificity on the negative ones, the AUC on both. They are marked, and "
        f"not compared. Here this concerns {small:,} of {len(groups):,} groups."
    )
    return Text("too_small", text, "note")


def _plots(groups: Sequence[Compared], everyone: Figures) -> Iterator[ForestPlot]:
    """Yield a forest plot for each of the figures that are compared."""
    for name in COMPARED:
        rows = tuple(
            ForestRow(
                group.column,
                group.name,
                _estimate(group.figures, name),
                bool(group.figures.lacks(name)),
            )
            for group in groups
        )
        reference = _estimate(everyone, name).value
        lows = [row.estimate.low for row in rows if not row.muted and row.estimate.low is not None]
        lowest = math.floor(10 * min(lows, default=0.0)) / 10
        yield ForestPlot(
            f"forest_{name}",
            f"{_TITLES[name]} by group, with 95% intervals",
            _extremes(_TITLES[name], rows),
            Axis(_TITLES[name], lowest, 1.0, _KINDS[name]),
            rows,
            reference,
        )


def _estimate(figures: Figures, name: str) -> Estimate:
    return dict(figures_from(figures.area, figures.rates, figures.n))[name]


def _extremes(title: str, rows: Sequence[ForestRow]) -> str:
    """Say which groups have the lowest and the highest estimate."""
    known = [row for row in rows if not row.muted and row.estimate.value is not None]
    if not known:
        return "No group has enough images, of each class that this figure needs, to say anything."
    if len(known) == 1:
        (only,) = known
        return f"Only {only.group} {only.name} has enough images: {only.estimate.value or 0.0:.3f}."
    value: Callable[[ForestRow], float] = lambda row: row.estimate.value or 0.0  # noqa: E731
    low, high = min(known, key=value), max(known, key=value)
    return (
        f"{title} is lowest for {low.group} {low.name}, {value(low):.3f}, and highest for "
        f"{high.group} {high.name}, {value(high):.3f}."
    )


def _tables(groups: Sequence[Compared]) -> Iterator[Table]:
    """Yield two tables for each column: the figures of its groups, and the differences."""
    for column in dict.fromkeys(group.column for group in groups):
        own = [group for group in groups if group.column == column]
        yield _figures_table(column, own)
        if any(group.differences for group in own):
            yield _differences_table(column, own)


def _figures_table(column: str, groups: Sequence[Compared]) -> Table:
    columns = (
        Column("group", column),
        Column("n", "Images", "count"),
        Column("positives", "Positive", "count"),
        Column("auc", "AUC", "figure"),
        Column("sensitivity", "Sensitivity", "percent"),
        Column("specificity", "Specificity", "percent"),
        Column("ppv", "PPV", "percent"),
        Column("npv", "NPV", "percent"),
        Column("remark", "Remark"),
    )
    rows = []
    for group in groups:
        figures = group.figures
        estimates = [each for _, each in figures_from(figures.area, figures.rates, figures.n)][1:]
        lacks = " and ".join(figures.lacks("auc"))
        remark = f"too few {lacks}" if lacks else None
        rows.append((group.name, figures.n, figures.rates.sensitivity.n, *estimates, remark))
    return Table(f"figures_{column}", f"Figures by {column}", columns, tuple(rows))


def _differences_table(column: str, groups: Sequence[Compared]) -> Table:
    columns = [Column("group", column)]
    for name in COMPARED:
        columns.append(Column(name, f"{_TITLES[name]}, difference", _KINDS[name]))
        columns.append(Column(f"{name}_p", "p, corrected", "p_value"))
    empty: tuple[None, ...] = (None,) * (2 * len(COMPARED))
    rows = []
    for group in groups:
        cells = [cell for each in group.differences for cell in (each.estimate, each.p)]
        rows.append((group.name, *(cells or empty)))
    title = f"Each group of {column} less all other images"
    return Table(f"differences_{column}", title, tuple(columns), tuple(rows))
