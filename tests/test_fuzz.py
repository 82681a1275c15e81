"""Damaged files of every format: whatever the bytes are, each gives one row, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from fuzzing import mutate, outcome, phantom_files, with_right_sums

# pytest shows warnings that the program itself keeps from the user.
pytestmark = pytest.mark.filterwarnings("ignore")

FILES = phantom_files()


@pytest.mark.parametrize("encoding", FILES)
def test_damaged_files(tmp_path: Path, encoding: str) -> None:
    """Each of many damaged files of each format becomes one row that says what it is."""
    rng, found = random.Random(encoding), Counter[str]()
    others = list(FILES.values())
    for number in range(60):
        ways, data = mutate(rng, FILES[encoding], rng.choice(others))
        try:
            found[outcome(tmp_path, data)] += 1
        except BaseException as error:
            raise AssertionError(f"mutation {number} of {encoding}: {ways}: {error!r}") from error
    assert found.total() == 60
    assert found.total() > found["scored"], "damage that harms nothing tests nothing"


@pytest.mark.parametrize("encoding", FILES)
def test_sound_files(tmp_path: Path, encoding: str) -> None:
    """The files that are damaged are sound before."""
    assert outcome(tmp_path, FILES[encoding]) in {"scored", "colour"}


def test_same_damage() -> None:
    """The same seed does the same damage, so that what was found can be found again."""
    data, other = FILES["jpeg"], FILES["png"]
    twice = [[mutate(random.Random(seed), data, other) for seed in range(50)] for _ in range(2)]
    assert twice[0] == twice[1]
    assert len({damaged for _, damaged in twice[0]}) > 40


def test_right_sums() -> None:
    """A sound PNG has right sums already; a damaged one is given them."""
    data = FILES["png"]
    assert with_right_sums(data) == data
    damaged = data[:40] + b"?" + data[41:]
    assert with_right_sums(damaged) not in (data, damaged)
