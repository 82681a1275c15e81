"""The rates if every labelled image without a score had been called wrongly."""

from __future__ import annotations

import numpy as np

from batchscan.report.document import Column, Table
from batchscan.report.figures.rates import Rate, Rates
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import has_label, has_score, is_text


def worst_case_table(rows: Rows, rates: Rates) -> tuple[Table, ...]:
    """Return the rates of two classes with failed and skipped images as errors; () of no such.

    It is what an analysis by intention to diagnose reports beside the figures (Schuetz et al. 2012,
    BMJ 345:e6717): images that a tool cannot use are no excuse for it.
    """
    left_out = has_label(rows) & ~has_score(rows)
    if not left_out.any():
        return ()
    negatives, positives = (
        int(np.count_nonzero(left_out & is_text(rows, "label", name))) for name in rows.classes
    )
    figures = (
        ("Sensitivity", rates.sensitivity, positives),
        ("Specificity", rates.specificity, negatives),
        ("Accuracy", rates.accuracy, negatives + positives),
    )
    lines = tuple(
        (name, more, _with_errors(rate, more).estimate(), rate.n + more)
        for name, rate, more in figures
    )
    columns = (
        Column("figure", "Figure"),
        Column("errors", "Without a score", "count"),
        Column("estimate", "Estimate (95% interval)", "percent"),
        Column("n", "Images", "count"),
    )
    note = (
        "Failed and skipped images, and those whose score is no number, that have a label. "
        "Intervals: Wilson's, with the design effect of the images that have a score."
    )
    title = "Worst case: labelled images without a score counted as errors"
    return (Table("worst_case", title, columns, lines, note),)


def _with_errors(rate: Rate, errors: int) -> Rate:
    """Add images that are all errors, as correlated as the others."""
    n = rate.n + errors
    effect = rate.effective / rate.n if rate.n else 1.0
    return Rate(rate.successes, n, n * effect)
