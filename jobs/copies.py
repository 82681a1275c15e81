"""Second copies of shards, for the end of a run, when one slow worker would keep all others idle.

Original and copy are parts of different names with the same rows; the merge takes each path once.
Whichever is committed first counts, and nobody waits for the other.
"""

from __future__ import annotations

from dataclasses import replace

from batchscan.run.shard import Shard

from .attempts import Attempt

_COPY = "~copy"


class Copies:
    """Knows which attempts are at the same images, and which images are done."""

    def __init__(self) -> None:
        self._original: dict[str, str] = {}
        self._at_work: dict[str, int] = {}
        self._done: set[str] = set()

    def may_copy(self, attempt: Attempt) -> bool:
        """Say whether a shard may be given out a second time; one that may kill is not."""
        return not attempt.suspect and attempt.shard.name not in self._original

    def copy(self, attempt: Attempt) -> Attempt:
        """Make the copy that another worker gets."""
        shard = attempt.shard
        second = Shard(_other_name(shard.name), shard.images)
        self._original[shard.name] = self._original[second.name] = shard.name
        self._at_work[shard.name] = 2
        return replace(attempt, shard=second)

    def is_first(self, attempt: Attempt) -> bool:
        """Take note that an attempt is committed; False if its images were done already."""
        name = self._original.get(attempt.shard.name)
        if name is None:
            return True
        first = name not in self._done
        self._done.add(name)
        return first

    def is_lost(self, attempt: Attempt) -> bool:
        """Take note that an attempt's worker died; False where another is at it, or was.

        One that is lost with its copy begins anew: as if it never had one.
        """
        name = self._original.get(attempt.shard.name)
        if name is None:
            return True
        self._at_work[name] -= 1
        if name in self._done or self._at_work[name]:
            return False
        self._original = {each: of for each, of in self._original.items() if of != name}
        return True

    def is_needed(self, attempt: Attempt) -> bool:
        """Say whether an attempt's images are still to be done."""
        return self._original.get(attempt.shard.name) not in self._done


def _other_name(name: str) -> str:
    """Name a shard's copy. Of a copy that is left alone the original is gone, and its name free."""
    return name.removesuffix(_COPY) if name.endswith(_COPY) else name + _COPY
