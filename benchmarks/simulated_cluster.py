"""A cluster in virtual time, for the real dispatch: workers that are busy, slow, or die.

The clock runs in two ways. Waiting costs no time here: the clock jumps to when enough workers are
done. What the driver computes between two calls takes the processor time that it takes for real, so
a driver that is too slow for its workers shows; and each call costs what Ray's own call costs
(`Costs`, see `benchmarks/ray_costs.py`).
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchscan.run.observer import ShardReport, WorkerFacts
from batchscan.run.shard import Shard
from jobs.cluster import WorkerDied
from jobs.vacancy import Vacancy


@dataclass(frozen=True)
class Costs:
    """Seconds of the driver for each call of Ray's, as measured with 2,000 tasks outstanding."""

    hire: float = 0.0012
    submit: float = 0.0003
    wait: float = 0.0001
    wait_for_each: float = 0.0000005  # For each task that is waited for.
    get: float = 0.00002


@dataclass(frozen=True)
class Fleet:
    """The simulated workers; a share of them is slower by a factor, and any may die at work."""

    workers: int
    cores: int = 16  # Workers on each node.
    seconds_per_image: float = 0.004
    seconds_per_shard: float = 0.02  # To write and rename a part.
    start_seconds: float = 3.0
    spread: float = 0.1  # Standard deviation of a shard's time, as a share of it.
    slow_share: float = 0.01
    slow_times: float = 3.0
    deaths_per_shard: float = 0.0005
    seed: int = 0


class Clock:
    """Virtual seconds; those that the driver computes are among them, unless it is `free`."""

    def __init__(self, *, free: bool = False) -> None:
        self._free = free
        self._since = time.thread_time()
        self.seconds = 0.0
        self.driver = 0.0  # Seconds that the driver has computed.

    def now(self) -> float:
        """Return the time, with what the driver has computed since the last call of anything."""
        return self.seconds + (0.0 if self._free else time.thread_time() - self._since)

    def stop(self, cost: float = 0.0) -> None:
        """Charge what the driver has computed since `go_on`, and the cost of a call."""
        spent = time.thread_time() - self._since + cost
        self.driver += spent
        if not self._free:
            self.seconds += spent

    def go_on(self) -> None:
        """Let the driver compute again."""
        self._since = time.thread_time()


@dataclass(eq=False)
class Ticket:
    """A task's future result; `worker` is whose task it is."""

    worker: Worker
    answer: WorkerFacts | ShardReport | WorkerDied | None = None


@dataclass(eq=False)
class Worker:
    """One simulated process: what is in its queue, and whether it lives."""

    number: int
    node: str
    slowness: float
    alive: bool = True
    queue: deque[tuple[Ticket, Shard | None]] = field(default_factory=deque)
    seconds: float = 0.0  # What the first task of the queue takes.
    useful: float = 0.0  # Seconds of work that went into rows.
    ready_at: float = 0.0
    idle_since: float = 0.0


