"""Containers: zip and tar files whose members are images of the archive, read without unpacking.

The path of a member is `folder/file.zip!/inner/name.jpeg`. A container inside a container is read,
too (`outer.zip!/inner.zip!/name.jpeg`), one that lies deeper is not.
"""

from __future__ import annotations

import atexit
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import BinaryIO

from batchscan.container_limits import ContainerLimits
from batchscan.container_pace import inside_container
from batchscan.container_shelf import Held, Shelf
from batchscan.container_tar import TarContainer, TarCursor, TarStream
from batchscan.container_zip import ZipContainer
from batchscan.errors import ImageFailure
from batchscan.local_file import FileState, open_seekable, state_of
from batchscan.member import Member, Problem
from batchscan.rules import Rules
from batchscan.signature import EXTENSIONS, SNIFF_BYTES, sniff

INSIDE = "!/"
"""Separates a container's path from that of its member."""

ITSELF = "."
"""Stands for the archive where that is a container itself."""

_KINDS = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "gz",
    ".tgz": "gz",
    ".tar.zst": "zst",
    ".tzst": "zst",
}
_SUFFIXES = tuple(_KINDS)
_BOUNDARY = re.compile(r"\.(?:zip|tar|tar\.gz|tgz|tar\.zst|tzst)!/", re.IGNORECASE)
_TOO_DEEP = Problem("container_limit", "it lies in a container that lies in another one")

Container = ZipContainer | TarContainer | TarStream
_shelf: Shelf[Container] = Shelf()
atexit.register(_shelf.clear)


@dataclass(frozen=True)
class Wanted:
    """Which members count: `takes` is asked about files, `enters` about nested containers."""

    takes: Callable[[str], bool]
    enters: Callable[[str], bool]


@dataclass(frozen=True)
class Place:
    """The container's file, and the member's name in it; "" for the container itself."""

    file: str
    inner: str


@dataclass
class Contents:
    """What a container holds of what is wanted: names of images, in its own order, and the rest.

    A nested container that has a problem is among the images, or `unread` where its own name is not
    wanted. `unreadable`: the storage failed, so nobody knows.
    """

    images: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    problem: Problem | None = None
    unreadable: bool = False


def is_container(name: str) -> bool:
    """Say whether a file's name promises a container."""
    return name.lower().endswith(_SUFFIXES)


def locate(root: str, name: str) -> Place | None:
    """Find the container that a path leads into or to; None for a plain file.

    Where a folder's name ends in `.zip!`, the file system wins.
    """
    if is_container(root) and os.path.isfile(root):
        return Place(root, "" if name == ITSELF else name)
    for match in _BOUNDARY.finditer(name) if INSIDE in name else ():
        file = os.path.join(root, name[: match.end() - len(INSIDE)])
        if os.path.isfile(file) and not os.path.isdir(file + "!"):
            return Place(file, name[match.end() :])
    return Place(os.path.join(root, name), "") if is_container(name) else None


def look_inside(file: str, rules: Rules, wanted: Wanted, *, peek: bool = True) -> Contents:
    """List the images of a container. Members whose content can't be seen count as images.

    `peek=False` trusts the names, and leaves compressed tars and nested containers out. Raises
    nothing: what is wrong is in the result.
    """
    contents = Contents()
    if not peek and _is_stream(file):
        return contents
    try:
        with inside_container(), _shelf.borrow(file, state_of(file), _opener(file, rules)) as held:
            visitor = _Visitor(rules, wanted, peek, contents, held if peek else None)
            visitor.visit(held.container)
    except OSError as error:
        contents.unreadable = True
        denied = isinstance(error, PermissionError)
        contents.problem = Problem(
            "permission_denied" if denied else "read_error", str(error.errno)
        )
    if os.path.isdir(file + "!"):
        reason = "a folder beside it has the same name and an exclamation mark; rename one of them"
        contents.problem, contents.images = Problem("unsafe_name", reason), []
    return contents


