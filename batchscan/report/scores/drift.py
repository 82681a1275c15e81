"""Whether the scores are spread as those of the images that the model was trained on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batchscan.report.document import Block, Column, Section, Table, Text
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import has_score, score_of
from batchscan.schema import score_columns

if TYPE_CHECKING:
    from batchscan.model.reference import Reference

SMALL, LARGE = 0.1, 0.25
"""Bounds of the population stability index by which it is usually read (Siddiqi 2006)."""

FEW = 20
"""With fewer images than this, two for each bin, no index says anything."""

Numbers = NDArray[np.floating]


def drift_section(rows: Rows, reference: Reference | None) -> Section:
    """Return the population stability index and the Kolmogorov-Smirnov distance of the scores.

    Both compare with the scores of the training images that the model's bundle knows; of more than
    two classes, those of each. Where there is nothing to compare, a text says so.
    """
    scored, blocks = has_score(rows), list[Block]()
    if reference is None:
        text = "The model's bundle knows no scores of its training images: no drift is computed."
        return Section("drift", _TITLE, (Text("none", text, "note"),))
    if not scored.any():
        text = "No image was scored: no drift is computed."
        return Section("drift", _TITLE, (Text("none", text, "warning"),))
    two = rows.threshold is not None
    quantiles = reference.score_quantiles.reshape(len(reference.score_quantiles), -1)
    for place, name in enumerate(score_columns(rows.classes)):
        own_class = "" if two else rows.classes[place]
        scores = np.sort(score_of(rows, name)[scored])
        blocks += _comparison(scores, quantiles[:, place], own_class)
    return Section("drift", _TITLE, (*blocks, Text("caution", _CAUTION, "note")))


_TITLE = "Drift of the scores"


def _comparison(scores: Numbers, quantiles: Numbers, own_class: str) -> list[Block]:
    """Compare scores, which ascend, with the reference's; `own_class` of more than two."""
    ending, of_class = (f"_{own_class}", f" of {own_class}") if own_class else ("", "")
    if quantiles[0] == quantiles[-1]:
        text = f"All training images have one score{of_class}: no drift can be computed."
        return [Text(f"none{ending}", text, "note")]
    edges = decile_edges(quantiles)
    expected = expected_shares(quantiles, edges)
    counts = np.diff(np.searchsorted(scores, edges, side="right"), prepend=0, append=scores.size)
    index = stability_index(expected, counts)
    by_chance = (counts.size - 1) / scores.size
    distance = kolmogorov_smirnov(scores, quantiles)
    return [
        _reading(index, by_chance, _is_chance(expected, counts), scores.size, of_class, ending),
        _figures(index, by_chance, distance, scores.size, ending, of_class),
        _bins(edges, expected, counts, ending, of_class),
    ]


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


def _is_chance(expected: Numbers, counts: NDArray[np.int64]) -> bool:
    """Say whether images without drift are often (in 5% of samples) spread so, by Pearson's test.

    The reference, of thousands of images, is taken as exact. Fewer than `FEW` images say nothing.
    """
    from scipy.stats import chisquare

    n = counts.sum()
    return bool(n < FEW or chisquare(counts, expected * n).pvalue > 0.05)


def _reading(
    index: float, by_chance: float, is_chance: bool, images: int, of_class: str, ending: str
) -> Text:
    """Say in a sentence what the index means, if there are images enough for that."""
    chance = f"with {images:,} images about {by_chance:.3f} comes about by chance alone"
    key, start = f"reading{ending}", f"Population stability index {index:.3f}:"
    if index >= SMALL and is_chance:
        text = f"{start} {chance}, so that it says nothing about the scores{of_class}."
        return Text(key, text, "note")
    if index < SMALL:
        found = f"the scores{of_class} are spread much as those of the training images"
    else:
        degree = "somewhat" if index < LARGE else "clearly"
        found = f"the scores{of_class} are spread {degree} otherwise than those of the training"
        found += " images"
    caution = f" ({chance})" if by_chance > SMALL / 2 else ""
    return Text(key, f"{start} {found}{caution}.", "good" if index < SMALL else "warning")


_CAUTION = (
    "Usual reading of the index: below 0.1 little change, from 0.1 to 0.25 some, above 0.25 much. "
    "These bounds are a convention, no test. Another share of ill people moves the scores as well "
    "as another machine does: drift says that the images should be looked at, not that the model "
    "is wrong; and no drift does not say that it is right."
)


def _figures(
    index: float, by_chance: float, distance: float, images: int, ending: str, of_class: str
) -> Table:
    return Table(
        key=f"figures{ending}",
        caption=f"Distance of the scores{of_class} from those of the training images",
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


def _bins(
    edges: Numbers, expected: Numbers, counts: NDArray[np.int64], ending: str, of_class: str
) -> Table:
    ends = [str(edge) for edge in edges.astype(np.float32)]  # As many digits as tell them apart.
    names = [f"up to {ends[0]}"] if ends else ["all"]
    names += [f"above {low}, up to {high}" for low, high in pairwise(ends)]
    names += [f"above {ends[-1]}"] if ends else []
    return Table(
        key=f"bins{ending}",
        caption=f"Bins of the index: deciles of the scores{of_class} of the training images",
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
