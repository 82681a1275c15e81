"""Which files are images: by their names, or by their first bytes."""

from __future__ import annotations

import errno
import os

from batchscan.archive.local_file import open_at_once
from batchscan.archive.long_path import reachable
from batchscan.image.signature import EXTENSIONS, SNIFF_BYTES, is_directory_file, sniff
from batchscan.storage.location import Uri

NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""Errors of a file that is gone, or that never was one."""


def is_image(file: str, peek: bool) -> bool:
    """Say whether a file on disk is one by its name or, with `peek`, by its first bytes."""
    if is_named_image(file):
        return True
    if not peek or is_directory_file(file):
        return False
    try:
        return _begins_like_image(file)
    except OSError as error:
        return error.errno not in NOTHING_THERE  # Its row says why nobody knows what it is.


def is_picture(file: str | Uri) -> bool:
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


def is_named_image(file: str) -> bool:
    """Say whether a file's name promises an image."""
    dot = file.rfind(".")
    if file[dot:].lower() not in EXTENSIONS:
        return False
    # Dots that a name begins with begin no extension.
    return file[dot - 1 : dot] not in ("", "/", ".") or os.path.splitext(file)[1] != ""
