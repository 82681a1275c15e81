"""A Ray cluster's workers: one actor each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from batchscan.errors import BatchscanError, WorkerError
from batchscan.run.observer import ShardReport, WorkerFacts
from batchscan.run.shard import Shard
from batchscan.run.worker import Job, ShardWorker

from .cluster import WorkerDied, WorkerNotPlaced
from .vacancy import Vacancy


@dataclass(frozen=True, eq=False)
class _Worker:
    """An actor, its node, and a ticket for the node where it is in fact, if that may be another."""

    actor: Any
    node: str
    place: Any


class RayCluster:
    """Actors on the nodes of a Ray cluster; tickets are Ray's object references."""

    def __init__(self, ray: ModuleType, job: Job, model: bytes) -> None:
        self._ray = ray
        self._job = job
        self._model = ray.put(model)
        self._actors = ray.remote(ShardWorker)  # Once: Ray pickles and publishes it for 10 ms.

    def now(self) -> float:
        """Seconds of this machine's clock."""
        return time.monotonic()

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """List the cluster's nodes, also those that have left."""
        found: list[Mapping[str, Any]] = self._ray.nodes()
        return found

    def resources(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Count all CPUs and GPUs, and those that are free."""
        return self._ray.cluster_resources(), self._ray.available_resources()

    def hire(self, vacancy: Vacancy, *, spill: bool) -> tuple[_Worker, Any]:
        """Start an actor on a node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        affinity = NodeAffinitySchedulingStrategy(
            vacancy.node, soft=spill, _spill_on_unavailable=spill
        )
        options: dict[str, Any] = {
            "num_cpus": vacancy.cpus,
            "num_gpus": vacancy.gpus,
            "scheduling_strategy": affinity,
            "max_restarts": 0,
        }
        actor = self._actors.options(**options).remote(
            self._job, self._model, threads=vacancy.threads, device=vacancy.device
        )
        place = actor.__ray_call__.remote(_asking_where()) if spill else None
        return _Worker(actor, vacancy.node, place), actor.start.remote()

    def node_of(self, worker: _Worker) -> str:
        """Name the node where a worker is that is ready."""
        return worker.node if worker.place is None else str(self._ray.get(worker.place))

    def submit(self, worker: _Worker, shard: Shard) -> Any:
        """Put a shard behind what the worker has to do."""
        return worker.actor.run.remote(shard)

    def wait(self, tickets: Sequence[Any], timeout: float, *, at_least: int = 1) -> Sequence[Any]:
        """Wait until answers are there, or the time is over."""
        if not tickets:
            time.sleep(timeout)
            return []
        done, _ = self._ray.wait(list(tickets), num_returns=at_least, timeout=timeout)
        return list(done)

    def answer(self, ticket: Any) -> WorkerFacts | ShardReport:
        """Return a worker's answer; raises what `jobs.cluster.Cluster` says."""
        errors = self._ray.exceptions
        try:
            answer: WorkerFacts | ShardReport = self._ray.get(ticket)
        except errors.RayTaskError as error:
            raise _told_by(error, quote=not self._job.rules.hide_paths) from error
        except errors.ActorUnschedulableError as error:
            raise WorkerNotPlaced from error
        except (errors.RayActorError, errors.OutOfMemoryError, errors.WorkerCrashedError) as error:
            unreachable = isinstance(error, errors.ActorUnavailableError)
            raise WorkerDied(_reason(str(error)), unreachable=unreachable) from error
        return answer

    def end(self, worker: _Worker) -> None:
        """Kill an actor."""
        self._ray.kill(worker.actor)


def _asking_where() -> Callable[[ShardWorker], str]:
    """Return what names a worker's node; nested, so that it travels by its code."""

    def node_here(_worker: ShardWorker) -> str:
        import ray

        return str(ray.get_runtime_context().get_node_id())

    return node_here


def _reason(text: str) -> str:
    """Leave out the indented lines in which Ray identifies an actor: what follows says why."""
    return " ".join(line for line in text.splitlines() if not line.startswith("\t"))


def _told_by(error: Any, *, quote: bool) -> BatchscanError:
    """Turn what a worker raised into the error that the user reads, which may not `quote` paths."""
    cause = error.cause
    if isinstance(cause, BatchscanError):
        return cause
    text = f": {cause}" if quote else ""
    return WorkerError(f"a worker failed unexpectedly: {type(cause).__name__}{text}")
