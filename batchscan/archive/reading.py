"""One file of the archive, its state and its bytes: on disk, on an object store, in a container."""

from __future__ import annotations

import io
import os
import stat

from batchscan.archive.local_file import FileState, as_state, open_at_once
from batchscan.archive.long_path import reachable
from batchscan.archive.recognition import is_picture
from batchscan.container.kind import is_container
from batchscan.container.reading import locate, member_state, read_member
from batchscan.errors import ImageFailure
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.storage.location import Uri, is_uri, location
from batchscan.storage.objects import object_state, read_object


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
        if place is not None and (place.inner or not is_picture(place.file)):
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
