"""The archive: which files in a folder tree are images, in which order, and what is in them.

Images come in ascending order of their path (as UTF-8 bytes, which is how Parquet sorts strings),
while the tree is still being read. That order is what lets a scan of millions of files be compared
with an earlier result, and be merged, without holding either in memory.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscan.archive.display import display_path as display_path
from batchscan.archive.display import sort_key
from batchscan.archive.local_file import FileState as FileState
from batchscan.archive.local_file import as_state, open_at_once
from batchscan.archive.long_path import reachable
from batchscan.archive.selection import Selection as Selection
from batchscan.container.kind import INSIDE, is_container
from batchscan.container.listing import ContainerListing
from batchscan.container.member import SPECIAL
from batchscan.container.reading import locate, member_state, read_member
from batchscan.errors import ImageFailure, UsageError
from batchscan.image.signature import (
    EXTENSIONS,
    SNIFF_BYTES,
    is_directory_file,
    kind_of_other,
    sniff,
)
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.storage.location import Location, Uri, is_uri, location, shown
from batchscan.storage.objects import is_folder, object_state, read_object
from batchscan.storage.walk import Visitor, walk, with_heads

_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


@dataclass
class ListingNotes:
    """What a listing came across beside images; it grows while the listing is consumed.

    `state` is that of the image yielded last, where listing has told it, as object stores do.
    """

    other_files: Counter[str] = field(default_factory=Counter)
    unreadable_folders: list[str] = field(default_factory=list)
    repeated_links: int = 0
    containers: int = 0
    containers_without_images: int = 0
    unread_containers: list[str] = field(default_factory=list)
    duplicate_members: int = 0
    duplicate_examples: list[str] = field(default_factory=list)
    state: FileState | None = None


def check_archive(root: Location) -> None:
    """Raise `UsageError` unless `root` is a folder, or a container, that can be opened."""
    if isinstance(root, Uri):
        _check_bucket(root)
        return
    if not root.exists():
        raise UsageError(
            f"{root}: expected a folder of X-rays, found nothing there; check the path"
        )
    if root.is_file() and is_container(root.name):
        _check_container(root)
        return
    if not root.is_dir():
        raise UsageError(
            f"{root}: expected a folder of X-rays or a zip or tar file, found a file of another "
            "kind; name its folder"
        )
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise UsageError(f"{root}: the folder cannot be read ({error.strerror})") from error


def _check_container(root: Path) -> None:
    try:
        with root.open("rb"):
            pass
    except OSError as error:
        raise UsageError(f"{root}: the file cannot be read ({error.strerror})") from error


def _check_bucket(root: Uri) -> None:
    try:
        if is_folder(root):
            return
        is_object = object_state(root) is not None
        if is_object and is_container(root.name):
            return
        found = "an object" if is_object else "nothing there"
        if root.path and not is_folder(replace(root, path="")):
            found = f"no bucket {root.authority}"
    except OSError as error:
        raise UsageError(f"{root}: the archive cannot be read ({error.strerror})") from error
    raise UsageError(f"{root}: expected a folder of X-rays, found {found}; check the address")


def archive_name(root: Location) -> str:
    """Return the archive's own name as that of a folder: `NORMAL`, or `NORMAL.zip!`."""
    whole = is_container(root.name) and (isinstance(root, Uri) or root.is_file())
    return root.name + "!" if whole else root.name


def list_images(
    root: Location,
    notes: ListingNotes,
    *,
    selection: Selection | None = None,
    skip: frozenset[str] = frozenset(),
    peek: bool = True,
    rules: Rules = DEFAULT_RULES,
) -> Iterator[str]:
    """Yield the relative path of each image below `root`, ascending by `display_path`.

    A file is an image if its name says so, or if its first bytes do; it may be one, and counts, if
    they cannot be read. So is a file in a container, and a container that cannot be read to its
    end. `peek=False` trusts the names, for a quick estimate. `skip` holds real paths
    (`batchscan.storage.location.shown`) of folders that are passed over.
    """
    selection = selection or Selection()
    containers = ContainerListing(root, notes, selection, rules, peek=peek)
    if is_container(root.name) and (isinstance(root, Uri) or os.path.isfile(root)):
        yield from containers.whole_archive()
        return
    if isinstance(root, Uri):
        yield from _list_objects(root, notes, selection, skip, containers, peek)
        return
    for name in _walk(os.fspath(root), notes, selection, skip):
        if name.endswith(INSIDE):
            yield from containers.members_of(name)
        elif is_container(name) and not _is_picture(os.path.join(root, name)):
            yield from containers.look_into(name)
        elif not selection.takes(display_path(name)):
            continue
        elif _is_image(os.path.join(root, name), peek):
            yield name
        else:
            notes.other_files[kind_of_other(name)] += 1