def read_member(place: Place, rules: Rules) -> tuple[bytes, FileState]:
    """Read a member whole; raises `ImageFailure` or `OSError`.

    Its state is its own size, and the time when the container was changed last: so everything in a
    container that was replaced is scored anew, whatever times its members claim.
    """
    with inside_container():
        state = state_of(place.file)
        with _shelf.borrow(place.file, state, _opener(place.file, rules)) as held:
            if not place.inner:
                raise _own_problem(place.file, held.container, rules)
            outer, inner = _split(place.inner)
            if inner is None and not is_container(outer):
                data, member = _read(held.container, outer, rules)
                return data, FileState(member.size, state.modified)
            key = f"{place.file}{INSIDE}{outer}"
            with _shelf.borrow(key, state, partial(_open_nested, held, outer, rules)) as nested:
                if inner is None:
                    raise _own_problem("", nested.container, rules)
                if is_container(inner):
                    raise _TOO_DEEP.failure()
                data, member = _read(nested.container, inner, rules)
                return data, FileState(member.size, state.modified)


def member_state(place: Place, rules: Rules) -> FileState | None:
    """Return the state that `read_member` would, as far as can be told without reading it."""
    try:
        with inside_container():
            state = state_of(place.file)
            with _shelf.borrow(place.file, state, _opener(place.file, rules)) as held:
                if place.inner in held.sizes:
                    return FileState(held.sizes[place.inner][1], state.modified)
                outer, inner = _split(place.inner)
                member = held.container.find(outer)
                if inner is not None:
                    key = f"{place.file}{INSIDE}{outer}"
                    opener = partial(_open_nested, held, outer, rules)
                    with _shelf.borrow(key, state, opener) as nested:
                        member = nested.container.find(inner)
                return FileState(member.size, state.modified) if member else None
    except (OSError, ImageFailure):
        return None


def in_reading_order(root: str, names: Iterator[str], rules: Rules) -> Iterator[str]:
    """Reorder the members of each compressed tar, which come together, to the order of its stream.

    So a worker that is given them in this order goes through the stream once. The names of one
    compressed tar at a time are held.
    """
    whole = _is_stream(root) and os.path.isfile(root)
    for stream, group in groupby(names, lambda name: root if whole else _stream_of(name)):
        if stream is None:
            yield from group
        else:
            members = list(group)
            numbers = _stream_numbers(root, members, rules)
            yield from sorted(members, key=lambda name: numbers.get(name, -1))


def _stream_of(name: str) -> str | None:
    """Return the part of a path that names a compressed tar, if it leads into one."""
    if INSIDE not in name:
        return None
    ends = (match.end() for match in _BOUNDARY.finditer(name))
    return next((name[:end] for end in ends if _is_stream(name[: end - len(INSIDE)])), None)


def _is_stream(name: str) -> bool:
    return is_container(name) and _KINDS[_suffix(name)] in ("gz", "zst")


def _stream_numbers(root: str, names: list[str], rules: Rules) -> dict[str, int]:
    """Number members of one container, which was listed just now, in its own order."""
    place = locate(root, names[0])
    if place is None or not place.inner:
        return {}
    cut = len(names[0]) - len(place.inner)
    try:
        opener = _opener(place.file, rules)
        with _shelf.borrow(place.file, state_of(place.file), opener) as held:
            sizes = held.sizes
            return {name: sizes[name[cut:]][0] for name in names if name[cut:] in sizes}
    except OSError:
        return {}


def close_containers() -> None:
    """Close what this process holds open for the next image."""
    _shelf.clear()


def _suffix(name: str) -> str:
    lower = name.lower()
    return next(suffix for suffix in reversed(_SUFFIXES) if lower.endswith(suffix))


def _opener(file: str, rules: Rules) -> Callable[[], Container]:
    return partial(_open, file, partial(open_seekable, file), rules.containers)


def _open(name: str, open_file: Callable[[], BinaryIO], limits: ContainerLimits) -> Container:
    kind = _KINDS[_suffix(name)]
    if kind not in ("zip", "tar"):
        return TarStream(open_file, kind, limits)
    file = open_file()
    try:
        return (ZipContainer if kind == "zip" else TarContainer)(file, limits)
    except BaseException:
        file.close()
        raise


def _open_nested(held: Held[Container], outer: str, rules: Rules) -> Container:
    """Open a container that is a member, from memory; raises `ImageFailure`."""
    member = held.container.find(outer)
    if member is not None:
        _check_nested(member, rules.containers)
    data, _ = _read(held.container, outer, rules)
    return _open(outer, partial(io.BytesIO, data), rules.containers)


def _check_nested(member: Member, limits: ContainerLimits) -> None:
    if member.problem is None and member.size > limits.nested_bytes:
        raise ImageFailure(
            "container_limit",
            f"a container in a container of {member.size:,} bytes, more than the "
            f"{limits.nested_bytes:,} that are held in memory",
        )


