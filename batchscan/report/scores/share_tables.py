"""Shares of images above the threshold, by folder and by month."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.metrics.outcomes import likeliest, predicted_positive
from batchscan.metrics.statistics import wilson_interval
from batchscan.report.document import Column, Estimate, Table, Value
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, column, score_of
from batchscan.schema import score_columns

MOST_ROWS = 30
MOST_FOLDERS = 200
"""Folders up to which each stands for itself; of more, those of a higher level are taken."""

Codes = NDArray[np.int32]


def folder_table(rows: Rows, scored: Mask) -> Table:
    """Return the shares by folder: the largest ones, and all others together.

    Where images lie in more folders than `MOST_FOLDERS`, as with a folder for each patient, these
    are cut at the deepest level at which there are no more, or else at the top one.
    """
    folders = column(rows, "folder")
    names, place, level = _cut(folders.dictionary.cast(pa.string()))
    codes = place[folders.indices.to_numpy()]
    note = _NOTE if level is None else f"{_NOTE} Folders are those {level} below the archive."
    return _table(rows, scored, codes, names, "folder", "Folder", note)


def month_table(rows: Rows, scored: Mask) -> Table:
    """Return the shares by month of the file's last change, in the order of time."""
    months = column(rows, "month")
    names = months.dictionary.cast(pa.string()).to_pylist()
    codes = months.indices.fill_null(len(names)).to_numpy().astype(np.int32)
    note = f"{_NOTE} The month is that in which the file was last changed, in UTC."
    return _table(rows, scored, codes, [*names, "unknown"], "month", "Month", note)


_NOTE = "Wilson's 95% intervals, which take images as independent."


def _cut(folders: pa.Array) -> tuple[list[str], Codes, str | None]:
    """Return names of folders, the number of the name of each one given, and the level taken."""
    if len(folders) <= MOST_FOLDERS:
        return folders.to_pylist(), np.arange(len(folders), dtype=np.int32), None
    depth, parts = 1, pc.split_pattern(folders, "/")
    cut = _level(parts, 1)
    while True:
        deeper = _level(parts, depth + 1)
        if len(deeper.dictionary) > MOST_FOLDERS or len(cut.dictionary) > MOST_FOLDERS:
            break
        depth, cut = depth + 1, deeper
    level = "1 level" if depth == 1 else f"{depth} levels"
    return cut.dictionary.to_pylist(), cut.indices.to_numpy(), level


def _level(parts: pa.Array, depth: int) -> pa.Array:
    """Return the first parts of each folder's path, as a dictionary of text."""
    return pc.binary_join(pc.list_slice(parts, 0, depth), "/").dictionary_encode()


def _table(
    rows: Rows, scored: Mask, codes: Codes, names: Sequence[str], key: str, title: str, note: str
) -> Table:
    """Count images and those of each kind of prediction, by code."""
    kinds = _predictions(rows, scored)
    here = codes[scored]
    total = np.bincount(here, minlength=len(names))
    chosen = [np.bincount(here[mask], minlength=len(names)) for _, mask in kinds]
    order = _largest(total, names)
    shown = sorted(order, key=lambda place: names[place]) if key == "month" else order
    body = [_line(names[place] or _TOP, total[place], [c[place] for c in chosen])
            for place in shown]  # fmt: skip
    if (left := int((total > 0).sum()) - len(order)) > 0:
        counts = [int(c.sum() - c[order].sum()) for c in chosen]
        body.append(_line(f"{left:,} others", int(total.sum() - total[order].sum()), counts))
    body.append(_line("all", int(total.sum()), [int(count.sum()) for count in chosen]))
    return Table(
        key=key,
        caption=f"Share of scored images by {key}"
        + (f"; the {len(order)} with the most images" if left > 0 else ""),
        columns=(
            Column(key, title),
            Column("images", "scored", "count"),
            *(Column(f"share_{n}", text, "percent") for n, (text, _) in enumerate(kinds)),
        ),
        rows=tuple(body),
        note=note,
    )


_TOP = "(not in a folder)"


def _predictions(rows: Rows, scored: Mask) -> list[tuple[str, Mask]]:
    """Return kinds of predictions, and which of the scored images (n,) have them."""
    scores = [score_of(rows, name)[scored] for name in score_columns(rows.classes)]
    if rows.threshold is not None:
        return [("at or above the threshold", predicted_positive(scores[0], rows.threshold))]
    number = likeliest(np.stack(scores, axis=1))
    return [(f"predicted {name}", number == place) for place, name in enumerate(rows.classes)]


def _largest(total: NDArray[np.int64], names: Sequence[str]) -> list[int]:
    """Return up to `MOST_ROWS` places, the largest first; of equal ones the first by name."""
    filled = np.flatnonzero(total)
    if filled.size > MOST_ROWS:
        least = np.partition(total[filled], -MOST_ROWS)[-MOST_ROWS]
        filled = filled[total[filled] >= least]
    ordered = sorted(filled.tolist(), key=lambda place: (-total[place], names[place]))
    return ordered[:MOST_ROWS]


def _line(name: str, images: int, counts: Sequence[int]) -> tuple[Value, ...]:
    return (name, int(images), *(_share(int(count), int(images)) for count in counts))


def _share(count: int, images: int) -> Estimate:
    if not images:
        return Estimate(None, n=0)
    low, high = wilson_interval(count, images) or (None, None)
    return Estimate(count / images, low, high, images)