def _list_objects(
    root: Uri,
    notes: ListingNotes,
    selection: Selection,
    skip: frozenset[str],
    containers: ContainerListing,
    peek: bool,
) -> Iterator[str]:
    visitor = Visitor(
        order=sort_key,
        enters=lambda name: selection.enters(display_path(name)) and shown(root / name) not in skip,
        unreadable=lambda name: notes.unreadable_folders.append(display_path(name)),
    )
    objects = (
        found
        for found in walk(root, visitor)
        if is_container(found[0]) or selection.takes(display_path(found[0]))
    )

    def in_question(name: str) -> bool:
        return peek and not (_is_named_image(name) or is_container(name))

    for name, state, head in with_heads(root, objects, in_question, SNIFF_BYTES):
        notes.state = None
        yield from _members_before(name, containers)
        if is_container(name):
            yield from containers.look_into(name)
            continue
        unknown = isinstance(head, OSError) and not isinstance(head, FileNotFoundError)
        if _is_named_image(name) or unknown or (isinstance(head, bytes) and sniff(head)):
            notes.state = state
            yield name
        else:
            notes.other_files[kind_of_other(name)] += 1
    notes.state = None
    yield from _members_before(None, containers)


def _members_before(name: str | None, containers: ContainerListing) -> Iterator[str]:
    """Yield the images in containers whose paths come before a name, or all that are left."""
    for prefix in sorted(containers.waiting(), key=sort_key):
        if name is None or sort_key(prefix) < sort_key(name):
            yield from containers.members_of(prefix)


def _is_image(file: str, peek: bool) -> bool:
    if _is_named_image(file):
        return True
    if not peek or is_directory_file(file):
        return False
    try:
        return _begins_like_image(file)
    except OSError as error:
        return error.errno not in _NOTHING_THERE  # Its row says why nobody knows what it is.


def _is_picture(file: str | Uri) -> bool:
    """Say whether a file whose name promises a container is an image all the same.

    Of objects nobody asks: it would be a request for each.
    """
    if isinstance(file, Uri):
        return False
    try:
        return _begins_like_image(file)
    except OSError:
        return False


def _begins_like_image(file: str) -> bool:
    with reachable(file) as path, open(path, "rb", buffering=0, opener=open_at_once) as stream:
        return sniff(stream.read(SNIFF_BYTES)) is not None


def _is_named_image(file: str) -> bool:
    return os.path.splitext(file)[1].lower() in EXTENSIONS


def _walk(
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
        if error.errno not in _NOTHING_THERE and not _is_named_image(entry.name):
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


def file_state(root: str, name: str) -> FileState | None:
    """Return a file's size and time of modification, or None where it is gone or unreachable.

    For a file in a container: its own size, and the time of the container.
    """
    place = locate(root, name)
    if place is not None and place.inner:
        return member_state(place, DEFAULT_RULES)
    if is_uri(root):
        return _object_state(root, name)
    try:
        with reachable(_path_of(root, name)) as path:
            return as_state(os.stat(path))
    except OSError:
        return None


def read_image(root: str, name: str, rules: Rules = DEFAULT_RULES) -> tuple[bytes, FileState]:
    """Read a whole file, with its state at that moment; raises `ImageFailure`."""
    try:
        place = locate(root, name)
        if place is not None and (place.inner or not _is_picture(place.file)):
            return read_member(place, rules)
        if is_uri(root):
            return _read_object(root, name, rules)
        with (
            reachable(os.path.join(root, name)) as path,
            open(path, "rb", buffering=0, opener=open_at_once) as stream,
        ):
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageFailure("vanished", "the file has become something else than a file")
            if status.st_size > rules.max_bytes:
                raise _too_large(status.st_size, rules)
            data = _read(stream, status.st_size or 1)  # Else an empty file's errors stay unseen.
            state = as_state(status)
            if len(data) != state.bytes or as_state(os.fstat(stream.fileno())) != state:
                raise ImageFailure("changed", "the file changed while it was read")
            return data, state
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ImageFailure("vanished", "the file is not there any more") from error
    except PermissionError as error:
        raise ImageFailure("permission_denied", "reading the file is not permitted") from error
    except OSError as error:
        raise ImageFailure("read_error", f"reading failed: {error.strerror}") from error


def _read(stream: io.FileIO, size: int) -> bytes:
    """Read `size` bytes, less where the file ends before, and no more: a file may grow for ever."""
    pieces = [stream.read(size)]
    left = size - len(pieces[0])
    while pieces[-1] and left:
        pieces.append(stream.read(left))
        left -= len(pieces[-1])
    return b"".join(pieces)


def _read_object(root: str, name: str, rules: Rules) -> tuple[bytes, FileState]:
    data, state = read_object(_object(root, name), limit=rules.max_bytes)
    if data is None:
        raise _too_large(state.bytes, rules)
    if len(data) != state.bytes:
        raise ImageFailure("changed", f"{state.bytes:,} bytes were there, {len(data):,} came")
    return data, state


def _path_of(root: str, name: str) -> str:
    """Return a file's path; the archive's own where that is a container."""
    whole = is_container(root) and os.path.isfile(root)
    return root if whole else os.path.join(root, name)


def _object_state(root: str, name: str) -> FileState | None:
    try:
        return object_state(_object(root, name))
    except OSError:
        return None


def _object(root: str, name: str) -> Uri:
    folder = location(root)
    assert isinstance(folder, Uri)
    return folder / name


def _too_large(size: int, rules: Rules) -> ImageFailure:
    return ImageFailure(
        "too_large", f"{size:,} bytes, more than the {rules.max_bytes:,} that are read"
    )
