"""Names of files as they are shown: any bytes as valid UTF-8, and in which order."""

from __future__ import annotations

import os
import re

_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2})")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def display_path(name: str) -> str:
    r"""Turn a file's name into the valid UTF-8 of the column `path`; odd bytes become `\xNN`.

    A name that holds such a sequence as text gets `\x5c` for its backslash: no two names become
    one path.
    """
    if "\\x" in name:
        name = _LOOKS_ESCAPED.sub(r"\\x5c", name)
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def name_of(path: str) -> str:
    r"""Return the file's name that `display_path` has turned into a path; any bytes come back."""
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), path.encode())
    return os.fsdecode(raw)


def sort_key(name: str) -> str:
    """Return what a name is sorted by: `display_path`, without its cost for usual names."""
    return name if name.isascii() and "\\" not in name else display_path(name)
