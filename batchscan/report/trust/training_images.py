"""Images that were in the model's training set: it may know them by heart."""

from __future__ import annotations

import numpy as np

from batchscan.metrics.statistics import wilson_interval
from batchscan.report.document import Block, Column, Estimate, Table, Text
from batchscan.report.input.reading import paths_of
from batchscan.report.input.rows import Rows
from batchscan.report.trust.copies import Likeness

EXAMPLES = 10


def training_blocks(
    rows: Rows, likeness: Likeness, known: int | None, distance: int
) -> list[Block]:
    """Return how many rows look like training images; the bundle knows hashes of `known` of these.

    `known` is None where there is no reference.
    """
    if not known:
        return [Text("training_none", _NO_REFERENCE, "warning")]
    if not likeness.known:
        return [Text("training_none", _NO_HASHES, "warning")]
    found = int(likeness.of_training.sum())
    low, high = wilson_interval(found, likeness.known) or (None, None)
    share = Estimate(found / likeness.known, low, high, likeness.known)
    table = Table(
        key="training",
        caption="Images that look like one of the training images",
        columns=(
            Column("images", "images with a perceptual hash", "count"),
            Column("found", "look like a training image", "count"),
            Column("share", "share", "percent"),
            Column("training", "training images known", "count"),
        ),
        rows=((likeness.known, found, share, known),),
        note=f"At most {distance} of the 64 bits of their perceptual hashes differ.",
    )
    if not found:
        return [Text("training_found", _NONE_FOUND, "good"), table]
    return [
        Text("training_found", _FOUND.format(found, likeness.known), "warning"),
        table,
        _examples(rows, likeness),
    ]


def _examples(rows: Rows, likeness: Likeness) -> Table:
    places = np.flatnonzero(likeness.of_training)[:EXAMPLES]
    return Table(
        key="training_examples",
        caption="Examples of images that look like a training image",
        columns=(Column("path", "Image"),),
        rows=tuple((path,) for path in paths_of(rows, places)),
    )


_NO_REFERENCE = (
    "The model's bundle knows no hashes of its training images: whether some of them are among "
    "these images cannot be told."
)
_NO_HASHES = (
    "The result holds no perceptual hashes, as those of older versions: whether training images "
    "are among these cannot be told. Scan anew."
)
_NONE_FOUND = (
    "No image looks like one of the training images. Other images of the same patients would not "
    "be noticed."
)
_FOUND = (
    "{:,} of {:,} images look like training images. Of these the model may know the answer by "
    "heart: the figures without them are those to be trusted; where no image is left, none is."
)
