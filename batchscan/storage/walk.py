"""Walking a bucket: folder by folder in the order of whole paths, with what comes next on its way.

A request takes tens of milliseconds, so the next few folders are listed, and the first bytes of the
next few files read, while the ones before them are dealt with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from batchscan.storage.location import Uri
from batchscan.storage.objects import Entry, FileState, list_folder, read_head

_THREADS = 16
_FOLDERS_AHEAD = 8
_FILES_AHEAD = 64


@dataclass(frozen=True)
class Visitor:
    """What a walk asks its caller: the order of names, which folders count, and who hears of those
    that cannot be read. Paths are relative to the root, without a trailing `/`."""

    order: Callable[[str], str]
    enters: Callable[[str], bool]
    unreadable: Callable[[str], None]


def walk(root: Uri, visitor: Visitor) -> Iterator[tuple[str, FileState]]:
    """Yield the relative path and the state of every object below `root`, depth first."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from _below(root, "", pool.submit(list_folder, root), pool, visitor)


def with_heads(
    root: Uri,
    objects: Iterator[tuple[str, FileState]],
    wanted: Callable[[str], bool],
    count: int,
) -> Iterator[tuple[str, FileState, bytes | OSError | None]]:
    """Add to each object its first `count` bytes, or why they cannot be read.

    None stands for those that are not wanted.
    """
    waiting: deque[tuple[str, FileState, Future[bytes] | None]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for name, state in objects:
            head = pool.submit(read_head, root / name, count) if wanted(name) else None
            waiting.append((name, state, head))
            if len(waiting) > _FILES_AHEAD:
                yield _arrived(*waiting.popleft())
        while waiting:
            yield _arrived(*waiting.popleft())


def _arrived(
    name: str, state: FileState, head: Future[bytes] | None
) -> tuple[str, FileState, bytes | OSError | None]:
    try:
        return name, state, head.result() if head else None
    except OSError as error:
        return name, state, error


def _below(
    root: Uri,
    prefix: str,
    listing: Future[list[Entry]],
    pool: ThreadPoolExecutor,
    visitor: Visitor,
) -> Iterator[tuple[str, FileState]]:
    """Yield what is below one folder; `prefix` is empty or ends in `/`."""
    entries = _sorted(prefix, listing, visitor)
    folders = (entry for entry in entries if _is_entered(prefix, entry, visitor))
    coming = (pool.submit(list_folder, root / (prefix + entry.name)) for entry in folders)
    ahead = deque(islice(coming, _FOLDERS_AHEAD))
    for entry in entries:
        if entry.state is not None:
            yield prefix + entry.name, entry.state
        elif _is_entered(prefix, entry, visitor):
            yield from _below(root, f"{prefix}{entry.name}/", ahead.popleft(), pool, visitor)
            ahead.extend(islice(coming, 1))


def _is_entered(prefix: str, entry: Entry, visitor: Visitor) -> bool:
    return entry.state is None and bool(entry.name) and visitor.enters(prefix + entry.name)


def _sorted(prefix: str, listing: Future[list[Entry]], visitor: Visitor) -> list[Entry]:
    """Return a folder's entries in the order of whole paths; a folder sorts as if it ended in `/`.

    What Arrow cannot read is said to be unreadable: keys with nothing between two slashes.
    """
    try:
        entries = listing.result()
    except OSError:
        visitor.unreadable(prefix[:-1])
        return []
    if any(entry.state is None and not entry.name for entry in entries):
        visitor.unreadable(prefix)
    return sorted(
        entries, key=lambda entry: visitor.order(entry.name + ("/" if entry.state is None else ""))
    )
