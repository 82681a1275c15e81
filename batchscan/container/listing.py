"""Containers in the listing of an archive: looked into once, listed where they belong."""

from __future__ import annotations

import os
from collections.abc import Iterator

from batchscan.archive.display import display_path, sort_key
from batchscan.archive.notes import ListingNotes
from batchscan.archive.selection import Selection
from batchscan.container.kind import INSIDE
from batchscan.container.reading import ITSELF, look_inside
from batchscan.container.visit import Contents, Wanted
from batchscan.rules import Rules
from batchscan.storage.location import Location, Uri

_EXAMPLES = 5


def _file(root: Location, name: str = "") -> str | Uri:
    if isinstance(root, Uri):
        return root / name if name else root
    return os.path.join(root, name) if name else os.fspath(root)


class ContainerListing:
    """What a listing knows of the containers that it has come across."""

    def __init__(
        self, root: Location, notes: ListingNotes, selection: Selection, rules: Rules, *, peek: bool
    ) -> None:
        self._root = root
        self._notes = notes
        self._selection = selection
        self._rules = rules
        self._peek = peek
        self._waiting: dict[str, list[str]] = {}

    def whole_archive(self) -> Iterator[str]:
        """Yield the images of an archive that is a container itself."""
        names, damaged = self._look(_file(self._root), "")
        if damaged:
            names.append(ITSELF)
        yield from sorted(names, key=sort_key)

    def look_into(self, name: str) -> Iterator[str]:
        """Yield a container's own path if it is due a row; its images wait for their turn."""
        path = display_path(name)
        if not (self._selection.enters(path) and self._selection.enters(path + "!")):
            return
        if not self._selection.reaches(path + "!"):
            return
        images, damaged = self._look(_file(self._root, name), name + INSIDE)
        if images:
            self._waiting[name + INSIDE] = images
        if damaged and self._selection.takes(path):
            yield name
        elif damaged:
            self._notes.unread_containers.append(path)

    def members_of(self, prefix: str) -> Iterator[str]:
        """Yield the images of the container whose images' paths begin so."""
        yield from sorted(self._waiting.pop(prefix, []), key=sort_key)

    def waiting(self) -> list[str]:
        """Return the prefixes of the containers whose images have not had their turn."""
        return list(self._waiting)

    def _look(self, file: str | Uri, prefix: str) -> tuple[list[str], bool]:
        """Return the paths of a container's images, and whether something is wrong with it."""
        wanted = Wanted(
            lambda inner: self._selection.takes(display_path(prefix + inner)),
            lambda inner: self._selection.enters(display_path(prefix + inner)),
        )
        contents = look_inside(file, self._rules, wanted, peek=self._peek)
        self._note(contents, prefix)
        return [prefix + name for name in contents.images], contents.problem is not None

    def _note(self, contents: Contents, prefix: str) -> None:
        notes = self._notes
        notes.containers += 1
        notes.containers_without_images += not contents.images and contents.problem is None
        notes.other_files.update(contents.others)
        notes.unread_containers += [display_path(prefix + name) for name in contents.unread]
        notes.duplicate_members += len(contents.duplicates)
        room = _EXAMPLES - len(notes.duplicate_examples)
        named = contents.duplicates[: max(room, 0)]
        notes.duplicate_examples += [display_path(prefix + name) for name in named]
        if contents.unreadable:
            notes.unreadable_folders.append(display_path(prefix.removesuffix("/")))
