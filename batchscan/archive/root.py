"""The archive as a whole: is there anything that can be scanned, and what is it called."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from batchscan.container.kind import is_container
from batchscan.errors import UsageError
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import is_folder, object_state


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
