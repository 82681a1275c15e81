"""A listing under pseudonyms: for results that must not hold the paths of the archive.

A result is sorted by its column `path`, and planning and merging rely on that order. So the whole
listing is held and sorted by pseudonym: about 150 bytes for each image, 400 in containers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from os import fsdecode, fsencode
from pathlib import Path

from batchscan.archive.display import display_path
from batchscan.archive.listing import list_images
from batchscan.archive.local_file import FileState
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import file_state
from batchscan.container.kind import INSIDE
from batchscan.container.reading import in_reading_order
from batchscan.privacy.pseudonym import path_column, read_key, shown_path
from batchscan.rules import Rules

_DIGEST = 32  # Bytes.
_OTHER = "(other)"
_USUAL_KINDS = frozenset(
    {
        *(".7z", ".avi", ".bak", ".bin", ".csv", ".dat", ".db", ".dll", ".doc", ".docx", ".exe"),
        *(".gif", ".gz", ".html", ".inf", ".ini", ".iso", ".json", ".log", ".mp4", ".npy"),
        *(".parquet", ".pdf", ".rar", ".rtf", ".sql", ".svg", ".tmp", ".tsv", ".txt", ".xls"),
        *(".xlsx", ".xml", ".yaml"),
    }
)


class HiddenListing:
    """The images of an archive, ascending by their pseudonyms.

    `told` holds what the listing knew of files in containers and of objects on a store, in the
    order in which they are best read. By pseudonym they come in any order, and each would be looked
    for in its container, or asked for on its store, anew.
    """

    def __init__(self, root: str, names: Iterator[str], rules: Rules, notes: ListingNotes) -> None:
        """Go through the whole listing `names` of the archive `root`; `notes` are what it tells."""
        self.told: dict[str, FileState | None] = {}
        whole = Path(root).is_file()
        self._entries: list[bytes] = []
        for name in in_reading_order(root, self._telling(names, notes), rules):
            # One object for both, so that millions fit: the pseudonym's bytes, then the name's.
            self._entries.append(bytes.fromhex(path_column(name, rules)) + fsencode(name))
            if whole or INSIDE in name:
                self.told[name] = file_state(root, name)
        self._entries.sort()
        notes.state = None  # It is the last one's, which others must not be taken for.

    def _telling(self, names: Iterator[str], notes: ListingNotes) -> Iterator[str]:
        """Pass names on, and keep the states that a store's listing tells along with them."""
        for name in names:
            if notes.state is not None:
                self.told[name] = notes.state
            yield name

    def __iter__(self) -> Iterator[str]:
        """Yield the names, ascending by pseudonym."""
        return (fsdecode(entry[_DIGEST:]) for entry in self._entries)

    def containers_last(self, names: Iterator[str]) -> Iterator[str]:
        """Pass names on, but those in containers at the end, in the order to read them in."""
        inside = set()
        for name in names:
            if name in self.told:
                inside.add(name)
            else:
                yield name
        yield from (name for name in self.told if name in inside)

    def shown(self, pseudonym: str) -> str | None:
        """Return the path (`display_path`) behind a pseudonym; None if it was not listed."""
        digest = bytes.fromhex(pseudonym)
        place = bisect_left(self._entries, digest)
        if place == len(self._entries) or not self._entries[place].startswith(digest):
            return None
        return display_path(fsdecode(self._entries[place][_DIGEST:]))


def hidden_notes(notes: ListingNotes, rules: Rules) -> ListingNotes:
    """Return a listing's notes with pseudonyms for paths, and without unusual kinds of files.

    What stands behind the last dot of a name can be a part of somebody's.
    """

    def hidden(paths: list[str]) -> list[str]:
        return [shown_path(path, rules) for path in paths]

    kinds: Counter[str] = Counter()
    for kind, count in notes.other_files.items():
        usual = kind in _USUAL_KINDS or not kind.startswith(".")
        kinds[kind if usual else _OTHER] += count
    return replace(
        notes,
        other_files=kinds,
        unreadable_folders=hidden(notes.unreadable_folders),
        unread_containers=hidden(notes.unread_containers),
        duplicate_examples=hidden(notes.duplicate_examples),
    )


def find_paths(archive: str, key_file: str) -> Iterator[tuple[str, str]]:
    """Yield pseudonym and path of each image of an archive, for who has the key."""
    rules = Rules(id_key=read_key(Path(key_file)), hide_paths=True)
    for name in list_images(Path(archive), ListingNotes()):
        yield path_column(name, rules), display_path(name)
