"""Containers: zip and tar files whose members are images of the archive, read without unpacking.

The path of a member is `folder/file.zip!/inner/name.jpeg`. A container inside a container is read,
too (`outer.zip!/inner.zip!/name.jpeg`), one that lies deeper is not.
"""

from __future__ import annotations

import atexit
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from batchscan.archive.local_file import FileState, open_seekable, state_of
from batchscan.container.kind import (
    BOUNDARY,
    INSIDE,
    Container,
    is_container,
    is_stream,
    open_container,
)
from batchscan.container.member import Member, Problem
from batchscan.container.pace import inside_container
from batchscan.container.shelf import Held, Shelf
from batchscan.container.stream import TarStream
from batchscan.container.visit import (
    EVERYTHING,
    TOO_DEEP,
    Contents,
    Visitor,
    Wanted,
    check_nested,
)
from batchscan.errors import ImageFailure
from batchscan.rules import Rules
from batchscan.storage.location import Location, Uri, is_uri, location

ITSELF = "."
"""Stands for the archive where that is a container itself."""

_HIDDEN = Problem(
    "unsafe_name",
    "a folder beside it has the same name and an exclamation mark; rename one of them",
)
_shelf: Shelf[Container] = Shelf()
atexit.register(_shelf.clear)


@dataclass(frozen=True)
class Place:
    """The container's file, and the member's name in it; "" for the container itself."""

    file: str | Uri
    inner: str


def locate(root: str, name: str) -> Place | None:
    """Find the container that a path leads into or to; None for a plain file.

    Where a folder's name ends in `.zip!`, the file system wins. On a store, whose listing leads
    into no such folder where there is a container, names alone decide, without a request.
    """
    if is_uri(root):
        return _locate_object(root, name)
    if is_container(root) and os.path.isfile(root):
        return Place(root, "" if name == ITSELF else name)
    for match in BOUNDARY.finditer(name) if INSIDE in name else ():
        file = os.path.join(root, name[: match.end() - len(INSIDE)])
        if os.path.isfile(file) and not os.path.isdir(file + "!"):
            return Place(file, name[match.end() :])
    return Place(os.path.join(root, name), "") if is_container(name) else None


def _locate_object(root: str, name: str) -> Place | None:
    folder = location(root)
    assert isinstance(folder, Uri)
    if is_container(folder.name):
        return Place(folder, "" if name == ITSELF else name)
    match = BOUNDARY.search(name)
    if match:
        return Place(folder / name[: match.end() - len(INSIDE)], name[match.end() :])
    return Place(folder / name, "") if is_container(name) else None


def look_inside(file: str | Uri, rules: Rules, wanted: Wanted, *, peek: bool = True) -> Contents:
    """List the images of a container. Members whose content can't be seen count as images.

    `peek=False` trusts the names, and leaves compressed tars and nested containers out. Raises
    nothing: what is wrong is in the result.
    """
    contents = Contents()
    if not peek and is_stream(_name_of(file)):
        return contents
    try:
        with (
            inside_container(),
            _shelf.borrow(str(file), state_of(file), _opener(file, rules)) as held,
        ):
            visitor = Visitor(rules, wanted, peek, contents, held if peek else None)
            visitor.visit(held.container)
    except OSError as error:
        contents.unreadable = True
        denied = isinstance(error, PermissionError)
        contents.problem = Problem(
            "permission_denied" if denied else "read_error", str(error.errno)
        )
    if _is_hidden(file):
        contents.problem, contents.images = _HIDDEN, []
    return contents


def read_member(place: Place, rules: Rules) -> tuple[bytes, FileState]:
    """Read a member whole; raises `ImageFailure` or `OSError`.

    Its state is its own size, and the time when the container was changed last: so everything in a
    container that was replaced is scored anew, whatever times its members claim.
    """
    with inside_container():
        state = state_of(place.file)
        with _shelf.borrow(str(place.file), state, _opener(place.file, rules)) as held:
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
                    raise TOO_DEEP.failure()
                data, member = _read(nested.container, inner, rules)
                return data, FileState(member.size, state.modified)


