"""Objects on a store: listed, read, written whole, deleted.

Errors: see `batchscan.storage.connection`.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchscan.archive.local_file import FileState as FileState
from batchscan.storage.connection import file_system, inner_path, plain_errors
from batchscan.storage.location import Uri

_THREADS = 16


@dataclass(frozen=True)
class Entry:
    """What a folder on a store holds: an object with its state, or a folder (`state` is None).

    The name of a folder is empty where keys have nothing between two slashes: Arrow reads none.
    """

    name: str
    state: FileState | None


def list_folder(folder: Uri) -> list[Entry]:
    """List a folder; raises `OSError`. A key that is an object and a folder too gives two entries.

    A folder is what keys with a common prefix up to a `/` make; its marker, an empty object whose
    key ends in `/`, is no entry.
    """
    from pyarrow.fs import FileSelector, FileType

    with plain_errors(folder):
        found = file_system(folder).get_file_info(FileSelector(inner_path(folder)))
    start = len(inner_path(folder).rstrip("/")) + 1
    return [
        Entry(info.path[start:], _state(info) if info.type == FileType.File else None)
        for info in found
    ]


def object_state(uri: Uri) -> FileState | None:
    """Return an object's state, or None where there is no object; raises `OSError`."""
    from pyarrow.fs import FileType

    info = _info(uri)
    return _state(info) if info.type == FileType.File else None


def is_folder(uri: Uri) -> bool:
    """Say whether a bucket, or keys below a prefix, are there; raises `OSError`."""
    from pyarrow.fs import FileType

    return bool(_info(uri).type == FileType.Directory)


def read_object(uri: Uri, *, limit: int | None = None) -> tuple[bytes | None, FileState]:
    """Read an object with its state; None instead of its bytes if it has more than `limit`.

    Costs two requests: one for the state, one for the bytes. Raises `OSError`.
    """
    with plain_errors(uri), file_system(uri).open_input_file(inner_path(uri)) as stream:
        state = _told(stream) or _state(_info(uri))
        if limit is not None and state.bytes > limit:
            return None, state
        return stream.read(), state


def read_head(uri: Uri, count: int) -> bytes:
    """Read the first bytes of an object; raises `OSError`."""
    with plain_errors(uri), file_system(uri).open_input_file(inner_path(uri)) as stream:
        return bytes(stream.read(count))


def open_object(uri: Uri) -> pa.NativeFile:
    """Open an object for reading at any place of it; raises `OSError`."""
    with plain_errors(uri):
        return file_system(uri).open_input_file(inner_path(uri))


def write_object(uri: Uri, data: bytes | pa.Buffer) -> None:
    """Write an object: it appears whole, in place of an earlier one, or not at all.

    Arrow completes an upload that is left behind, with what has come until then. So all bytes are
    given in one call, in a thread of its own, where no signal's exception can come between.
    """
    with plain_errors(uri), ThreadPoolExecutor(1) as thread:
        thread.submit(_put, uri, data).result()


def upload(file: Path, uri: Uri) -> None:
    """Write a local file's content as an object, as `write_object` does."""
    with pa.memory_map(str(file)) as content:
        write_object(uri, content.read_buffer())


def delete_objects(uris: Iterable[Uri]) -> None:
    """Delete objects; those that are gone already are no error."""
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(_delete, uris))


def delete_folder(folder: Uri) -> None:
    """Delete a folder with all that is in it, if it is there."""
    if is_folder(folder):
        with plain_errors(folder):
            file_system(folder).delete_dir(inner_path(folder))


def _put(uri: Uri, data: bytes | pa.Buffer) -> None:
    store = file_system(uri)
    if uri.scheme == "hdfs":
        _put_and_rename(store, uri, data)
        return
    with store.open_output_stream(inner_path(uri), compression=None) as stream:
        stream.write(data)


def _put_and_rename(store: Any, uri: Uri, data: bytes | pa.Buffer) -> None:
    """HDFS shows a file while it is written, and renames over no other: the old one goes first."""
    temporary = inner_path(uri) + ".tmp"
    store.create_dir(inner_path(uri.parent), recursive=True)
    with store.open_output_stream(temporary, compression=None) as stream:
        stream.write(data)
    if object_state(uri) is not None:
        store.delete_file(inner_path(uri))
    store.move(temporary, inner_path(uri))


def _delete(uri: Uri) -> None:
    try:
        with plain_errors(uri):
            file_system(uri).delete_file(inner_path(uri))
    except FileNotFoundError:
        pass


def _info(uri: Uri) -> Any:
    with plain_errors(uri):
        return file_system(uri).get_file_info(inner_path(uri))


def _state(info: Any) -> FileState:
    return FileState(info.size or 0, _whole_seconds(info.mtime_ns or 0))


def _told(stream: Any) -> FileState | None:
    """Take the state from the headers that opening has brought, as S3 does."""
    try:
        text = stream.metadata()[b"Last-Modified"].decode()
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (KeyError, ValueError, TypeError, NotImplementedError):
        return None
    return FileState(stream.size(), _whole_seconds(int(moment.timestamp()) * 1_000_000_000))


def _whole_seconds(nanoseconds: int) -> int:
    """Return microseconds without a fraction of a second: listings may tell it, headers do not."""
    return nanoseconds // 1_000_000_000 * 1_000_000
