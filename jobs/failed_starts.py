"""Workers that die while they start, and machines where that happens again and again.

Such a machine (short of memory, without batchscan) is left alone for a while, so that it neither
ends a run that others can do nor keeps on starting what dies.
"""

from __future__ import annotations

from collections import Counter

_STARTS = 3  # Deaths in a row on a machine before it is left alone,
_ALONE_SECONDS = 60.0  # for so long; each further one does the same.


class FailedStarts:
    """Counts for each machine how many workers died in a row while they started."""

    def __init__(self) -> None:
        self._deaths: Counter[str] = Counter()
        self._alone_until: dict[str, float] = {}

    def died(self, node: str, now: float) -> bool:
        """Take note of a death; True where it is why the machine is left alone from now on."""
        self._deaths[node] += 1
        first = self.may_hire(node, now)
        if self.is_bad(node):
            self._alone_until[node] = now + _ALONE_SECONDS
        return first and self.is_bad(node)

    def started(self, node: str) -> None:
        """Take note that a worker is ready: the machine is as good as any other."""
        self._deaths.pop(node, None)
        self._alone_until.pop(node, None)

    def is_bad(self, node: str) -> bool:
        """Say whether as many have died there as say that it is no accident."""
        return self._deaths[node] >= _STARTS

    def may_hire(self, node: str, now: float) -> bool:
        """Say whether a worker may be started there now."""
        return now >= self._alone_until.get(node, now)
