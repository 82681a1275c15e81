"""Which perceptual hashes are near others, in Hamming distance, among ten million.

Of two hashes that differ in at most d bits, cut into d + k bands alike, at least k bands are equal.
So for each choice of k bands the hashes are sorted by these, and only those that agree in them are
compared (Manku, Jain and Das Sarma 2007, "Detecting near-duplicates for web crawling").
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Band = tuple[int, int]
"""The lowest bit of a band, and the number of its bits."""

MOST_COMPARISONS = 8_000_000_000
"""Pairs that are compared at most: what two cores do in less than a minute."""

_BITS = 64
_BLOCK = 1 << 15  # Hashes that stay in the processor's cache.
_THREADS = min(4, os.cpu_count() or 1)
_MOST_TABLES = 100
_SORTING = 16  # What sorting costs, for each hash, in comparisons.
_TELLING = 0.8  # Bits of a real hash depend on each other: they divide as so many would.


@dataclass(frozen=True)
class Neighbours:
    """Which hashes (n,) are `near` another, and which to leave out so that no two are near.

    The latter are `further`: they have a smaller hash near them. Those `among` the others are near
    one of these. `complete` is False where so many hashes
    resemble each other that not all pairs were compared; some may then be missing.
    """

    near: Mask
    further: Mask
    among: Mask
    complete: bool = True


def find_neighbours(
    hashes: Hashes,
    others: Hashes,
    distance: int,
    most_comparisons: int = MOST_COMPARISONS,
) -> Neighbours:
    """Find hashes that differ from another, or from one of `others`, in at most `distance` bits.

    `hashes` (n,) ascend, and none is there twice; `others` (m,) are in any order. `distance` is
    from 1 to 63. Those near the others are found even where they are equal.
    """
    near, further, among = (np.zeros(hashes.size, dtype=bool) for _ in range(3))
    if not hashes.size:
        return Neighbours(near, further, among)
    others = np.unique(others)
    choices = _choices(hashes.size, distance)
    each = most_comparisons // len(choices)
    complete = True
    with ThreadPoolExecutor(min(_THREADS, len(choices))) as pool:
        for found in pool.map(
            lambda choice: _search(hashes, others, choice, distance, each), choices
        ):
            near[np.searchsorted(hashes, found.near)] = True
            further[np.searchsorted(hashes, found.further)] = True
            among[np.searchsorted(hashes, found.among)] = True
            complete &= found.complete
    return Neighbours(near, further, among, complete)


def bands(count: int) -> list[Band]:
    """Cut 64 bits into so many bands, from the highest bit down, about equally wide."""
    ends = [_BITS * place // count for place in range(count + 1)]
    return [(_BITS - high, high - low) for low, high in pairwise(ends)]


@dataclass(frozen=True)
class _Choice:
    """The bands by which hashes are sorted, and then the others: each bit in one of them."""

    order: tuple[Band, ...]
    key_bits: int


@dataclass(frozen=True)
class _Found:
    """Hashes of the kinds of `Neighbours`, which ascend, and may be there twice."""

    near: Hashes
    further: Hashes
    among: Hashes
    complete: bool


def _choices(n: int, distance: int) -> list[_Choice]:
    """Return the choices of k bands among d + k, with the k that is the cheapest."""

    def cost(k: int) -> float:
        width = _TELLING * _BITS * k / (distance + k)
        return math.comb(distance + k, k) * (_SORTING + n / 2**width)

    sizes = [k for k in range(1, 7) if math.comb(distance + k, k) <= _MOST_TABLES]
    k = min(sizes, key=cost) if sizes else 1
    cut = bands(distance + k)
    return [
        _Choice((*chosen, *(band for band in cut if band not in chosen)), sum(w for _, w in chosen))
        for chosen in combinations(cut, k)
    ]


def _search(
    hashes: Hashes, others: Hashes, choice: _Choice, distance: int, most_comparisons: int
) -> _Found:
    """Compare hashes that agree in the bands of a choice."""
    moved = _moved(hashes, choice.order)
    moved.sort()
    shift = np.uint64(_BITS - choice.key_bits)
    pairs, all_pairs = _near_pairs(moved, shift, distance, most_comparisons)
    pairs = _moved_back(pairs.ravel(), choice.order).reshape(-1, 2)
    among, all_among = _near_others(
        moved, np.sort(_moved(others, choice.order)), shift, distance, most_comparisons
    )
    return _Found(
        near=np.sort(pairs.ravel()),
        further=np.sort(pairs.max(axis=1)),
        among=np.sort(_moved_back(among, choice.order)),
        complete=all_pairs and all_among,
    )


def _near_pairs(
    moved: Hashes, shift: np.uint64, distance: int, most_comparisons: int
) -> tuple[Hashes, bool]:
    """Return the pairs (p, 2) of hashes that are near and have one key; and whether all are there.

    The comparisons allowed are shared out among blocks; half of them are for those in need.
    """
    starts = range(0, moved.size - 1, _BLOCK)
    share = most_comparisons // (2 * len(starts) or 1)
    reserve, complete = most_comparisons // 2, True
    found = [np.empty((0, 2), np.uint64)]
    for start in starts:
        allowed, step = reserve + share, 1
        end = min(start + _BLOCK, moved.size - 1)
        first = np.flatnonzero((moved[start:end] ^ moved[start + 1 : end + 1]) >> shift == 0)
        first += start
        while first.size and allowed > 0:
            left, right = moved[first], moved[first + step]
            near = np.bitwise_count(left ^ right) <= distance
            found.append(np.stack([left[near], right[near]], axis=1))
            allowed -= first.size
            step += 1
            first = first[: np.searchsorted(first, moved.size - step)]
            first = first[(moved[first] ^ moved[first + step]) >> shift == 0]
        reserve = max(0, allowed)
        complete &= not first.size
    return np.concatenate(found), complete


def _near_others(
    moved: Hashes, others: Hashes, shift: np.uint64, distance: int, most_comparisons: int
) -> tuple[Hashes, bool]:
    """Return the hashes near any of `others` that has their key; and whether all are there."""
    lowest = (others >> shift) << shift
    start = np.searchsorted(moved, lowest)
    end = np.searchsorted(moved, lowest | np.uint64((1 << int(shift)) - 1), side="right")
    total = np.cumsum(end - start)
    fitting = int(np.searchsorted(total, most_comparisons, side="right"))
    found = [np.empty(0, np.uint64)]
    for place in range(fitting):
        candidates = moved[start[place] : end[place]]
        found.append(candidates[np.bitwise_count(candidates ^ others[place]) <= distance])
    return np.concatenate(found), fitting == others.size


def _moved(hashes: Hashes, order: Sequence[Band]) -> Hashes:
    """Put the bands in this order, the first to the highest bits."""
    moves, place = [], _BITS
    for low, width in order:
        place -= width
        moves.append((low, width, place))
    return _with_bands(hashes, moves)


def _moved_back(moved: Hashes, order: Sequence[Band]) -> Hashes:
    moves, place = [], _BITS
    for low, width in order:
        place -= width
        moves.append((place, width, low))
    return _with_bands(moved, moves)


def _with_bands(hashes: Hashes, moves: Sequence[tuple[int, int, int]]) -> Hashes:
    """Move bits; block by block, which stay in the processor's cache."""
    result = np.empty_like(hashes)
    for start in range(0, hashes.size, _BLOCK):
        block = hashes[start : start + _BLOCK]
        target = np.zeros_like(block)
        for source, width, destination in moves:
            mask = np.uint64((1 << width) - 1)
            target |= ((block >> np.uint64(source)) & mask) << np.uint64(destination)
        result[start : start + _BLOCK] = target
    return result


def _compare_with(
    moved: Hashes, others: Hashes, shift: np.uint64, distance: int, most_comparisons: int
) -> tuple[Hashes, bool]:
    """Return the hashes near any of `others`, both sorted, and whether all were seen."""
    place = np.searchsorted(moved, (others >> shift) << shift)
    last = (others >> shift) << shift | np.uint64((1 << int(shift)) - 1)
    end = np.searchsorted(moved, last, side="right")
    found, seen = [np.empty(0, np.uint64)], 0
    while (left := np.flatnonzero(place < end)).size and seen < most_comparisons:
        candidates = moved[place[left]]
        found.append(candidates[np.bitwise_count(candidates ^ others[left]) <= distance])
        place[left] += 1
        seen += left.size
    return np.concatenate(found), not left.size
