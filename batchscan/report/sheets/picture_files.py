"""The files behind rows of a result: found in the archive, compared, and decoded as in the scan.

Decoding happens in this process, without the watchdog of a scan: only files that a scan has decoded
are opened, and only if their content is still the same.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.archive.display import display_path, name_of
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import read_image
from batchscan.errors import NotScored
from batchscan.image.decode import decode, thumbnail
from batchscan.privacy.pseudonym import path_hmac
from batchscan.report.input.rows import Rows
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.storage.location import Location

HEIGHT = 256
"""Pixels of a thumbnail, at most."""

GONE = "it is not in the archive any more"
CHANGED = "its content is another one than when it was scored"

_PSEUDONYM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Loaded:
    """`grey` is uint8 (h, w), for people; `square` uint8 (S, S), what the network sees."""

    grey: NDArray[np.uint8]
    square: NDArray[np.uint8]


def hides_paths(rows: Rows) -> bool:
    """Say whether the result has pseudonyms in place of paths."""
    options = rows.footer.get("options")
    return isinstance(options, Mapping) and options.get("hide_paths") is True


def rules_of(rows: Rows) -> Rules:
    """Return rules that read whatever the scan has scored, within the limits that it had."""
    options = rows.footer.get("options")
    given = options if isinstance(options, Mapping) else {}

    def limit(name: str, default: int) -> int:
        value = given.get(name)
        return value if isinstance(value, int) and value > 0 else default

    return Rules(
        max_bytes=limit("max_bytes", DEFAULT_RULES.max_bytes),
        max_pixels=limit("max_pixels", DEFAULT_RULES.max_pixels),
        score_all=True,
        hide_paths=hides_paths(rows),
    )


def names_by_pseudonym(archive: Location, paths: Iterable[str], key: bytes) -> dict[str, str]:
    """Find the files whose paths have these pseudonyms; lists the whole archive for it."""
    wanted = {path for path in paths if _PSEUDONYM.fullmatch(path)}
    found = {}
    for name in list_images(archive, ListingNotes()):
        pseudonym = path_hmac(key, display_path(name))
        if pseudonym in wanted:
            found[pseudonym] = name
            if len(found) == len(wanted):
                break
    return found


def safe_name(path: str) -> str | None:
    """Return the name of the file that a path of a result stands for.

    None for one that leads out of the archive: a result may come from anywhere.
    """
    name = name_of(path)
    leads_out = name.startswith("/") or "\0" in name or ".." in name.split("/")
    return None if leads_out else name


def load(
    archive: Location, name: str | None, content: int | None, size: int, rules: Rules
) -> Loaded | str:
    """Read an image for people and for the network; or return why it cannot be shown.

    `content` is the first 8 bytes of its SHA-256, as in `Rows`; None where it is unknown, and an
    image that cannot be compared is not shown.
    """
    if name is None:
        return GONE
    root = os.fspath(archive) if isinstance(archive, os.PathLike) else str(archive)
    try:
        data, _ = read_image(root, name, rules)
        if content != content_number(data):
            return CHANGED
        return Loaded(thumbnail(data, HEIGHT, rules), decode(data, size, rules).pixels)
    except NotScored as problem:
        if problem.category == "vanished":
            return GONE
        return f"it cannot be read: {problem.reason}"


def content_number(data: bytes) -> int:
    """Return what stands for a file's content in the column `content` of `Rows`."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
