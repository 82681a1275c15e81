"""Images unlike those that the model was trained on: out of its distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.statistics import wilson_interval
from batchscan.report.document import Block, Column, Estimate, Table, Text
from batchscan.report.input.reading import paths_of
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, column

LIMIT = 1.0
"""The `ood_score` that 1% of the training images exceed."""

EXPECTED = 0.01
EXAMPLES = 10


def out_of_distribution(rows: Rows) -> Mask:
    """Say which rows (n,) are flagged: `ood_score` above 1. An unknown one is not."""
    outliers: Mask = _ood_scores(rows) > LIMIT
    return outliers


def outlier_blocks(rows: Rows) -> list[Block]:
    """Return how many images are out of distribution, with those that are it most."""
    scores = _ood_scores(rows)
    known, found = int(np.isfinite(scores).sum()), int((scores > LIMIT).sum())
    if not known:
        return [Text("outliers_none", _UNKNOWN, "warning")]
    low, high = wilson_interval(found, known) or (0.0, 1.0)
    table = Table(
        key="outliers",
        caption="Images unlike the training images",
        columns=(
            Column("images", "images with an ood_score", "count"),
            Column("found", "above 1", "count"),
            Column("share", "share", "percent"),
            Column("expected", "share of training images", "percent"),
        ),
        rows=((known, found, Estimate(found / known, low, high, known), EXPECTED),),
        note="Wilson's 95% interval, which takes images as independent.",
    )
    if low > EXPECTED:
        reading = Text("outliers_reading", _MORE, "warning")
    elif high > 5 * EXPECTED:
        reading = Text("outliers_reading", _UNCERTAIN.format(high), "note")
    else:
        reading = Text("outliers_reading", _FEW, "good")
    return [reading, table, *([_examples(rows, scores)] if found else [])]


def _examples(rows: Rows, scores: NDArray[np.float32]) -> Table:
    filled = np.nan_to_num(scores, nan=-1.0)
    count = min(EXAMPLES, int((filled > LIMIT).sum()))
    least = np.partition(filled, -count)[-count]
    candidates = np.flatnonzero(filled >= least)
    places = candidates[np.lexsort((candidates, -filled[candidates]))][:count]
    return Table(
        key="outlier_examples",
        caption="Images that are least like the training images",
        columns=(Column("path", "Image"), Column("ood_score", "ood_score", "figure")),
        rows=tuple(zip(paths_of(rows, places), filled[places].tolist(), strict=True)),
    )


def _ood_scores(rows: Rows) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = column(rows, "ood_score").to_numpy(zero_copy_only=False)
    return scores.astype(np.float32, copy=False)


_UNKNOWN = (
    "The result holds no ood_score (of an older version, or of a model without a reference): "
    "images unlike the training images cannot be told."
)
_MORE = (
    "More images than the 1% expected are unlike the training images. The model has not been "
    "trained for such: their scores should not be relied on without being looked at."
)
_FEW = "No more images than the 1% expected are surely unlike the training images."
_UNCERTAIN = (
    "With so few images nobody can say whether more than the 1% expected are unlike the training "
    "images: it may be up to {:.0%} of such images."
)
