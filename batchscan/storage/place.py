"""Files that lie on a disk of this machine or on an object store: the few things done with both."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchscan.errors import UsageError
from batchscan.storage.location import Location, Uri, shown
from batchscan.storage.objects import (
    delete_objects,
    is_folder,
    list_folder,
    object_state,
    open_object,
    read_object,
)


def is_there(file: Location) -> bool:
    """Say whether a file or an object is there; raises `OSError` where a store does not tell."""
    return object_state(file) is not None if isinstance(file, Uri) else file.exists()


def is_directory(folder: Location) -> bool:
    """Say whether a folder is there; raises `OSError` where a store does not tell."""
    return is_folder(folder) if isinstance(folder, Uri) else folder.is_dir()


def find_files(folder: Location, pattern: str) -> list[Location]:
    """Return the files in a folder whose names match a pattern, by name; none without a folder."""
    if not isinstance(folder, Uri):
        return [*sorted(folder.glob(pattern))]
    try:
        names = sorted(entry.name for entry in list_folder(folder) if entry.state)
    except FileNotFoundError:
        return []
    return [folder / name for name in names if fnmatchcase(name, pattern)]


def remove_file(file: Location) -> None:
    """Remove a file or an object, if it is there."""
    if isinstance(file, Uri):
        delete_objects([file])
    else:
        file.unlink(missing_ok=True)


def readable(file: Location) -> Path | pa.NativeFile:
    """Return what Arrow's readers take: a path, or an object that is read where they want."""
    return open_object(file) if isinstance(file, Uri) else file


def readable_whole(file: Location) -> Path | pa.NativeFile:
    """Return the same of a small file: an object's bytes, which have all come."""
    return pa.BufferReader(read_object(file)[0]) if isinstance(file, Uri) else file


def opened(file: Location) -> AbstractContextManager[Any]:
    """Open a file or an object for reading bytes; raises `OSError`."""
    return open_object(file) if isinstance(file, Uri) else file.open("rb")


def sha256_of(file: Location) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits; raises `OSError`."""
    digest = hashlib.sha256()
    with opened(file) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def check_new_file(file: Location, asked: str, *taken: Location) -> None:
    """Raise `UsageError` where a file cannot be made, or is one of `taken`, which must stay.

    `asked` is what the user gave it with, such as `--out report.html`. A path is compared as what
    it leads to, links and relative paths included.
    """
    for each in taken:
        if shown(each) == shown(file):
            raise UsageError(f"{asked}: this would overwrite {each}; choose another name")
    if isinstance(file, Path):
        if file.is_dir():
            raise UsageError(f"{asked}: expected a file's name, found a folder")
        if not file.absolute().parent.is_dir():
            raise UsageError(f"{asked}: its folder does not exist; create it first")


def remedy(place: Location) -> str:
    """Say what helps where nothing can be written."""
    if isinstance(place, Uri):
        return "see to that"
    folder = Path(place).parent
    return "make room there" if folder.is_dir() else f"bring {folder} back, or mount it again"