class SimulatedCluster:
    """A cluster of `fleet.workers` workers; a `jobs.cluster.Cluster`.

    `done` is told of each shard that a worker finished, and says whether its images are new.
    """

    def __init__(
        self, fleet: Fleet, clock: Clock, costs: Costs, done: Callable[[Shard], bool]
    ) -> None:
        self.fleet = fleet
        self.clock = clock
        self.workers: list[Worker] = []
        self.dispatches = 0
        self.deaths = 0
        self._costs = costs
        self._done = done
        self._random = random.Random(fleet.seed)
        self._events: list[tuple[float, int, Ticket]] = []
        self._numbers = 0
        self._answered = 0

    # --- what the dispatch calls ------------------------------------------------------------------

    def now(self) -> float:
        """Return the virtual time."""
        return self.clock.now()

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """List machines of `fleet.cores` workers; the last may have fewer."""
        cores, workers = self.fleet.cores, self.fleet.workers
        return [
            {
                "Alive": True,
                "NodeID": f"{first:08d}",
                "Resources": {"CPU": min(cores, workers - first)},
            }
            for first in range(0, workers, cores)
        ]

    def resources(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Count the cores; none is free."""
        return {"CPU": float(self.fleet.workers)}, {"CPU": 0.0}

    def hire(self, vacancy: Vacancy, *, spill: bool) -> tuple[Worker, Ticket]:  # noqa: ARG002 - Nodes are never full here.
        """Add a worker, which begins to start."""
        slow = self._random.random() < self.fleet.slow_share
        slowness = self.fleet.slow_times if slow else 1.0
        worker = Worker(len(self.workers), vacancy.node, slowness)
        self.workers.append(worker)
        self.clock.stop(self._costs.hire - self._costs.submit)  # `_put` adds that of its start.
        self.clock.go_on()
        return worker, self._put(worker, None)

    def node_of(self, worker: Worker) -> str:
        """Name a worker's machine."""
        return worker.node

    def submit(self, worker: Worker, shard: Shard) -> Ticket:
        """Put a shard into a worker's queue."""
        self.dispatches += 1
        return self._put(worker, shard)

    def wait(
        self, tickets: Sequence[Ticket], timeout: float, *, at_least: int = 1
    ) -> Sequence[Ticket]:
        """Let time pass until so many tickets are answered, or the timeout is over."""
        self.clock.stop(self._costs.wait + self._costs.wait_for_each * len(tickets))
        until = self.clock.seconds + timeout
        self._run_until(self.clock.seconds)
        missing = at_least - sum(ticket.answer is not None for ticket in tickets)
        while missing > 0 and self._events and self._events[0][0] <= until:
            missing -= self._run_until(self._events[0][0])
        if missing > 0:
            self.clock.seconds = max(self.clock.seconds, until)
        # As of Ray's, no more than are asked for.
        answered = [ticket for ticket in tickets if ticket.answer is not None][:at_least]
        self.clock.go_on()
        return answered

    def answer(self, ticket: Ticket) -> WorkerFacts | ShardReport:
        """Return a worker's answer, or raise that it died."""
        self.clock.stop(self._costs.get)
        self.clock.go_on()
        if isinstance(ticket.answer, WorkerDied):
            raise ticket.answer
        assert ticket.answer is not None
        return ticket.answer

    def end(self, worker: Worker) -> None:
        """Kill a worker."""
        self.clock.stop(self._costs.submit)
        self._kill(worker)
        self.clock.go_on()

    # --- what happens -----------------------------------------------------------------------------

    def _put(self, worker: Worker, shard: Shard | None) -> Ticket:
        """Put a task into a worker's queue: a shard, or its start."""
        self.clock.stop(self._costs.submit)
        ticket = Ticket(worker)
        if worker.alive:
            worker.queue.append((ticket, shard))
            if len(worker.queue) == 1:
                self._begin(worker, self.clock.seconds)
        else:
            self._settle(ticket, WorkerDied("dead before"))
        self.clock.go_on()
        return ticket

    def _begin(self, worker: Worker, moment: float) -> None:
        ticket, shard = worker.queue[0]
        start = self.fleet.start_seconds
        worker.seconds = start if shard is None else self._seconds(worker, shard)
        worker.idle_since = moment + worker.seconds
        self._numbers += 1
        heapq.heappush(self._events, (worker.idle_since, self._numbers, ticket))

    def _seconds(self, worker: Worker, shard: Shard) -> float:
        images = len(shard.images) * self.fleet.seconds_per_image
        noise = max(0.2, self._random.gauss(1.0, self.fleet.spread))
        return (images * noise + self.fleet.seconds_per_shard) * worker.slowness

    def _run_until(self, moment: float) -> int:
        """Let everything happen that happens up to a moment; return how many tasks ended."""
        before = self._answered
        while self._events and self._events[0][0] <= moment:
            at, _, ticket = heapq.heappop(self._events)
            worker = ticket.worker
            if worker.alive and worker.queue and worker.queue[0][0] is ticket:
                self._finish(worker, at)
                self.clock.seconds = max(self.clock.seconds, at)
        return self._answered - before

    def _finish(self, worker: Worker, moment: float) -> None:
        ticket, shard = worker.queue[0]
        if shard is not None and self._random.random() < self.fleet.deaths_per_shard:
            self.deaths += 1
            self._kill(worker)
            return
        worker.queue.popleft()
        if shard is None:
            worker.ready_at = moment
            self._settle(ticket, WorkerFacts(worker.node, worker.number, "simulated"))
        else:
            worker.useful += worker.seconds if self._done(shard) else 0.0
            self._settle(ticket, ShardReport(len(shard.images), 0))
        if worker.queue:
            self._begin(worker, moment)

    def _kill(self, worker: Worker) -> None:
        worker.alive = False
        for ticket, _ in worker.queue:
            self._settle(ticket, WorkerDied("killed"))
        worker.queue.clear()

    def _settle(self, ticket: Ticket, answer: WorkerFacts | ShardReport | WorkerDied) -> None:
        ticket.answer = answer
        self._answered += 1
