"""What the dispatch needs of a cluster: room, workers, answers, and the time.

Ray is one (`jobs/ray_cluster.py`); the simulation of a large one is another
(`benchmarks/simulated_cluster.py`), so that both run the same dispatch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from batchscan.run.observer import ShardReport, WorkerFacts
from batchscan.run.shard import Shard

from .vacancy import Vacancy


class WorkerDied(Exception):
    """A worker is dead; `unreachable` says that its machine has not been heard of for a while."""

    def __init__(self, reason: str, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


class WorkerNotPlaced(Exception):
    """A worker's machine left the cluster before the worker could start."""


class Cluster(Protocol):
    """Machines that can have workers. Workers and tickets mean something to the cluster alone."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """List the machines as `ray.nodes()` does: `NodeID`, `Alive`, `Resources`."""

    def resources(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Count all CPUs and GPUs, and those that are free."""

    def hire(self, vacancy: Vacancy, *, spill: bool) -> tuple[Any, Any]:
        """Start a worker; returns it, and the ticket for the word that it is ready.

        `spill` lets it go to another machine where this one turns out to be full.
        """

    def node_of(self, worker: Any) -> str:
        """Name the machine where a worker is that is ready."""

    def submit(self, worker: Any, shard: Shard) -> Any:
        """Put a shard behind what the worker has to do; returns a ticket for the answer."""

    def wait(self, tickets: Sequence[Any], timeout: float, *, at_least: int = 1) -> Sequence[Any]:
        """Wait until answers are there or `timeout` seconds are over; returns whose they are.

        With no tickets the time passes all the same.
        """

    def answer(self, ticket: Any) -> WorkerFacts | ShardReport:
        """Return a worker's answer.

        Raises `WorkerDied`, `WorkerNotPlaced`, or the `BatchscanError` that ends the run.
        """

    def end(self, worker: Any) -> None:
        """End a worker, whatever it is busy with."""