def _read(container: Container, name: str, rules: Rules) -> tuple[bytes, Member]:
    if isinstance(container, TarStream):
        return container.read_named(name, rules)
    member = container.find(name)
    if member is None:
        raise ImageFailure("vanished", "the container does not hold the file any more")
    return container.read(member, rules), member


def _split(inner: str) -> tuple[str, str | None]:
    """Part a member's name from that of a member of it."""
    match = _BOUNDARY.search(inner)
    if match is None:
        return inner, None
    return inner[: match.end() - len(INSIDE)], inner[match.end() :]


def _own_problem(file: str, container: Container, rules: Rules) -> ImageFailure:
    """Say what is wrong with a container that the listing found to be damaged."""
    if file and os.path.isdir(file + "!"):
        reason = "a folder beside it has the same name and an exclamation mark; rename one of them"
        return ImageFailure("unsafe_name", reason)
    contents = Contents()
    visitor = _Visitor(rules, _EVERYTHING, bool(file), contents, None)
    visitor.visit(container)
    if contents.problem is not None:
        return contents.problem.failure()
    return ImageFailure("changed", "the container was damaged, and is not any more")


_EVERYTHING = Wanted(lambda _: True, lambda _: True)


class _Visitor:
    """Goes through a container and those in it, and sorts what is there."""

    def __init__(
        self,
        rules: Rules,
        wanted: Wanted,
        peek: bool,
        contents: Contents,
        held: Held[Container] | None,
    ) -> None:
        self._rules = rules
        self._wanted = wanted
        self._peek = peek
        self._contents = contents
        self._held = held
        self._count = 0
        self._nested_bytes = 0

    def visit(self, container: Container) -> None:
        """List a container; its own problem becomes that of the contents."""
        if self._held is not None:
            self._held.sizes.clear()
        try:
            self._visit(container, "")
        except _Enough:
            limits = self._rules.containers
            self._contents.problem = Problem(
                "container_limit",
                f"it and the containers in it hold more than {limits.members:,} members, or more "
                f"than {limits.expanded_bytes:,} bytes",
            )
        else:
            self._contents.problem = container.index.problem

    def _visit(self, container: Container, prefix: str) -> None:
        for member, reader in container.visit():
            self._count += 1
            if self._count > self._rules.containers.members:
                raise _Enough
            name = prefix + member.name
            if is_container(name) and self._peek and not (member.other or member.problem):
                self._visit_nested(name, member, reader, prefix)
            elif self._wanted.takes(name):
                self._sort(name, member, reader)
        self._contents.duplicates += [
            prefix + name
            for name in container.index.duplicates
            if self._wanted.takes(prefix + name)
        ]

    def _sort(
        self, name: str, member: Member, reader: ZipContainer | TarContainer | TarCursor
    ) -> None:
        if member.other is not None:
            self._contents.others[member.other] += 1
        elif self._is_image(member, reader):
            self._take(name, member)
        else:
            self._contents.others[_extension(name)] += 1

    def _take(self, name: str, member: Member) -> None:
        self._contents.images.append(name)
        if self._held is not None:
            self._held.sizes[name] = (len(self._held.sizes), member.size)

    def _is_image(self, member: Member, reader: ZipContainer | TarContainer | TarCursor) -> bool:
        if member.problem is not None or _extension(member.name) in EXTENSIONS:
            return True  # Its row says why nobody knows what it is.
        if not self._peek:
            return False
        try:
            return sniff(reader.head(member, SNIFF_BYTES)) is not None
        except ImageFailure:
            return True

    def _visit_nested(
        self,
        name: str,
        member: Member,
        reader: ZipContainer | TarContainer | TarCursor,
        prefix: str,
    ) -> None:
        if not self._wanted.enters(name):
            return
        try:
            if prefix:
                raise _TOO_DEEP.failure()
            _check_nested(member, self._rules.containers)
            self._nested_bytes += member.size
            if self._nested_bytes > self._rules.containers.expanded_bytes:
                raise _Enough
            data = reader.read(member, self._rules)
            nested = _open(name, partial(io.BytesIO, data), self._rules.containers)
            self._visit(nested, name + INSIDE)
            if nested.index.problem is not None:
                raise nested.index.problem.failure()
        except ImageFailure:
            if self._wanted.takes(name):
                self._take(name, member)
            else:
                self._contents.unread.append(name)


class _Enough(Exception):
    """A container and those in it hold too much."""


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "(no extension)"
