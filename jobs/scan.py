"""The distributed scan: shards go to Ray actors that pull them.

Actors, not Ray Data: a shard's pixels never leave the worker that reads them, a fast worker simply
takes more shards, and on a machine with few cores nothing waits for a core that its own pool holds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from batchscan.config import ScanConfig
from batchscan.errors import BatchscanError, WorkerError
from batchscan.run.observer import Observer, Progress, ShardReport
from batchscan.run.pipeline import run_scan
from batchscan.run.plan import taper
from batchscan.run.shard import Shard
from batchscan.run.summary import ScanSummary
from batchscan.run.worker import Job, ShardWorker, committed, has_gpu, note_file, score_here

from .attempts import Attempt, Attempts
from .copies import Copies
from .hand import Hand, Pace
from .session import ray_session, same_environment

if TYPE_CHECKING:
    from types import ModuleType

_QUEUE = 2  # Shards per worker: one in work, one waiting, so that no worker waits for the driver.
_STARTS = 3  # Deaths of starting workers in a row, with none at work, that end the run.
_ROLL_CALL_SECONDS = 5.0
_NOTICE_SECONDS = 60.0
_FAREWELL_SECONDS = 10.0
_STUCK_LOOKS = 10
_STUCK_TIMES = 5.0


def scan(config: ScanConfig, progress: Progress | None = None) -> ScanSummary:
    """Run a scan as `config` says; see `batchscan.run.pipeline.run_scan`."""
    dispatch = score_here if config.workers == 0 else partial(_score_on_ray, config)
    with same_environment():
        return run_scan(config, dispatch, progress)


def _score_on_ray(
    config: ScanConfig, job: Job, model: bytes, shards: Iterator[Shard], observer: Observer
) -> None:
    # Beside a GPU, `workers` bounds the workers but not the cores, which one worker decodes on.
    cores = None if has_gpu() else config.workers
    with ray_session(workers=cores, address=config.address, verbose=config.verbose) as ray:
        _Crew(ray, job, model, config, observer, shards).work()


class _Crew:
    """The workers of a run: hired where the cluster has room, replaced when they die."""

    def __init__(
        self,
        ray: ModuleType,
        job: Job,
        model: bytes,
        config: ScanConfig,
        observer: Observer,
        shards: Iterator[Shard],
    ) -> None:
        self._ray = ray
        self._job = job
        self._model = ray.put(model)
        self._limit = config.workers
        self._per_gpu = config.workers_per_gpu
        self._observer = observer
        self._hands: list[Hand] = []
        tapered = taper(shards, lambda: _QUEUE * len(self._hands))
        self._attempts = Attempts(job, observer, tapered)
        self._copies = Copies()
        self._pace = Pace()
        self._failed_starts = 0
        self._next_roll_call = 0.0
        self._next_look = 0.0
        self._next_notice = time.monotonic() + 10.0

    def work(self) -> None:
        """Score all shards; returns when every part is committed."""
        while True:
            self._call_roll()
            more = self._hand_out()
            if not more and not any(self._unfinished(hand) for hand in self._hands):
                self._dismiss_stragglers()
                return
            self._collect()
            self._end_stuck()
            self._explain_waiting()
            self._observer.tick()

    def _call_roll(self) -> None:
        """Hire what nodes have room for; also on nodes that joined since the last time."""
        if time.monotonic() < self._next_roll_call:
            return
        self._next_roll_call = time.monotonic() + _ROLL_CALL_SECONDS
        for node in self._ray.nodes():
            if not node["Alive"]:
                continue
            present = sum(hand.node == node["NodeID"] for hand in self._hands)
            gpus = int(node["Resources"].get("GPU", 0))
            cpus = int(node["Resources"].get("CPU", 0))
            for _ in range(present, gpus * self._per_gpu or cpus):
                if self._limit is not None and len(self._hands) >= self._limit:
                    return
                self._hire(node["NodeID"], gpus, cpus)

    def _hire(self, node: str, gpus: int, cpus: int) -> None:
        """Start one worker: on a GPU where the node has any, or a part of one; else on a CPU core.

        A worker on a GPU decodes in as many threads as its share of the node's cores allows.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Where only some workers are wanted, they need not wait for a node that others have filled.
        spill = self._limit is not None
        place = NodeAffinitySchedulingStrategy(node, soft=spill, _spill_on_unavailable=spill)
        options: dict[str, Any] = {
            "num_cpus": min(1, cpus / (gpus * self._per_gpu)) if gpus else min(1, cpus),
            "num_gpus": 1 / self._per_gpu if gpus else 0,
            "scheduling_strategy": place,
            "max_restarts": 0,
        }
        threads = max(2, cpus // (gpus * self._per_gpu)) if gpus else 1
        actor = (
            self._ray.remote(ShardWorker)
            .options(**options)
            .remote(self._job, self._model, threads=threads, device="gpu" if gpus else "cpu")
        )
        needs = "GPU" if gpus else "CPU"
        self._hands.append(Hand(actor, node, needs, starting=actor.start.remote()))

    def _hand_out(self) -> bool:
        """Fill the queues of ready workers; False when there is nothing left to hand out."""
        for depth in range(_QUEUE):
            for hand in self._hands:
                if not hand.ready or len(hand.queue) != depth or hand.has_suspect():
                    continue
                attempt = self._attempts.next(alone=depth == 0)
                if attempt is None and depth == 0:
                    attempt = self._copy_for(hand)
                if attempt is not None:
                    hand.give(attempt)
        return self._attempts.any_left()

    def _unfinished(self, hand: Hand) -> bool:
        return any(self._copies.is_needed(attempt) for _, attempt in hand.queue)

    def _copy_for(self, idle: Hand) -> Attempt | None:
        """Choose what an idle worker does a second time, when there is nothing else to do.

        That is what a straggler has in its queue, and at last what it has in work.
        """
        others = [hand for hand in self._hands if hand is not idle and not hand.has_suspect()]
        for hand in sorted(others, key=lambda hand: hand.since):
            if hand.queue and self._pace.is_late(hand.queue[0][1], hand.since):
                for _, attempt in reversed(hand.queue):
                    if self._copies.may_copy(attempt):
                        return self._copies.copy(attempt)
        return None

    def _end_stuck(self) -> None:
        """End workers that not even their own watchdog can end: a stopped process does nothing.

        They have five times as long as an image may take, and ten seconds at least.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + 1.0
        limit = max(_STUCK_LOOKS, _STUCK_TIMES * self._job.rules.decode_seconds)
        for hand in self._hands:
            if not hand.queue:
                continue
            if hand.stands_still(note_file(self._job, hand.queue[0][1].shard)) > limit:
                hand.looks = 0
                self._observer.notice("a worker stands still and is ended", "worker_stuck")
                self._ray.kill(hand.actor)

    def _dismiss_stragglers(self) -> None:
        """End workers that are busy with what others have done, before the parts are merged."""
        stragglers = [hand for hand in self._hands if hand.queue]
        for hand in stragglers:
            self._ray.kill(hand.actor)
        left = [reference for hand in stragglers for reference, _ in hand.queue]
        if left:
            self._ray.wait(left, num_returns=len(left), timeout=_FAREWELL_SECONDS)

    def _collect(self) -> None:
        """Wait up to a second for something to happen, and deal with all that has."""
        waiting: dict[Any, Hand] = {}
        for hand in self._hands:
            waiting |= {reference: hand for reference, _ in hand.queue}
            if not hand.ready:
                waiting[hand.starting] = hand
        if not waiting:
            time.sleep(0.5)
            return
        done, _ = self._ray.wait(list(waiting), num_returns=1, timeout=1.0)
        for reference in done:
            if waiting[reference] in self._hands:
                self._receive(reference, waiting[reference])

    def _receive(self, reference: Any, hand: Hand) -> None:
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(reference)
        except errors.RayTaskError as error:
            raise _told_by(error, quote=not self._job.rules.hide_paths) from error
        except errors.ActorUnschedulableError:
            self._hands.remove(hand)  # Its machine left the cluster before it could start.
            return
        except (errors.RayActorError, errors.OutOfMemoryError, errors.WorkerCrashedError) as error:
            self._bury(hand, error)
            return
        if reference == hand.starting:
            hand.ready, self._failed_starts = True, 0
            self._observer.worker_ready(answer)
            if answer.warning:
                self._observer.notice(answer.warning, "warning")
        else:
            attempt, seconds = hand.take(reference)
            self._pace.add(len(attempt.shard.images), seconds)
            self._report(attempt, answer)

    def _report(self, attempt: Attempt, report: ShardReport) -> None:
        if self._copies.is_first(attempt):
            self._observer.shard_done(report)

    def _bury(self, hand: Hand, error: Exception) -> None:
        """A worker died: its shards go back."""
        self._hands.remove(hand)
        self._next_roll_call = 0.0
        if not hand.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS and not any(hand.ready for hand in self._hands):
                reason = " ".join(str(error).split())
                raise WorkerError(f"workers die while they start: {reason[:300]}")
            return
        queue = deque(attempt for _, attempt in hand.queue)
        while queue and (report := committed(self._job, queue[0].shard)):
            # It was done; only the word of it died with the worker.
            self._report(queue.popleft(), report)
        if queue and self._copies.is_lost(first := queue.popleft()):
            self._attempts.died(first)
        self._attempts.put_back(attempt for attempt in queue if self._copies.is_lost(attempt))

    def _explain_waiting(self) -> None:
        """Say what the run waits for, when it does."""
        pending = [hand for hand in self._hands if not hand.ready]
        if not pending and self._hands:
            return
        if time.monotonic() < self._next_notice:
            return
        self._next_notice = time.monotonic() + _NOTICE_SECONDS
        self._observer.notice(self._waiting_text(pending), "waiting")

    def _waiting_text(self, pending: list[Hand]) -> str:
        if not self._hands:
            return "waiting: the cluster has no machine with a free CPU or GPU for a worker"
        total, free = self._ray.cluster_resources(), self._ray.available_resources()
        needs = sorted({hand.needs for hand in pending})
        state = ", ".join(
            f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s are free" for kind in needs
        )
        going = len(self._hands) - len(pending)
        rest = f"{going} others are at work" if going else "the run starts when one is free"
        return f"waiting: {len(pending)} workers need a {' or '.join(needs)} each; {state}; {rest}"


def _told_by(error: Any, *, quote: bool) -> BatchscanError:
    """Turn what a worker raised into the error that the user reads, which may not `quote` paths."""
    cause = error.cause
    if isinstance(cause, BatchscanError):
        return cause
    text = f": {cause}" if quote else ""
    return WorkerError(f"a worker failed unexpectedly: {type(cause).__name__}{text}")
