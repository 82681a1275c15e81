"""Images that are there several times: the same bytes, or the same picture in another form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchscan.report.document import Block, Column, Table, Text
from batchscan.report.input.reading import paths_of
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import codes, column, has_label, has_score, score_of
from batchscan.report.trust.copies import Copies, Likeness
from batchscan.schema import score_columns

EXAMPLES = 10

Places = NDArray[np.int64]


def exact_blocks(rows: Rows, copies: Copies) -> list[Block]:
    """Return how many rows have the same content as others, with the largest groups."""
    if not copies.known:
        return [Text("exact_none", _NO_DIGESTS, "warning")]
    if not copies.groups:
        text = f"Each of the {copies.known:,} files whose content is known is there once."
        return [Text("exact_none", text, "good")]
    return [_exact_counts(rows, copies), *_contradictions(rows, copies), _examples(rows, copies)]


def near_blocks(rows: Rows, likeness: Likeness, distance: int) -> list[Block]:
    """Return how many rows look like others, with examples."""
    if not likeness.known:
        return [Text("near_none", _NO_HASHES, "warning")]
    blocks: list[Block] = []
    if not likeness.complete:
        blocks.append(Text("near_incomplete", _INCOMPLETE, "warning"))
    blocks.append(
        Table(
            key="near",
            caption="Images that look alike, exact copies taken as one",
            columns=(Column("what", "What"), Column("count", "count", "count")),
            rows=(
                ("images with a perceptual hash", likeness.known),
                ("images that look like another one", int(likeness.near.sum())),
                ("to be left out, so that no two look alike", int(likeness.further.sum())),
            ),
            note=_NEAR_NOTE.format(distance),
        )
    )
    if likeness.near.any():
        blocks.append(_near_examples(rows, likeness, distance))
    return blocks


_NO_DIGESTS = "The result holds no digests of files: exact copies cannot be found."
_NO_HASHES = (
    "The result holds no perceptual hashes, as those of older versions: images that look alike "
    "cannot be found. Scan anew."
)
_INCOMPLETE = (
    "So many images resemble each other that not all pairs were compared: the counts of images "
    "that look alike are lower bounds. Blank images can be a reason."
)
_NEAR_NOTE = (
    "Images look alike where their perceptual hashes differ in at most {} of 64 bits: the same "
    "picture in another size, contrast or compression. In large archives some differ all the same."
)


def _exact_counts(rows: Rows, copies: Copies) -> Table:
    figures = copies.further & has_score(rows) & has_label(rows)
    return Table(
        key="exact",
        caption="Files with the same content (the first 8 bytes of SHA-256)",
        columns=(Column("what", "What"), Column("count", "count", "count")),
        rows=(
            ("files whose content is known", copies.known),
            ("contents that several files have", copies.groups),
            ("files with these contents", int((copies.group >= 0).sum())),
            ("further copies: all of them but the first by path", int(copies.further.sum())),
            ("further copies that are scored and labelled", int(figures.sum())),
        ),
    )


def _contradictions(rows: Rows, copies: Copies) -> list[Block]:
    """Say where copies have different labels or scores: one of them at least is wrong."""
    blocks: list[Block] = []
    label, names = codes(rows, "label")
    if differing := _differing(copies, label.astype(np.float64), label >= 0):
        text = (
            f"{differing:,} contents have files with different labels "
            f"({' and '.join(names)}): at least one label of each is wrong."
        )
        blocks.append(Text("different_labels", text, "warning"))
    scored = has_score(rows)
    differing = max(
        _differing(copies, score_of(rows, name), scored) for name in score_columns(rows.classes)
    )
    if differing:
        text = f"{differing:,} contents have files with different scores, which should not happen."
        blocks.append(Text("different_scores", text, "warning"))
    return blocks


def _differing(copies: Copies, values: NDArray[np.floating], known: NDArray[np.bool_]) -> int:
    """Count the groups of copies whose known values (n,) are not all the same."""
    here = np.flatnonzero((copies.group >= 0) & known)
    low, high = np.full(copies.groups, np.inf), np.full(copies.groups, -np.inf)
    np.minimum.at(low, copies.group[here], values[here])
    np.maximum.at(high, copies.group[here], values[here])
    return int((low < high).sum())


def _examples(rows: Rows, copies: Copies) -> Table:
    """Return the largest groups: of equal ones, the first by path."""
    member = np.flatnonzero(copies.group >= 0)
    size = np.bincount(copies.group[member], minlength=copies.groups)
    first = member[~copies.further[member]]
    largest = first[np.lexsort((first, -size[copies.group[first]]))][:EXAMPLES]
    second = [_second(copies, member, place) for place in largest]
    paths = paths_of(rows, np.concatenate([largest, np.array(second, np.int64)]))
    return Table(
        key="exact_examples",
        caption="Contents that most files have",
        columns=(
            Column("path", "First file"),
            Column("copy", "One of its copies"),
            Column("files", "files", "count"),
        ),
        rows=tuple(
            (path, copy, int(size[copies.group[place]]))
            for path, copy, place in zip(paths, paths[largest.size :], largest, strict=False)
        ),
    )


def _second(copies: Copies, member: Places, first: np.int64) -> int:
    same = member[copies.group[member] == copies.group[first]]
    return int(same[1])


def _near_examples(rows: Rows, likeness: Likeness, distance: int) -> Table:
    """Return the first images that look like another, each with the one that is nearest."""
    phash = column(rows, "phash")
    hashes = phash.fill_null(0).to_numpy()
    other = np.flatnonzero(likeness.near)
    pairs = [_nearest(hashes, other, place) for place in other[: 4 * EXAMPLES]]
    unique = {(min(a, b), max(a, b)): bits for a, b, bits in pairs if bits <= distance}
    shown = list(unique.items())[:EXAMPLES]
    places = np.array([pair for pair, _ in shown], dtype=np.int64).reshape(-1, 2)
    paths = paths_of(rows, places.ravel())
    return Table(
        key="near_examples",
        caption="Examples of images that look alike",
        columns=(
            Column("path", "Image"),
            Column("other", "Looks like"),
            Column("bits", "bits that differ", "count"),
        ),
        rows=tuple(
            (paths[2 * number], paths[2 * number + 1], bits)
            for number, (_, bits) in enumerate(shown)
        ),
    )


def _nearest(hashes: NDArray[np.uint64], others: Places, place: np.int64) -> tuple[int, int, int]:
    """Return an image, the nearest of others, and how many bits differ."""
    bits = np.bitwise_count(hashes[others] ^ hashes[place]).astype(np.int64)
    bits[others == place] = 65
    nearest = int(bits.argmin())
    return int(place), int(others[nearest]), int(bits[nearest])
