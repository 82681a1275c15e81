"""Rows that are copies of others, by what they contain or by how they look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, column
from batchscan.report.trust.near_hashes import find_neighbours

Numbers = NDArray[np.uint64]


@dataclass(frozen=True)
class Copies:
    """Rows (n,) with the same value as others, such as the same content.

    `group` is the number of its value for each row that shares it, else -1; `further` are all of
    these but the first of each value. `known` counts the rows whose value is known.
    """

    group: NDArray[np.int32]
    further: Mask
    known: int

    @property
    def groups(self) -> int:
        """The number of values that several rows have."""
        return int(self.group.max(initial=-1)) + 1


@dataclass(frozen=True)
class Likeness:
    """Rows (n,) that look like others, by their perceptual hashes, or like training images.

    `near` look like another row whose content isn't the same; `further` are those to be left out so
    that none of those left looks like another. `known` counts the rows whose hash is known. Where
    not `complete`, some may be missing.
    """

    near: Mask
    further: Mask
    of_training: Mask
    known: int
    complete: bool


def exact_copies(rows: Rows) -> Copies:
    """Find rows of the same content."""
    return _copies(*_numbers(rows, "content"))


def find_likeness(rows: Rows, copies: Copies, training: Numbers, distance: int) -> Likeness:
    """Find rows whose hash is within `distance` of another's, or of one of `training` (m,).

    Rows of the same content count as one; a row whose hash is unknown is like none.
    """
    phash, known = _numbers(rows, "phash")
    distinct = known & ~copies.further
    ascending = np.sort(phash[known])
    hashes = ascending[_firsts(ascending)]
    found = find_neighbours(hashes, training, distance)
    equal = _copies(phash, distinct)
    near = _among(phash, hashes[found.near], distinct)
    further = _among(phash, hashes[found.further], distinct)
    return Likeness(
        near=near | (equal.group >= 0),
        further=further | equal.further,
        of_training=_among(phash, hashes[found.among], known),
        known=int(known.sum()),
        complete=found.complete,
    )


def _numbers(rows: Rows, name: str) -> tuple[Numbers, Mask]:
    """Return a column as uint64 (n,), and where it is known."""
    values = column(rows, name)
    known: Mask = values.is_valid().to_numpy(zero_copy_only=False)
    return values.fill_null(0).to_numpy(), known


def _copies(values: Numbers, where: Mask) -> Copies:
    """Find values (n,) that are there several times, among those `where` says True."""
    ascending = np.sort(values[where])
    repeated = np.unique(ascending[~_firsts(ascending)])
    group = np.full(values.size, -1, dtype=np.int32)
    member = np.flatnonzero(_among(values, repeated, where))
    group[member] = np.searchsorted(repeated, values[member])
    further = np.zeros(values.size, dtype=bool)
    further[member] = True
    further[member[np.unique(group[member], return_index=True)[1]]] = False
    return Copies(group, further, int(where.sum()))


def _firsts(ascending: Numbers) -> Mask:
    """Say which of ascending values (n,) differ from the one before."""
    return np.append(True, ascending[1:] != ascending[:-1])[: ascending.size]


def _among(values: Numbers, chosen: Numbers, where: Mask) -> Mask:
    """Say which values (n,) are among `chosen`, which ascend, and where `where` says True."""
    if not chosen.size:
        return np.zeros(values.size, dtype=bool)
    place = np.searchsorted(chosen, values)
    place[place == chosen.size] = 0
    found: Mask = (chosen[place] == values) & where
    return found
