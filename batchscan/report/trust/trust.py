"""Whether the figures can be trusted: copies, training images, images unlike those."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batchscan.report.document import Block, Section
from batchscan.report.input.rows import Rows
from batchscan.report.trust.copies import exact_copies, find_likeness
from batchscan.report.trust.duplicates import exact_blocks, near_blocks
from batchscan.report.trust.outliers import out_of_distribution, outlier_blocks
from batchscan.report.trust.training_images import training_blocks
from batchscan.report.trust.with_and_without import with_and_without

if TYPE_CHECKING:
    from batchscan.model.reference import Reference


def trust_section(rows: Rows, reference: Reference | None) -> Section:
    """Return copies, images of the training set and images unlike it, and the figures without them.

    What the result or the reference does not tell is said not to be known.
    """
    from batchscan.image.perceptual_hash import NEAR

    training = np.empty(0, np.uint64) if reference is None else reference.phashes
    copies = exact_copies(rows)
    likeness = find_likeness(rows, copies, training, NEAR)
    blocks: list[Block] = [
        *exact_blocks(rows, copies),
        *near_blocks(rows, likeness, NEAR),
        *training_blocks(rows, likeness, None if reference is None else training.size, NEAR),
        *outlier_blocks(rows),
    ]
    left_out = [
        ("further exact copies", copies.further),
        ("images that look like another one", copies.further | likeness.further),
        ("images that look like training images", likeness.of_training),
        ("images unlike the training images", out_of_distribution(rows)),
    ]
    blocks += with_and_without(rows, left_out)
    return Section("trust", "Can the figures be trusted?", tuple(blocks))
