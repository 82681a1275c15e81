"""The images to read first: those with the highest scores."""

from __future__ import annotations

import numpy as np

from batchscan.report.document import Block, Column, Table, Text
from batchscan.report.input.reading import paths_of
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import column, has_score, score_of

MOST_IMAGES = 30


def reading_list(rows: Rows) -> list[Block]:
    """Return the images with the highest scores; of equal scores, the first by path.

    Of more than two classes there is no one score to order by: a text says so.
    """
    if rows.threshold is None:
        text = "The images to read first are for two classes only: with more, no score leads."
        return [Text("read_first_none", text, "note")]
    score = np.where(has_score(rows), score_of(rows), -1)
    count = min(MOST_IMAGES, int((score >= 0).sum()))
    if not count:
        return []
    least = np.partition(score, -count)[-count]
    candidates = np.flatnonzero(score >= least)
    above = candidates[score[candidates] > least]
    equal = candidates[score[candidates] == least]
    first = above[np.lexsort((above, -score[above]))]
    chosen = np.concatenate([first, equal])[:count]
    left = equal.size + above.size - count
    return [_table(rows, chosen.astype(np.int64), score[chosen].tolist(), left)]


def _table(rows: Rows, chosen: np.ndarray, scores: list[float], left: int) -> Table:
    paths = paths_of(rows, chosen)
    labels = column(rows, "label").take(chosen).to_pylist()
    flags = column(rows, "flags").take(chosen).to_pylist()
    note = f"The {len(paths)} highest scores; of equal scores, the first by path."
    if left:
        note += f" {left:,} further images have the same score as the last one here."
    return Table(
        key="read_first",
        caption="Images to read first",
        columns=(
            Column("path", "Image"),
            Column("score", "score", "score"),
            Column("label", "label"),
            Column("flags", "flags"),
        ),
        rows=tuple(
            (path, score, label, ", ".join(odd or []) or None)
            for path, score, label, odd in zip(paths, scores, labels, flags, strict=True)
        ),
        note=note,
    )
