"""What is still to be given to workers, and what becomes of a shard whose worker died.

A worker notes which images it has in work (`batchscan.run.desk`). So a death says whom to
suspect: each suspect is tried once more, alone; the images before and behind are given out again as
two shards.
No image that is sound is read more than twice because of one that kills or hangs.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from batchscan.archive.reading import file_state
from batchscan.errors import ImageFailure
from batchscan.run.desk import LastWords, last_words
from batchscan.run.observer import Observer, ShardReport
from batchscan.run.shard import Shard, row_without_score
from batchscan.run.worker import Job, commit_part, note_file
from batchscan.schema import score_table

_ATTEMPTS = 2  # Deaths of a worker under a shard before the shard is halved, or its image given up.
_MACHINES = 5  # Machines lost under it before the same: one image seldom ends a whole machine.


@dataclass(frozen=True)
class Attempt:
    """A shard on its way: how many workers have died under it, and whether it may kill more.

    `machines` counts workers that were lost with all of their machine, `deaths` the others.
    """

    shard: Shard
    deaths: int = 0
    machines: int = 0
    suspect: bool = False


class Attempts:
    """Shards in the order in which workers get them; those that come back take precedence."""

    def __init__(self, job: Job, observer: Observer, shards: Iterator[Shard]) -> None:
        self._job = job
        self._observer = observer
        self._source = (Attempt(shard) for shard in shards)
        self._again: deque[Attempt] = deque()
        self._suspects: deque[Attempt] = deque()
        self._pieces = itertools.count(1)
        self._exhausted = False

    def any_left(self) -> bool:
        """Say whether there may be something to give out."""
        return bool(self._suspects or self._again) or not self._exhausted

    def next(self, *, alone: bool) -> Attempt | None:
        """Choose what a worker gets; a suspect goes to an idle one, so that it delays no other."""
        if alone and self._suspects:
            return self._suspects.popleft()
        if self._again:
            return self._again.popleft()
        attempt = next(self._source, None)
        self._exhausted = attempt is None
        return attempt

    def put_back(self, attempts: Iterable[Attempt]) -> None:
        """Take back what a dead worker had not begun."""
        self._again.extend(attempts)

    def died(self, attempt: Attempt, *, machine_lost: bool = False) -> None:
        """Take back what a worker was busy with when it died, alone or with its machine."""
        deaths = attempt.deaths + (not machine_lost)
        machines = attempt.machines + machine_lost
        attempt = replace(attempt, deaths=deaths, machines=machines)
        shard = attempt.shard
        words = last_words(note_file(self._job, shard))
        images = len(shard.images)
        if words.late:
            self._say(
                f"a worker gave an image up that took too long; {images - 1:,} others go on",
                "image_given_up",
            )
            self._without_late(shard, words)
        elif images == 1 and _is_spent(attempt):
            self._say("a worker died; its one image is given up", "image_given_up")
            self._give_up(shard, "timeout" if words.stalled else "decoder_crash")
        else:
            what = f"{images:,} images are" if images > 1 else "one image is"
            self._say(f"a worker died; its {what} given to another", "worker_lost")
            self._try_again(attempt, words)

    def _try_again(self, attempt: Attempt, words: LastWords) -> None:
        shard = attempt.shard
        if len(shard.images) > 1 and words.in_work:
            for number in words.in_work:
                alone = self._piece(shard, shard.images[number : number + 1])
                deaths, machines = min(attempt.deaths, 1), min(attempt.machines, 1)
                self._suspects.append(Attempt(alone, deaths, machines, suspect=True))
            self._put_rest_back(shard, words.in_work)
        elif not _is_spent(attempt):
            self._suspects.append(replace(attempt, suspect=True))
        else:  # Nobody knows which image it is, if it is one.
            self._suspects.extend(Attempt(half, suspect=True) for half in shard.halves())

    def _without_late(self, shard: Shard, words: LastWords) -> None:
        """Give up what took too long; what other threads had in work is not to blame."""
        for number in words.late:
            self._give_up(self._piece(shard, shard.images[number : number + 1]), "timeout")
        self._put_rest_back(shard, words.late)

    def _put_rest_back(self, shard: Shard, taken: tuple[int, ...]) -> None:
        """Give out all but the numbers `taken`: what was read before them, and what was not yet."""
        end = max(taken) + 1
        before = [name for number, name in enumerate(shard.images[:end]) if number not in taken]
        for images in (tuple(before), shard.images[end:]):
            if images:
                self._again.append(Attempt(self._piece(shard, images)))

    def _piece(self, shard: Shard, images: tuple[str, ...]) -> Shard:
        """Make a shard of some images of another; short names, however often that happens."""
        return Shard(f"{shard.name.partition('~')[0]}~{next(self._pieces)}", images)

    def _give_up(self, shard: Shard, category: str) -> None:
        """Commit the rows of images that nobody tries any more."""
        reason = "each worker that opened this image died"
        if category == "timeout":
            seconds = self._job.rules.decode_seconds
            reason = f"reading and decoding takes longer than {seconds:g} seconds"
        failure, root, rules = ImageFailure(category, reason), self._job.root, self._job.rules
        rows = [
            row_without_score(name, failure, file_state(root, name), rules) for name in shard.images
        ]
        commit_part(self._job, shard, score_table(rows, self._job.classes))
        self._observer.shard_done(ShardReport(images=len(rows), failed=len(rows)))

    def _say(self, text: str, kind: str) -> None:
        self._observer.notice(text, kind)


def _is_spent(attempt: Attempt) -> bool:
    return attempt.deaths >= _ATTEMPTS or attempt.machines >= _MACHINES
