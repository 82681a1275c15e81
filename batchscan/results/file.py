"""A result opened for reading: whatever is wrong with it is said in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchscan.errors import UsageError
from batchscan.storage.location import Location
from batchscan.storage.place import opened, readable


@contextmanager
def opened_result(result: Location) -> Iterator[Any]:
    """Open a result as a `pyarrow.parquet.ParquetFile`.

    Raises `UsageError` where it can't be read, also for what goes wrong while it is open.
    """
    try:
        with opened(result) as stream, pq.ParquetFile(stream) as file:
            yield file
    except OSError as problem:
        raise UsageError(f"{result}: cannot be read ({problem.strerror or problem})") from problem
    except pa.ArrowException as problem:
        reason = str(problem).splitlines()[0][:200]
        raise no_result(result, f"something else ({reason})") from problem


def is_result(path: Location) -> bool:
    """Say whether a file that is there is a result, as far as its footer tells."""
    try:
        return b"batchscan" in (pq.read_metadata(readable(path)).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def no_result(path: Location, found: str) -> UsageError:
    """Return the error for a file that is no result."""
    return UsageError(
        f"{path}: expected a result that `batchscan run --out` wrote, found {found}; check the path"
    )


def checked_footer(path: Location, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the footer `batchscan`, checked as far as the figures depend on it.

    `metadata` is the file's. It then holds `model` with `name`, `digest` and `classes`, and a
    `threshold` from 0 to 1, or None for more than two classes. Raises `UsageError`.
    """
    text = (metadata or {}).get(b"batchscan")
    if text is None:
        raise no_result(path, "Parquet from elsewhere")
    try:
        footer = json.loads(text)
        model = footer["model"]
        names = [model["name"], model["digest"], *model["classes"]]
        usable = len(names) >= 4 and all(isinstance(name, str) for name in names)
        if len(names) == 4:
            usable = usable and 0 <= float(footer["threshold"]) <= 1
        else:
            usable = usable and footer["threshold"] is None
    except (ValueError, KeyError, TypeError):
        usable = False
    if not usable:
        raise no_result(path, "a footer that is damaged or of another version")
    return dict(footer)
