"""A shelf of open containers: those used last stay open, so that each is opened about once."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from batchscan.archive.local_file import FileState
from batchscan.container.limits import DEFAULT_CONTAINER_LIMITS

_MOST = 8


class Closable(Protocol):
    """What a shelf can hold."""

    def weight(self) -> int:
        """Return about how many bytes of memory it takes."""

    def close(self) -> None:
        """Close its file."""


C = TypeVar("C", bound=Closable)


@dataclass
class Held(Generic[C]):
    """An open container, the state of its file when it was opened, and who uses it.

    `sizes` are those of its images, once it was listed: name -> number in its order, bytes.
    """

    container: C
    state: FileState
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    users: int = 0
    evicted: bool = False


class Shelf(Generic[C]):
    """Open containers by name, at most a few; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # Opening a nested container reads from its outer one.
        self._held: OrderedDict[str, Held[C]] = OrderedDict()

    @contextlib.contextmanager
    def borrow(self, name: str, state: FileState, open_it: Callable[[], C]) -> Iterator[Held[C]]:
        """Lend a container whose file is in this state, opened if need be.

        It is not closed while it is lent. Raises what `open_it` does.
        """
        with self._lock:
            held = self._held.get(name)
            if held is None or held.state != state:
                self._remove(name)
                held = self._held[name] = Held(open_it(), state)
            self._held.move_to_end(name)
            held.users += 1
            self._make_room()
        try:
            yield held
        finally:
            with self._lock:
                held.users -= 1
                self._close_if_free(held)

    def clear(self) -> None:
        """Close all that nobody uses, and the others when they come back."""
        with self._lock:
            for name in list(self._held):
                self._remove(name)

    def _make_room(self) -> None:
        """Put away what was used longest ago; what was asked for last stays in any case."""
        room = DEFAULT_CONTAINER_LIMITS.held_bytes
        weight = sum(_weight(held) for held in self._held.values())
        while len(self._held) > 1 and (len(self._held) > _MOST or weight > room):
            oldest = next(iter(self._held))
            weight -= _weight(self._held[oldest])
            self._remove(oldest)

    def _remove(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            held.evicted = True
            self._close_if_free(held)

    def _close_if_free(self, held: Held[C]) -> None:
        if held.evicted and held.users == 0:
            held.container.close()


def _weight(held: Held[C]) -> int:
    return held.container.weight() + 200 * len(held.sizes)
