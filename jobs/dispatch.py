"""The dispatch: which worker gets which shard, and what becomes of it.

It knows no Ray, only a `Cluster`, so that `benchmarks/scale_simulation.py` can run it as it is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from batchscan.errors import WorkerError
from batchscan.run.observer import Observer, ShardReport, WorkerFacts
from batchscan.run.plan import taper
from batchscan.run.shard import Shard
from batchscan.run.worker import Job, committed, note_file

from .attempts import Attempt, Attempts
from .cluster import Cluster, WorkerDied, WorkerNotPlaced
from .copies import Copies
from .failed_starts import FailedStarts
from .hand import Hand, Pace
from .vacancy import vacancies
from .waiting import waiting_text

_QUEUE = 2  # Shards per worker: one in work, one waiting, so that no worker waits for the driver.
_ROLL_CALL_SECONDS = 5.0
_FIRST_NOTICE_SECONDS = 10.0  # From the start, or from a worker's death.
_NOTICE_SECONDS = 60.0
_FAREWELL_SECONDS = 10.0
_CALLS_FOR_ALL = 20
_COPIED_FOR_SECONDS = 1.0  # What a copy must gain.
_STUCK_LOOKS = 10
_STUCK_TIMES = 5.0


class Dispatch:
    """Gives shards to workers, who are hired where there is room and replaced when they die.

    `limit` is how many workers there may be, None for as many as the cluster has room for;
    `per_gpu` how many share a GPU.
    """

    def __init__(
        self,
        cluster: Cluster,
        job: Job,
        shards: Iterator[Shard],
        observer: Observer,
        *,
        limit: int | None = None,
        per_gpu: int = 1,
    ) -> None:
        self._cluster = cluster
        self._job = job
        self._limit = limit
        self._per_gpu = per_gpu
        self._observer = observer
        self._hands: list[Hand] = []
        tapered = taper(shards, lambda: len(self._hands))
        self._attempts = Attempts(job, observer, tapered)
        self._copies = Copies()
        self._pace = Pace()
        self._failed = FailedStarts()
        self._next_roll_call = 0.0
        self._next_look = 0.0
        self._next_notice = self._cluster.now() + _FIRST_NOTICE_SECONDS

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

    def dismiss(self) -> None:
        """End all workers, who have nothing to do any more."""
        for hand in self._hands:
            self._cluster.end(hand.worker)

    def _call_roll(self) -> None:
        """Hire what nodes have room for; also on nodes that joined since the last time."""
        now = self._cluster.now()
        if now < self._next_roll_call:
            return
        self._next_roll_call = now + _ROLL_CALL_SECONDS
        present = Counter(hand.node for hand in self._hands)
        nodes = [n for n in self._cluster.nodes() if self._failed.may_hire(n["NodeID"], now)]
        for vacancy in vacancies(nodes, present, per_gpu=self._per_gpu):
            if self._limit is not None and len(self._hands) >= self._limit:
                return
            # Where only some are wanted, they need not wait for a node that others have filled.
            worker, starting = self._cluster.hire(vacancy, spill=self._limit is not None)
            self._hands.append(Hand(worker, vacancy.node, vacancy.device.upper(), starting))

    def _hand_out(self) -> bool:
        """Fill the queues of ready workers; False when there is nothing left to hand out."""
        copies: Iterator[Attempt] | None = None
        for depth in range(_QUEUE):
            for hand in self._hands:
                if not hand.ready or len(hand.queue) != depth or hand.has_suspect():
                    continue
                attempt = self._attempts.next(alone=depth == 0)
                if attempt is None and depth == 0:
                    copies = copies or self._copies_of_late()
                    attempt = next(copies, None)
                if attempt is not None:
                    self._give(hand, attempt)
        return self._attempts.any_left()

    def _give(self, hand: Hand, attempt: Attempt) -> None:
        ticket = self._cluster.submit(hand.worker, attempt.shard)
        hand.give(ticket, attempt, self._cluster.now())

    def _unfinished(self, hand: Hand) -> bool:
        return any(self._copies.is_needed(attempt) for _, attempt in hand.queue)

    def _copies_of_late(self) -> Iterator[Attempt]:
        """Choose what idle workers do a second time, when there is nothing else to do.

        That is what slow workers have in their queues, and at last what they have in work.
        """
        now = self._cluster.now()
        gains = [gain for hand in self._hands for gain in hand.gains(now, self._pace)]
        for seconds, attempt in sorted(gains, key=lambda gain: gain[0], reverse=True):
            if seconds > _COPIED_FOR_SECONDS and self._copies.may_copy(attempt):
                yield self._copies.copy(attempt)

    def _end_stuck(self) -> None:
        """End workers that not even their own watchdog can end: a stopped process does nothing.

        They have five times as long as an image may take, and ten seconds at least.
        """
        if self._cluster.now() < self._next_look:
            return
        seconds = _STUCK_TIMES * self._job.rules.decode_seconds
        self._next_look = self._cluster.now() + max(1.0, seconds / _STUCK_LOOKS)
        for hand in self._hands:
            if not hand.queue:
                continue
            if hand.stands_still(note_file(self._job, hand.queue[0][1].shard)) > _STUCK_LOOKS:
                hand.looks = 0
                self._observer.notice("a worker stands still and is ended", "worker_stuck")
                self._cluster.end(hand.worker)

    def _dismiss_stragglers(self) -> None:
        """End workers that are busy with what others have done, before the parts are merged."""
        stragglers = [hand for hand in self._hands if hand.queue]
        for hand in stragglers:
            self._cluster.end(hand.worker)
        left = [ticket for hand in stragglers for ticket, _ in hand.queue]
        if left:
            self._cluster.wait(left, _FAREWELL_SECONDS, at_least=len(left))

    def _collect(self) -> None:
        """Wait up to a second for something to happen, and deal with all that has.

        Of many workers several must be done, or a tenth of a second be over: each has a shard in
        its queue, and looking after all of them takes milliseconds.
        """
        waiting = {ticket: hand for hand in self._hands for ticket, _ in hand.queue}
        waiting |= {hand.starting: hand for hand in self._hands if not hand.ready}
        several = max(1, min(len(waiting), len(self._hands) // _CALLS_FOR_ALL))
        timeout = (1.0 if several == 1 else 0.1) if waiting else 0.5
        done = self._cluster.wait(list(waiting), timeout, at_least=several)
        for ticket in done:
            if waiting[ticket] in self._hands:
                self._receive(ticket, waiting[ticket])

    def _receive(self, ticket: Any, hand: Hand) -> None:
        try:
            answer = self._cluster.answer(ticket)
        except WorkerNotPlaced:
            self._hands.remove(hand)
            return
        except WorkerDied as death:
            self._bury(hand, death)
            return
        if isinstance(answer, WorkerFacts):
            self._welcome(hand, answer)
        else:
            attempt, seconds = hand.take(ticket, self._cluster.now())
            self._pace.add(len(attempt.shard.images), seconds)
            self._report(attempt, answer)

    def _welcome(self, hand: Hand, facts: WorkerFacts) -> None:
        hand.ready, hand.node = True, self._cluster.node_of(hand.worker)
        self._failed.started(hand.node)
        self._observer.worker_ready(facts)
        if facts.warning:
            self._observer.notice(facts.warning, "warning")

    def _report(self, attempt: Attempt, report: ShardReport) -> None:
        if self._copies.is_first(attempt):
            self._observer.shard_done(report)

    def _bury(self, hand: Hand, death: WorkerDied) -> None:
        """A worker died: its shards go back."""
        self._hands.remove(hand)
        self._observer.worker_lost()
        self._next_roll_call = 0.0
        self._next_notice = min(self._next_notice, self._cluster.now() + _FIRST_NOTICE_SECONDS)
        machine_lost = self._is_machine_lost(hand, death)
        if not hand.ready:
            if not machine_lost:
                self._note_failed_start(hand.node, death)
            return
        queue = deque(attempt for _, attempt in hand.queue)
        while queue and (report := committed(self._job, queue[0].shard)):
            # It was done; only the word of it died with the worker.
            self._report(queue.popleft(), report)
        if queue and self._copies.is_lost(first := queue.popleft()):
            self._attempts.died(first, machine_lost=machine_lost)
        self._attempts.put_back(attempt for attempt in queue if self._copies.is_lost(attempt))

    def _note_failed_start(self, node: str, death: WorkerDied) -> None:
        """End the run where no machine is left on which workers start; else go on with others."""
        reason = " ".join(str(death).split())[:300]
        said = self._failed.died(node, self._cluster.now())
        good = [n for n in self._cluster.nodes() if not self._failed.is_bad(n["NodeID"])]
        ready = any(hand.ready for hand in self._hands)
        if not ready and not vacancies(good, {}, per_gpu=self._per_gpu):
            raise WorkerError(f"workers die while they start: {reason}")
        if said:
            names = {n["NodeID"]: n.get("NodeManagerHostname", "?") for n in self._cluster.nodes()}
            where = f"on {names.get(node)}, which is left alone for a minute"
            text = f"workers die while they start {where}: {reason}"
            self._observer.notice(text, "warning")

    def _is_machine_lost(self, hand: Hand, death: WorkerDied) -> bool:
        """Say whether a worker died with all of its machine, for all that is known.

        A machine that lives tells at once what became of its worker; one that has not been heard of
        for a second is only unreachable.
        """
        if death.unreachable:
            return True
        return hand.node not in {node["NodeID"] for node in self._cluster.nodes() if node["Alive"]}

    def _explain_waiting(self) -> None:
        """Say what the run waits for, when it does."""
        if self._hands and all(hand.ready for hand in self._hands):
            return
        if self._cluster.now() < self._next_notice:
            return
        self._next_notice = self._cluster.now() + _NOTICE_SECONDS
        text = waiting_text(self._hands, *self._cluster.resources())
        self._observer.notice(text, "waiting")
