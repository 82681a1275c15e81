"""Walking a folder tree in the order of whole paths, through links, but in no circles."""

from __future__ import annotations

import os
from collections.abc import Iterator

from batchscan.archive.display import display_path, sort_key
from batchscan.archive.long_path import reachable
from batchscan.archive.notes import ListingNotes
from batchscan.archive.recognition import NOTHING_THERE, is_named_image
from batchscan.archive.selection import Selection
from batchscan.container.kind import INSIDE, is_container
from batchscan.container.member import SPECIAL


def walk_files(
    root: str, notes: ListingNotes, selection: Selection, skip: frozenset[str]
) -> Iterator[str]:
    """Yield the relative path of every file, depth first, in the order of the whole paths.

    Where the members of a container come in, its path is yielded again, with `!/` behind it.
    """
    guard = _LinkGuard(root, notes)
    stack = [("", False, iter(_entries(root, "", notes)))]
    while stack:
        prefix, outside, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
        elif not entry.endswith("/") or _leads_into_container(os.path.join(root, prefix + entry)):
            yield prefix + entry
        else:
            name = prefix + entry[:-1]
            folder = os.path.join(root, name)
            if not selection.enters(display_path(name)) or os.path.realpath(folder) in skip:
                continue
            beyond = outside or _is_link(folder)
            if not beyond or guard.admits(folder):
                stack.append((prefix + entry, beyond, iter(_entries(folder, name, notes))))


def _leads_into_container(path: str) -> bool:
    return path.endswith(INSIDE) and not os.path.isdir(path)


def _entries(folder: str, name: str, notes: ListingNotes) -> list[str]:
    """List a folder's files and, with a `/` behind them, its folders, in the order of paths.

    A container is listed twice: as the file that it is, and like a folder whose name ends in `!`.

    `b/` sorts behind `b.jpeg` although `b` would not: so the order is that of the whole paths.
    """
    try:
        with reachable(folder) as path, os.scandir(path) as entries:
            names = [_entry_name(entry, name, notes) for entry in entries]
    except OSError:
        notes.unreadable_folders.append(display_path(name))
        return []
    inside = {name + INSIDE for name in names if is_container(name)}
    return sorted(inside.union(filter(None, names)), key=sort_key)


def _entry_name(entry: os.DirEntry[str], folder: str, notes: ListingNotes) -> str:
    """Return "" for what is neither a file nor a folder (pipes, sockets, devices), and count it.

    A link through a closed folder counts as a file; as it may lead to a folder, that is noted.
    """
    try:
        if entry.is_dir():
            return entry.name + "/"
        if entry.is_file():
            return entry.name
        # A dangling link counts: if its name says image, its row says that nothing is behind it.
        if entry.is_symlink() and not os.path.exists(entry.path):
            return entry.name
        notes.other_files[SPECIAL] += 1
        return ""
    except OSError as error:
        if error.errno not in NOTHING_THERE and not is_named_image(entry.name):
            notes.unreadable_folders.append(display_path(os.path.join(folder, entry.name)))
        return entry.name


def _is_link(folder: str) -> bool:
    with reachable(folder) as path:
        return os.path.islink(path)


class _LinkGuard:
    """Admits each folder that is reached through a symbolic link once, and no loops."""

    def __init__(self, root: str, notes: ListingNotes) -> None:
        self._root = os.path.realpath(root)
        self._seen = {self._identity(root)}
        self._notes = notes

    def admits(self, folder: str) -> bool:
        real = os.path.realpath(folder)
        identity = self._identity(folder)
        inside = _is_link(folder) and (real + "/").startswith(self._root.rstrip("/") + "/")
        if inside or identity in self._seen:
            self._notes.repeated_links += 1
            return False
        self._seen.add(identity)
        return True

    @staticmethod
    def _identity(folder: str) -> tuple[int, int]:
        try:
            with reachable(folder) as path:
                status = os.stat(path)
        except OSError:
            return (-1, -1)
        return (status.st_dev, status.st_ino)