def member_state(place: Place, rules: Rules) -> FileState | None:
    """Return the state that `read_member` would, as far as can be told without reading it."""
    try:
        with inside_container():
            state = state_of(place.file)
            with _shelf.borrow(str(place.file), state, _opener(place.file, rules)) as held:
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
    whole = is_stream(_name_of(location(root))) and (is_uri(root) or os.path.isfile(root))
    members: list[str] = []
    current = None
    for name in names:
        stream = root if whole else _stream_of(name)
        if members and stream != current:
            yield from _in_stream_order(root, members, rules)
            members = []
        if stream is None:
            yield name
        else:
            members.append(name)
        current = stream
    if members:
        yield from _in_stream_order(root, members, rules)


def _in_stream_order(root: str, members: list[str], rules: Rules) -> list[str]:
    numbers = _stream_numbers(root, members, rules)
    return sorted(members, key=lambda name: numbers.get(name, -1))


def _stream_of(name: str) -> str | None:
    """Return the part of a path that names a compressed tar, if it leads into one."""
    if INSIDE not in name:
        return None
    ends = (match.end() for match in BOUNDARY.finditer(name))
    return next((name[:end] for end in ends if is_stream(name[: end - len(INSIDE)])), None)


def _stream_numbers(root: str, names: list[str], rules: Rules) -> dict[str, int]:
    """Number members of one container, which was listed just now, in its own order."""
    place = locate(root, names[0])
    if place is None or not place.inner:
        return {}
    cut = len(names[0]) - len(place.inner)
    try:
        opener = _opener(place.file, rules)
        with _shelf.borrow(str(place.file), state_of(place.file), opener) as held:
            sizes = held.sizes
            return {name: sizes[name[cut:]][0] for name in names if name[cut:] in sizes}
    except OSError:
        return {}


def close_containers() -> None:
    """Close what this process holds open for the next image."""
    _shelf.clear()


def _opener(file: str | Uri, rules: Rules) -> Callable[[], Container]:
    return partial(open_container, _name_of(file), partial(open_seekable, file), rules.containers)


def _name_of(file: Location | str) -> str:
    return os.path.basename(file) if isinstance(file, str) else file.name


def _is_hidden(file: str | Uri) -> bool:
    """Say whether a folder has the name under which a container's members would be found."""
    return isinstance(file, str) and os.path.isdir(file + "!")


def _open_nested(held: Held[Container], outer: str, rules: Rules) -> Container:
    """Open a container that is a member, from memory; raises `ImageFailure`."""
    member = held.container.find(outer)
    if member is not None:
        check_nested(member, rules.containers)
    data, _ = _read(held.container, outer, rules)
    return open_container(outer, partial(io.BytesIO, data), rules.containers)


def _read(container: Container, name: str, rules: Rules) -> tuple[bytes, Member]:
    if isinstance(container, TarStream):
        return container.read_named(name, rules)
    member = container.find(name)
    if member is None:
        raise ImageFailure("vanished", "the container does not hold the file any more")
    return container.read(member, rules), member


def _split(inner: str) -> tuple[str, str | None]:
    """Part a member's name from that of a member of it."""
    match = BOUNDARY.search(inner)
    if match is None:
        return inner, None
    return inner[: match.end() - len(INSIDE)], inner[match.end() :]


def _own_problem(file: str | Uri, container: Container, rules: Rules) -> ImageFailure:
    """Say what is wrong with a container that the listing found to be damaged."""
    if file and _is_hidden(file):
        return _HIDDEN.failure()
    contents = Contents()
    visitor = Visitor(rules, EVERYTHING, bool(file), contents, None)
    visitor.visit(container)
    if contents.problem is not None:
        return contents.problem.failure()
    return ImageFailure("changed", "the container was damaged, and is not any more")
