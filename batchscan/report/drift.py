"""Whether the scores are spread as those of the images that the model was trained on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batchscan.report.document import Block, Column, Section, Table, Text
from batchscan.report.rows import Rows
from batchscan.report.tallies import has_score, score_of

if TYPE_CHECKING:
    from batchscan.reference import Reference

SMALL, LARGE = 0.1, 0.25
"""Bounds of the population stability index by which it is usually read (Siddiqi 2006)."""

Numbers = NDArray[np.floating]


def drift_section(rows: Rows, reference: Reference | None) -> Section:
    """Return the population stability index and the Kolmogorov-Smirnov distance of the scores.

    Both compare with the scores of the training images that the model's bundle knows. Where there
    is nothing to compare, a text says so.
    """
    reason = _not_compared(rows, reference)
    if reason or reference is None:
        return Section("drift", "Drift of the scores", (Text("none", reason, "note"),))
    scores = np.sort(score_of(rows)[has_score(rows)])
    return Section("drift", "Drift of the scores", _comparison(scores, reference.score_quantiles))


def _not_compared(rows: Rows, reference: Reference | None) -> str:
    if reference is None:
        return "The model's bundle knows no scores of its training images: no drift is computed."
    if rows.threshold is None:
        return "Drift of the scores is computed for two classes only."
    if not has_score(rows).any():
        return "No image was scored: no drift is computed."
    if reference.score_quantiles[0] == reference.score_quantiles[-1]:
        return "All training images have one score: no drift can be computed."
    return ""


def _comparison(scores: Numbers, quantiles: Numbers) -> tuple[Block, ...]:
    edges = decile_edges(quantiles)
    expected = expected_shares(quantiles, edges)
    counts = np.diff(np.searchsorted(scores, edges, side="right"), prepend=0, append=scores.size)
    index = stability_index(expected, counts)
    by_chance = (counts.size - 1) / scores.size
    distance = kolmogorov_smirnov(scores, quantiles)
    return (
        Text("reading", _reading(index, by_chance), "plain" if index < SMALL else "warning"),
        _figures(index, by_chance, distance, scores.size),
        _bins(edges, expected, counts),
        Text("caution", _CAUTION, "note"),
    )


def decile_edges(quantiles: Numbers) -> Numbers:
    """Return the inner edges of the bins: deciles of the reference, each once, ascending.

    `quantiles` are its quantiles 0, 0.001, ..., 1. An edge belongs to the bin below it. Where many
    scores are equal, deciles coincide and there are fewer bins than ten.
    """
    deciles = np.unique(quantiles[100:1000:100])
    inner: Numbers = deciles[deciles < quantiles[-1]]
    return inner


def expected_shares(quantiles: Numbers, edges: Numbers) -> Numbers:
    """Return the reference's share in each bin: about a tenth where scores do not coincide."""
    below = (np.searchsorted(quantiles, edges, side="right") - 1) / (quantiles.size - 1)
    return np.diff(below, prepend=0, append=1)


def stability_index(expected: Numbers, counts: NDArray[np.int64]) -> float:
    """Return the population stability index: sum of (p - q) ln(p / q) over the bins.

    `expected` are the reference's shares q; p are the shares of the images, `counts` of whom lie in
    each bin. An empty bin is counted as half an image, since the logarithm of 0 is infinite.
    """
    shares = np.maximum(counts, 0.5) / counts.sum()
    return float(((shares - expected) * np.log(shares / expected)).sum())


def kolmogorov_smirnov(scores: Numbers, quantiles: Numbers) -> float:
    """Return the largest difference of the two cumulative distributions (0 to 1)."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(scores, quantiles, method="asymp").statistic)


def _reading(index: float, by_chance: float) -> str:
    if index < SMALL:
        found = "the scores are spread much as those of the training images"
    elif index < LARGE:
        found = "the spread of the scores differs somewhat from that of the training images"
    else:
        found = "the spread of the scores differs clearly from that of the training images"
    text = f"Population stability index {index:.3f}: {found}."
    if by_chance > SMALL / 2:
        text += f" There are few images: about {by_chance:.3f} would come about by chance alone."
    return text


_CAUTION = (
    "Usual reading of the index: below 0.1 little change, from 0.1 to 0.25 some, above 0.25 much. "
    "These bounds are a convention, no test. Another share of ill people moves the scores as well "
    "as another machine does: drift says that the images should be looked at, not that the model "
    "is wrong; and no drift does not say that it is right."
)


def _figures(index: float, by_chance: float, distance: float, images: int) -> Table:
    return Table(
        key="figures",
        caption="Distance of the scores from those of the training images",
        columns=(
            Column("name", "Figure"),
            Column("value", "value", "figure"),
            Column("images", "scored images", "count"),
        ),
        rows=(
            ("Population stability index", index, images),
            ("Index expected by chance alone", by_chance, images),
            ("Kolmogorov-Smirnov distance", distance, images),
        ),
        note="The reference is 1,001 quantiles: the distance is exact to about 0.001.",
    )


def _bins(edges: Numbers, expected: Numbers, counts: NDArray[np.int64]) -> Table:
    names = [f"up to {edges[0]:.4f}"] if edges.size else ["all"]
    names += [f"above {low:.4f}, up to {high:.4f}" for low, high in pairwise(edges)]
    names += [f"above {edges[-1]:.4f}"] if edges.size else []
    return Table(
        key="bins",
        caption="Bins of the index: deciles of the scores of the training images",
        columns=(
            Column("bin", "Score"),
            Column("expected", "training images", "percent"),
            Column("found", "these images", "percent"),
            Column("images", "images", "count"),
        ),
        rows=tuple(
            (name, float(share), float(count / counts.sum()), int(count))
            for name, share, count in zip(names, expected, counts, strict=True)
        ),
    )
