"""Files that are there whole, or not at all, whatever happens to the machine."""

from __future__ import annotations

import os
from pathlib import Path


def replace_durably(temporary: Path, final: Path) -> None:
    """Rename a finished file so that a crash of the machine leaves the old one or the new one."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
