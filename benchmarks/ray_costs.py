"""What Ray's own calls cost a driver that has thousands of tasks outstanding.

    python -m benchmarks.ray_costs

The defaults of `benchmarks.simulated_cluster.Costs` are from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from types import ModuleType

from batchscan.run.shard import Shard
from batchscan.run.worker import Job
from benchmarks.simulated_cluster import Costs
from jobs.ray_cluster import RayCluster
from jobs.session import ray_session
from jobs.vacancy import Vacancy

OUTSTANDING = 2_000
_REPEATS = 300


def main() -> None:
    """Measure, and print."""
    print(f"microseconds of a driver with {OUTSTANDING:,} tasks outstanding")
    for name, seconds in asdict(measured_costs()).items():
        print(f"{name:15}{seconds * 1e6:8.1f}")


def measured_costs() -> Costs:
    """Measure on a Ray of this machine: seconds of each call, with `OUTSTANDING` tasks waiting."""
    with ray_session(workers=2) as ray:
        actor = ray.remote(_Actor).options(num_cpus=0, max_concurrency=2 * OUTSTANDING).remote()
        quick = ray.remote(_Actor).options(num_cpus=0).remote()
        names = tuple(f"site-001/000123/image-{number:09d}.jpeg" for number in range(256))
        shard = Shard("s00000001", names)
        held = [actor.hold.remote() for _ in range(OUTSTANDING)]
        references = [quick.answer.remote(shard) for _ in range(_REPEATS)]
        ray.wait(references, num_returns=_REPEATS)
        left = iter(references)
        few, many = references[:1], [*held, *references[:1]]
        wait = _seconds(lambda: ray.wait(few, num_returns=1, timeout=0))
        wait_for_many = _seconds(lambda: ray.wait(many, num_returns=len(many), timeout=0))
        return Costs(
            hire=_seconds_of_hiring(ray),
            submit=_seconds(lambda: quick.answer.remote(shard)),
            wait=wait,
            wait_for_each=max(0.0, wait_for_many - wait) / OUTSTANDING,
            get=_seconds(lambda: ray.get(next(left))),
        )


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(_REPEATS):
        call()
    return (time.perf_counter() - began) / _REPEATS


def _seconds_of_hiring(ray: ModuleType) -> float:
    """Measure with workers that stay in line: none of them finds so many cores."""
    cluster = RayCluster(ray, Job("/", "/", 1, "onnx", 144), b"")
    place = Vacancy(ray.get_runtime_context().get_node_id(), cpus=1_000, gpus=0, threads=1)
    hired: list[object] = []
    return _seconds(lambda: hired.append(cluster.hire(place, spill=False)))


class _Actor:
    def hold(self) -> None:
        """Outlast the measurement."""
        time.sleep(3600)

    def answer(self, shard: Shard) -> tuple[int, int]:
        """Answer at once, as much as a worker does."""
        return len(shard.images), 0


if __name__ == "__main__":
    main()
