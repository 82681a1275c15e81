"""Machines on which workers die while they start, over a simulated cluster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batchscan.errors import WorkerError
from batchscan.run.observer import Progress, ShardReport
from batchscan.run.shard import Shard
from batchscan.run.worker import Job
from benchmarks.simulated_cluster import Clock, Costs, Fleet, SimulatedCluster, Worker
from jobs.dispatch import Dispatch
from jobs.hand import Hand
from jobs.waiting import waiting_text


class BadMachines(SimulatedCluster):
    """A cluster of machines of two workers, on the first `bad` of which none ever starts."""

    def __init__(self, machines: int, bad: int) -> None:
        fleet = Fleet(2 * machines, cores=2, seconds_per_image=1.0, slow_share=0.0)
        super().__init__(fleet, Clock(free=True), Costs(), self._mark)
        self._bad = {node["NodeID"] for node in self.nodes()[:bad]}
        self.marked: Counter[str] = Counter()

    def _mark(self, shard: Shard) -> bool:
        self.marked.update(shard.images)
        return True

    def _finish(self, worker: Worker, moment: float) -> None:
        if worker.node in self._bad:
            self._kill(worker)
        else:
            super()._finish(worker, moment)

    def hired_by_bad(self) -> int:
        return sum(worker.node in self._bad for worker in self.workers)


class Notes(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.done = 0

    def shard_done(self, report: ShardReport) -> None:
        self.done += report.images

    def notice(self, text: str, kind: str = "notice") -> None:
        self.texts.append(f"{kind}: {text}")


def work(cluster: SimulatedCluster, folder: Path, **options: Any) -> Notes:
    notes = Notes()
    shards = (Shard(f"s{n:08d}", tuple(f"{n}-{i}.png" for i in range(20))) for n in range(20))
    Dispatch(
        cluster, Job(str(folder), str(folder), 1, "onnx", 144), shards, notes, **options
    ).work()
    return notes


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_a_machine_where_no_worker_starts(tmp_path: Path, limit: int | None) -> None:
    """A machine on which workers die while they start costs no run that others can do.

    The user is told, and it gets no more than a few each minute.
    """
    cluster = BadMachines(machines=2, bad=1)
    notes = work(cluster, tmp_path, limit=limit)
    assert notes.done == 400
    minutes = 1 + cluster.now() / 60
    assert 3 <= cluster.hired_by_bad() <= 4 * minutes
    told = [text for text in notes.texts if text.startswith("warning: workers die while they")]
    assert 1 <= len(told) <= minutes


def test_no_machine_where_a_worker_starts(tmp_path: Path) -> None:
    """Where no machine can start workers, the run ends and says why."""
    cluster = BadMachines(machines=3, bad=3)
    with pytest.raises(WorkerError, match="workers die while they start: killed"):
        work(cluster, tmp_path)
    assert cluster.hired_by_bad() <= 3 * 6


def test_a_gpu_without_a_core() -> None:
    """A run that waits for a core of a GPU's machine says so, not only that the GPU is free."""
    pending = Hand("worker", "node", "GPU", "starting")
    text = waiting_text([pending], {"CPU": 1.0, "GPU": 1.0}, {"GPU": 1.0})
    assert "0 of 1 CPUs are free, 1 of 1 GPUs are free" in text
