"""The dispatch over a simulated cluster: nothing lost, nothing twice, and all end together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.scale_simulation import Outcome, simulate
from benchmarks.simulated_cluster import Fleet

CALM = Fleet(workers=20, spread=0.0, slow_share=0.0, deaths_per_shard=0.0)


def run(fleet: Fleet, images: int = 20_000) -> Outcome:
    """Simulate without the driver's own time: the outcome follows from the options alone."""
    return simulate(fleet, images, free=True)


def test_calm_run() -> None:
    """Workers that are all alike have work until the end."""
    found = run(CALM)
    assert (found.lost, found.counted, found.deaths) == (0, found.images, 0)
    assert found.efficiency > 0.97
    assert found.tail_seconds < 0.3


@pytest.mark.parametrize("seed", range(5))
def test_workers_that_die(seed: int) -> None:
    """Whoever dies and when, each image is done, and the driver counts it once."""
    found = run(replace(CALM, deaths_per_shard=0.05, slow_share=0.2, spread=0.3, seed=seed))
    assert found.deaths > 0
    assert (found.lost, found.counted) == (0, found.images)


def test_slow_workers() -> None:
    """Nobody waits for workers ten times as slow: others take what they have in their hands."""
    found = run(replace(CALM, slow_share=0.2, slow_times=10.0))
    assert (found.lost, found.counted) == (0, found.images)
    # A worker that is as slow as that needs 10 s for a whole shard, and has two.
    assert found.tail_seconds < 4.0


def test_more_workers_than_shards() -> None:
    """An archive that is small for its cluster is cut for all of it."""
    found = run(replace(CALM, workers=50), images=2_000)
    assert (found.lost, found.counted) == (0, 2_000)


@pytest.mark.parametrize("seed", [11, *range(200, 210)])
def test_copies_that_die_too(seed: int) -> None:
    """A shard whose worker died, and that of its copy, and again whoever got it, is still done."""
    fleet = Fleet(workers=6, spread=0.3, slow_share=0.4, slow_times=20.0, seed=seed)
    found = simulate(replace(fleet, deaths_per_shard=0.3), 600, shard_size=64, free=True)
    assert found.counted == found.images
