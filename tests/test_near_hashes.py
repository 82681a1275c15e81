"""The search for near hashes: against comparing all with all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from batchscan.report.trust import near_hashes
from batchscan.report.trust.near_hashes import bands, find_neighbours

Hashes = NDArray[np.uint64]

# A few hashes with bits turned: many pairs at and around each distance.
SEEDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4)
TURNS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 63), max_size=9)), max_size=40
)


def made(seeds: list[int], turns: list[tuple[int, list[int]]]) -> Hashes:
    values = [*seeds]
    for seed, bits in turns:
        value = seeds[seed % len(seeds)]
        for bit in bits:
            value ^= 1 << bit
        values.append(value)
    return np.unique(np.array(values, dtype=np.uint64))


def differing(one: Hashes, other: Hashes) -> NDArray[np.uint8]:
    return np.bitwise_count(one[:, np.newaxis] ^ other[np.newaxis])


@given(SEEDS, TURNS, TURNS, st.sampled_from([1, 2, 3, 4, 6, 10, 63]))
def test_same_as_comparing_all_with_all(
    seeds: list[int],
    turns: list[tuple[int, list[int]]],
    other_turns: list[tuple[int, list[int]]],
    distance: int,
) -> None:
    """Near hashes, those with a smaller one near, and those near others: none more, none less."""
    hashes, others = made(seeds, turns), made(seeds[:1], other_turns)
    close = differing(hashes, hashes) <= distance
    np.fill_diagonal(close, False)
    found = find_neighbours(hashes, others, distance)
    assert found.complete
    assert found.near.tolist() == close.any(axis=1).tolist()
    assert found.further.tolist() == np.tril(close, -1).any(axis=1).tolist()
    assert found.among.tolist() == (differing(hashes, others) <= distance).any(axis=1).tolist()


@pytest.mark.parametrize("distance", [1, 3, 4, 5])
def test_many_hashes_in_many_blocks(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut into blocks and the choice of bands change nothing."""
    random = np.random.default_rng(distance)
    seeds = random.integers(0, 2**64, 300, dtype=np.uint64)
    turned = random.choice(seeds, 1200)
    for _ in range(4):
        turned = turned ^ (np.uint64(1) << random.integers(0, 64, 1200, dtype=np.uint64))
    hashes = np.unique(np.concatenate([seeds, turned, np.arange(500, dtype=np.uint64)]))
    monkeypatch.setattr(near_hashes, "_BLOCK", 64)
    close = differing(hashes, hashes) <= distance
    np.fill_diagonal(close, False)
    found = find_neighbours(hashes, seeds, distance)
    assert found.near.tolist() == close.any(axis=1).tolist()
    assert found.further.tolist() == np.tril(close, -1).any(axis=1).tolist()
    assert found.among.tolist() == (differing(hashes, seeds) <= distance).any(axis=1).tolist()


def test_left_are_not_near() -> None:
    """Without those that are further, no two hashes are near."""
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**12, 800).astype(np.uint64))
    left = hashes[~find_neighbours(hashes, hashes[:0], 2).further]
    close = differing(left, left) <= 2
    np.fill_diagonal(close, False)
    assert left.size
    assert not close.any()


def test_work_is_bounded_and_said_to_be() -> None:
    """Where hashes resemble each other too much, fewer are found, none wrongly, and it is said."""
    hashes = np.arange(4096, dtype=np.uint64)
    others = np.arange(5000, 5010, dtype=np.uint64)
    found = find_neighbours(hashes, others, 4, most_comparisons=1000)
    whole = find_neighbours(hashes, others, 4)
    assert whole.complete
    assert not found.complete
    for some, everything in ((found.near, whole.near), (found.among, whole.among)):
        assert not (some & ~everything).any()


@pytest.mark.parametrize("count", range(1, 65))
def test_bands_cover_each_bit_once(count: int) -> None:
    """However many bands, each of the 64 bits is in one of them."""
    bits = [low + place for low, width in bands(count) for place in range(width)]
    assert sorted(bits) == list(range(64))
    assert len(bands(count)) == count


def test_no_hashes() -> None:
    """Of none, none is near; with no others, none is among them."""
    none = np.empty(0, np.uint64)
    assert find_neighbours(none, none, 4).near.size == 0
    assert not find_neighbours(np.array([5], np.uint64), none, 4).among.any()
