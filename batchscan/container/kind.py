"""Kinds of containers, by name, and how one is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

from batchscan.container.limits import ContainerLimits
from batchscan.container.stream import TarStream
from batchscan.container.tar import TarContainer
from batchscan.container.zip import ZipContainer

INSIDE = "!/"
"""Separates a container's path from that of its member."""

KINDS = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "gz",
    ".tgz": "gz",
    ".tar.zst": "zst",
    ".tzst": "zst",
}
"""Ends of names -> kinds: zip, plain tar, and tars compressed by gzip or zstd."""

_SUFFIXES = tuple(KINDS)
BOUNDARY = re.compile(r"\.(?:zip|tar|tar\.gz|tgz|tar\.zst|tzst)!/", re.IGNORECASE)
"""Where in a path the way leads into a container."""

Container = ZipContainer | TarContainer | TarStream


def is_container(name: str) -> bool:
    """Say whether a file's name promises a container."""
    return name.lower().endswith(_SUFFIXES)


def is_stream(name: str) -> bool:
    """Say whether a file's name promises a compressed tar."""
    return is_container(name) and KINDS[suffix_of(name)] in ("gz", "zst")


def suffix_of(name: str) -> str:
    """Return the key of `KINDS` that a container's name ends in."""
    lower = name.lower()
    return next(suffix for suffix in reversed(_SUFFIXES) if lower.endswith(suffix))


def open_container(
    name: str, open_file: Callable[[], BinaryIO], limits: ContainerLimits
) -> Container:
    """Open a container whose kind its name tells.

    What is wrong with its content is noted in it, see `batchscan.container.member.Index`. Raises
    `OSError`.
    """
    kind = KINDS[suffix_of(name)]
    if kind not in ("zip", "tar"):
        return TarStream(open_file, kind, limits)
    file = open_file()
    try:
        return (ZipContainer if kind == "zip" else TarContainer)(file, limits)
    except BaseException:
        file.close()
        raise
