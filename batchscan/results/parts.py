"""Parts: what finished shards leave behind, each complete under its final name, or not there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchscan.errors import BatchscanError
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import write_object
from batchscan.storage.place import find_files, readable_whole, remove_file

_FIRST_KEY = b"batchscan.first"
_REQUESTS = 16


@dataclass(frozen=True)
class Source:
    """A sorted table that is loaded when its turn comes; of two rows of a path the newer counts."""

    first: str
    generation: int
    load: Callable[[], pa.Table]


def part_name(generation: int, shard: str) -> str:
    """Name the part of a shard; parts of a later run of the same scan have a higher generation."""
    return f"g{generation:04d}-{shard}.parquet"


def write_part(folder: Location, name: str, table: pa.Table) -> None:
    """Commit a sorted table as a part: whole under its name, or not at all."""
    first = table["path"][0].as_py() if table.num_rows else ""
    table = table.replace_schema_metadata({_FIRST_KEY: first.encode()})
    if isinstance(folder, Uri):
        sink = pa.BufferOutputStream()
        _write_part(table, sink)
        write_object(folder / name, sink.getvalue())
        return
    temporary = folder / f"{name}.{uuid.uuid4().hex}.tmp"
    try:
        _write_part(table, temporary)
        temporary.replace(folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_part(table: pa.Table, sink: Path | pa.NativeFile) -> None:
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_page_checksum=True)


def part_sources(folder: Location, *, only: int | None = None) -> list[Source]:
    """Find the parts in a folder (of one generation, or of all); damaged ones are removed."""
    files = _parts_of(folder, only)
    return [
        Source(first, _generation(file), partial(_load_part, file))
        for file, first in zip(files, _first_paths(files), strict=True)
        if first is not None
    ]


def _first_paths(files: list[Location]) -> list[str | None]:
    if not any(isinstance(file, Uri) for file in files):
        return [_first_path(file) for file in files]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(_first_path, files))


def _parts_of(folder: Location, only: int | None) -> list[Location]:
    files = find_files(folder, "g*-*.parquet")
    return [file for file in files if only is None or _generation(file) == only]


def _generation(part: Location) -> int:
    return int(part.name[1 : part.name.index("-")])


def _first_path(file: Location) -> str | None:
    """Return the first path in a part; None, and the part removed, if it is damaged."""
    try:
        first: bytes = pq.read_schema(readable_whole(file)).metadata[_FIRST_KEY]
        return first.decode()
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        if getattr(error, "errno", None):
            raise  # The storage fails; the part may be sound.
        remove_file(file)  # A crash of the machine can leave a file without its content.
        return None


def _load_part(file: Location) -> pa.Table:
    content = readable_whole(file)
    try:
        return pq.read_table(content, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        remove_file(file)
        raise BatchscanError(
            f"{file}: this part was damaged and has been removed; run the same command again: only "
            "its images are scored anew"
        ) from error
