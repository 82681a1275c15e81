"""Ten million images on a thousand workers, simulated: does the driver keep them busy?

    python -m benchmarks.scale_simulation [--images 10000000] [--workers 1000] [--sweep]

Planning (`plan_shards`, `taper`) and dispatch (`jobs.dispatch`) are the real ones; the names of the
images, the workers and the clock are made up (`benchmarks/simulated_cluster.py`). What the driver
computes counts, in processor time of this machine's core. `--free-driver` leaves it out: then the
figures depend on nothing but the options. `--list-us` adds what listing costs for each file.
`--sweep` raises the number of workers, with as many images for each, until the driver is too slow.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batchscan.archive.notes import ListingNotes
from batchscan.run.observer import Progress, ShardReport
from batchscan.run.plan import FinishedRows, PlanCounts, plan_shards
from batchscan.run.shard import Shard
from batchscan.run.worker import Job
from benchmarks.simulated_cluster import Clock, Costs, Fleet, SimulatedCluster
from jobs.dispatch import Dispatch

SWEEP = (100, 300, 1_000, 2_000, 4_000, 8_000)


@dataclass(frozen=True)
class Outcome:
    """What a simulated run came to; times are seconds of the simulated clock."""

    workers: int
    images: int
    lost: int  # Images in no part.
    counted: int  # Images that the driver took for done: each once.
    seconds: float
    efficiency: float  # Share of the workers' time, once they have started, that went into rows.
    tail_seconds: float  # From the first worker that had nothing left to do.
    dispatches: int
    driver_seconds: float  # That it computed; the rest of the time it waited.
    deaths: int
    peak_mb: float


def main() -> None:
    """Read the options, simulate, print."""
    parser = argparse.ArgumentParser(description="The driver with many simulated workers")
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--shard-size", type=int, default=256)
    parser.add_argument("--image-ms", type=float, default=4.1, help="a worker's time for an image")
    parser.add_argument("--free-driver", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--list-us", type=float, default=0.0, help="listing, for each image")
    options = parser.parse_args()
    fleet = Fleet(options.workers, seconds_per_image=options.image_ms / 1000)
    listing = options.list_us / 1e6
    print(_HEAD, flush=True)
    for workers in SWEEP if options.sweep else (options.workers,):
        images = options.images * workers // options.workers
        case = (replace(fleet, workers=workers), images, options.shard_size)
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # So that peaks are its own.
            print(_line(pool.apply(simulate, (*case, options.free_driver, listing))), flush=True)


def simulate(
    fleet: Fleet, images: int, shard_size: int = 256, free: bool = False, listing: float = 0.0
) -> Outcome:
    """Run the driver over this many made-up images, each listed in so many seconds."""
    clock = Clock(free=free)
    seen = np.zeros(images, dtype=np.uint8)
    cluster = SimulatedCluster(fleet, clock, Costs(), lambda shard: _mark(seen, shard))
    watch = _Watch()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        job = Job(folder, folder, 1, "onnx", 144)
        shards = _shards(images, shard_size, clock, listing)
        clock.go_on()
        Dispatch(cluster, job, shards, watch).work()
        clock.stop()
    return _outcome(cluster, seen, watch)


def _outcome(cluster: SimulatedCluster, seen: NDArray[np.uint8], watch: _Watch) -> Outcome:
    workers, end = cluster.workers, cluster.clock.seconds
    useful = sum(worker.useful for worker in workers)
    # The time of a worker that replaces a dead one counts from that one's start.
    available = sum(end - worker.ready_at for worker in workers[: cluster.fleet.workers])
    return Outcome(
        workers=cluster.fleet.workers,
        images=len(seen),
        lost=int(np.count_nonzero(seen == 0)),
        counted=watch.done,
        seconds=end,
        efficiency=useful / available,
        tail_seconds=end - min(worker.idle_since for worker in workers if worker.alive),
        dispatches=cluster.dispatches,
        driver_seconds=cluster.clock.driver,
        deaths=cluster.deaths,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


class _Watch(Progress):
    """Counts what the driver takes for done."""

    def __init__(self) -> None:
        self.done = 0

    def shard_done(self, report: ShardReport) -> None:
        self.done += report.images


def _shards(images: int, shard_size: int, clock: Clock, listing: float) -> Iterator[Shard]:
    counts = PlanCounts()
    finished = FinishedRows(iter([]), lambda _: None, ListingNotes(), counts)
    names = _names(images)
    for shard in plan_shards(names, finished, counts, root="", shard_size=shard_size):
        clock.stop(listing * len(shard.images))
        clock.go_on()
        yield shard


def _names(images: int) -> Iterator[str]:
    for number in range(images):
        yield f"site-{number // 100_000:03d}/{number // 1000:06d}/image-{number:09d}.jpeg"


def _mark(seen: NDArray[np.uint8], shard: Shard) -> bool:
    """Take note of a shard's images; say whether any of them is new."""
    numbers = [int(name[-14:-5]) for name in shard.images]
    new = not seen[numbers].all()
    seen[numbers] = 1
    return new


_HEAD = (
    f"{'workers':>8}{'images':>12}{'lost':>6}{'doubled':>8}{'deaths':>7}{'seconds':>9}{'efficiency':>11}"
    f"{'tail s':>8}{'dispatches':>11}{'a second':>9}{'possible':>9}{'driver MB':>10}"
)


def _line(found: Outcome) -> str:
    return (
        f"{found.workers:8,}{found.images:12,}{found.lost:6}{found.counted - found.images:8}"
        f"{found.deaths:7}{found.seconds:9.1f}{found.efficiency:11.1%}{found.tail_seconds:8.1f}"
        f"{found.dispatches:11,}{found.dispatches / found.seconds:9.0f}"
        f"{found.dispatches / found.driver_seconds:9.0f}{found.peak_mb:10.0f}"
    )


if __name__ == "__main__":
    main()
