"""What the scores say without labels: their distribution, by folder and month, what to read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchscan.report.document import (
    Axis,
    BarChart,
    Bars,
    Block,
    Column,
    Section,
    Table,
    Text,
    Value,
)
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import has_score, is_text, score_of
from batchscan.report.scores.reading_list import reading_list
from batchscan.report.scores.share_tables import folder_table, month_table
from batchscan.schema import score_columns

BINS = 50
QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)

Scores = NDArray[np.float32]


def scores_section(rows: Rows) -> Section:
    """Return the distribution of the scores, the shares by folder and month, what to read first.

    Of more than two classes, each has a distribution and a share of its own; the images to read
    first are then left out.
    """
    scored = has_score(rows)
    if not scored.any():
        text = "No image was scored: there is no distribution of scores."
        return Section("scores", "Scores", (Text("none", text, "warning"),))
    blocks: list[Block] = []
    for number, name in enumerate(score_columns(rows.classes)):
        own = None if rows.threshold is not None else rows.classes[number]
        blocks += _distribution(rows, score_of(rows, name), own)
    blocks += [folder_table(rows, scored), month_table(rows, scored)]
    blocks += reading_list(rows)
    return Section("scores", "Scores", tuple(blocks))


def _distribution(rows: Rows, score: Scores, own_class: str | None) -> list[Block]:
    """Return histograms and quantiles of a column of scores; `own_class` of more than two."""
    known = score[np.isfinite(score)]
    of_class = "" if own_class is None else f" of {own_class}"
    ending = "" if own_class is None else f"_{own_class}"
    edges, (heights,) = _histogram([known])
    blocks: list[Block] = [
        BarChart(
            key=f"distribution{ending}",
            caption=f"Scores{of_class} of all scored images",
            summary=f"{known.size:,} scores{of_class}: {_spread(known)}",
            x=Axis(f"score{of_class}", 0, 1, "score"),
            y=Axis("images", 0, max(heights), "count"),
            edges=edges,
            series=(Bars("images", heights),),
            lines=_threshold_line(rows),
        )
    ]
    of_labels = {name: score[is_text(rows, "label", name)] for name in rows.classes}
    of_labels = {name: values[np.isfinite(values)] for name, values in of_labels.items()}
    of_labels = {name: values for name, values in of_labels.items() if values.size}
    if of_labels:
        blocks.append(_by_label(rows, of_labels, of_class, ending))
    blocks.append(_quantiles({"all": known} | of_labels, of_class, ending))
    return blocks


def _by_label(rows: Rows, of_labels: dict[str, Scores], of_class: str, ending: str) -> BarChart:
    """Return histograms side by side: each bar is a share of its label's images."""
    edges, heights = _histogram(list(of_labels.values()))
    shares = [tuple(height / sum(bars) for height in bars) for bars in heights]
    return BarChart(
        key=f"distribution_by_label{ending}",
        caption=f"Scores{of_class} by label, as shares of the images with that label",
        summary="; ".join(f"{name}: {_spread(values)}" for name, values in of_labels.items()),
        x=Axis(f"score{of_class}", 0, 1, "score"),
        y=Axis("share of the label's images", 0, max(map(max, shares)), "percent"),
        edges=edges,
        series=tuple(Bars(name, bars) for name, bars in zip(of_labels, shares, strict=True)),
        lines=_threshold_line(rows),
    )


def _histogram(samples: list[Scores]) -> tuple[tuple[float, ...], list[tuple[float, ...]]]:
    """Count scores in `BINS` bins from 0 to 1; each bin has its lower edge, the last has both."""
    edges = np.linspace(0, 1, BINS + 1)
    counts = [np.histogram(sample, bins=BINS, range=(0, 1))[0] for sample in samples]
    return tuple(edges.tolist()), [tuple(map(float, count)) for count in counts]


def _threshold_line(rows: Rows) -> tuple[tuple[str, float], ...]:
    return () if rows.threshold is None else (("threshold", rows.threshold),)


def _spread(values: Scores) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"median {middle:.3f}, middle half from {low:.3f} to {high:.3f}"


def _quantiles(samples: dict[str, Scores], of_class: str, ending: str) -> Table:
    named = [("minimum" if q == 0 else "maximum" if q == 1 else f"{q * 100:g}%") for q in QUANTILES]
    body: list[tuple[Value, ...]] = []
    for name, values in samples.items():
        found = np.quantile(values, QUANTILES)
        body.append((name, int(values.size), *map(float, found)))
    return Table(
        key=f"quantiles{ending}",
        caption=f"Quantiles of the scores{of_class}",
        columns=(
            Column("label", "Label"),
            Column("images", "images", "count"),
            *(Column(f"q{q:g}", title, "score") for q, title in zip(QUANTILES, named, strict=True)),
        ),
        rows=tuple(body),
    )
