"""What the dispatch asks of Ray, without a Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from batchscan.run.worker import Job
from jobs.ray_cluster import RayCluster
from jobs.vacancy import Vacancy

NODE = "0123456789abcdef" * 3 + "01234567"
PLACE = Vacancy(NODE, cpus=1, gpus=0, threads=1)


@pytest.fixture
def ray() -> Any:
    """Make a Ray that records what it is asked for."""
    ray = MagicMock()
    actor = SimpleNamespace(start=MagicMock(), __ray_call__=MagicMock())
    ray.remote.return_value.options.return_value.remote.return_value = actor
    return ray


def test_workers_are_cheap_to_hire(ray: Any) -> None:
    """The worker's class is published once: each time costs the driver 10 ms."""
    cluster = RayCluster(ray, Job("/", "/", 1, "onnx", 144), b"model")
    workers = [cluster.hire(PLACE, spill=False)[0] for _ in range(3)]
    assert ray.remote.call_count == 1
    assert {cluster.node_of(worker) for worker in workers} == {NODE}
    ray.get.assert_not_called()


def test_a_worker_that_may_be_elsewhere(ray: Any) -> None:
    """A worker that may have gone to another machine is asked where it is."""
    ray.get.return_value = "node-b"
    cluster = RayCluster(ray, Job("/", "/", 1, "onnx", 144), b"model")
    worker, _ = cluster.hire(PLACE, spill=True)
    assert cluster.node_of(worker) == "node-b"
