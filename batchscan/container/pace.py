"""Signs of life from inside a container.

The first image that is read from a large compressed tar can lie behind an hour of other members.
Who limits the time that an image may take looks here whether its thread is getting on.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator

_inside: set[int] = set()
_steps = itertools.count(1)
_last = 0


@contextlib.contextmanager
def inside_container() -> Iterator[None]:
    """Note this thread as one that opens, passes through or waits for a container."""
    me = threading.get_ident()
    _inside.add(me)
    try:
        yield
    finally:
        _inside.discard(me)


def step() -> None:
    """Note that some thread has come further in a container."""
    global _last
    _last = next(_steps)


def steps_of(thread: int) -> int | None:
    """Return a number that changes while any container gets on; None if `thread` is in none."""
    return _last if thread in _inside else None
