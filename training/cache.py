"""Each image decoded once, into a file that is mapped into memory.

Training sees every image many times. The decoded squares lie in one file instead, uint8, and the
operating system keeps as much of it in memory as fits: a data set that is larger than memory trains
too, only slower.

A list beside the pixels says which files they are of. It is written last, when all pixels are safe
on disk, and removed before any of them changes: so where it is, the pixels are whole. A later run
on exactly the same files takes them as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import DatasetError, NotScored
from batchscan.image.decode import PREPROCESSING, decode
from batchscan.results.disk import replace_durably

_WINDOW = 2048  # files handed to the threads at a time, so that a huge data set queues little


@dataclass(frozen=True)
class DecodedFiles:
    """`pixels` is uint8 (N, S, S), read-only, in the order of the files that were asked for.

    `digests` holds the SHA-256 of each file's content in hexadecimal, "" where it couldn't be read.
    `failures` maps positions to the reason why there are no pixels; those rows are black. `reused`
    tells whether the pixels are those of an earlier run.
    """

    pixels: NDArray[np.uint8]
    digests: tuple[str, ...]
    failures: dict[int, str]
    reused: bool


def decode_files(
    files: Sequence[Path],
    target: Path,
    *,
    size: int,
    workers: int,
    progress: Callable[[], None],
) -> DecodedFiles:
    """Decode `files` in `workers` threads to `size` x `size` into the file `target`.

    What an earlier call has finished there is reused, if path, size and time of modification of
    each file, `size` and the preprocessing are the same, and no file has become readable; anything
    else at `target` is overwritten. `progress` is called after each file that is decoded. Raises
    `DatasetError` when the disk has no room for the result.
    """
    key, length = _key(files, size), len(files) * size * size
    list_file = target.with_name(f"{target.name}.json")
    results = _earlier_results(list_file, target, key, files, length)
    reused = results is not None
    if results is None:
        with _writing(target, length):
            _make_room(target, list_file, length)
        results = _decode_all(files, target, size, workers, progress)
        with _writing(target, length):
            _write_list(list_file, key, results)
    return DecodedFiles(
        pixels=np.memmap(target, dtype=np.uint8, mode="r", shape=(len(files), size, size)),
        digests=tuple(digest for digest, _ in results),
        failures={n: reason for n, (_, reason) in enumerate(results) if reason is not None},
        reused=reused,
    )


def _key(files: Sequence[Path], size: int) -> str:
    """Return a SHA-256 over everything that the pixels depend on, but the files' content."""
    lines = hashlib.sha256(f"{PREPROCESSING}\0{size}\n".encode())
    for file in files:
        try:
            status = file.stat()
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:
            state = "cannot be read"
        lines.update(os.fsencode(file.absolute()) + f"\0{state}\n".encode())
    return lines.hexdigest()


def _earlier_results(
    list_file: Path, target: Path, key: str, files: Sequence[Path], length: int
) -> list[tuple[str, str | None]] | None:
    """Return digest and reason of failure of each file, if the cache holds just what `key` says."""
    try:
        found: dict[str, Any] = json.loads(list_file.read_bytes())
        digests, failures = found["digests"], found["failures"]
        whole = found["key"] == key and target.stat().st_size == length
        if not whole or len(digests) != len(files):
            return None
        if any(not digests[n] and os.access(file, os.R_OK) for n, file in enumerate(files)):
            return None  # What could not be read then can be now.
        return [(str(digest), failures.get(str(n))) for n, digest in enumerate(digests)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


@contextlib.contextmanager
def _writing(target: Path, length: int) -> Iterator[None]:
    """Turn failures of the disk into one line."""
    try:
        yield
    except OSError as problem:
        raise DatasetError(
            f"{target}: expected room for {length / 1e6:,.0f} MB of decoded images, found "
            f"{problem.strerror}; free some space, or choose --out on another disk"
        ) from problem


def _make_room(target: Path, list_file: Path, length: int) -> None:
    """Make a file of `length` bytes at `target`; what was there before is gone for good first."""
    for old in (list_file, target):
        old.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    with target.open("xb") as file:
        os.posix_fallocate(file.fileno(), 0, length)


def _decode_all(
    files: Sequence[Path], target: Path, size: int, workers: int, progress: Callable[[], None]
) -> list[tuple[str, str | None]]:
    pixels = np.memmap(target, dtype=np.uint8, mode="r+", shape=(len(files), size, size))
    results: list[tuple[str, str | None]] = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(files), _WINDOW):
            window = range(start, min(start + _WINDOW, len(files)))
            decode_one = partial(_decode_one, files, pixels, size)
            for result in pool.map(decode_one, window):
                results.append(result)
                progress()
    pixels.flush()
    return results


def _decode_one(
    files: Sequence[Path], pixels: NDArray[np.uint8], size: int, number: int
) -> tuple[str, str | None]:
    """Fill one row of `pixels`; return the file's digest and the reason of a failure."""
    try:
        data = files[number].read_bytes()
    except OSError as problem:
        return "", f"cannot be read ({problem.strerror})"
    digest = hashlib.sha256(data).hexdigest()
    try:
        pixels[number] = decode(data, size).pixels
    except NotScored as failure:
        return digest, failure.reason
    return digest, None


def _write_list(list_file: Path, key: str, results: Sequence[tuple[str, str | None]]) -> None:
    content = {
        "key": key,
        "digests": [digest for digest, _ in results],
        "failures": {str(n): reason for n, (_, reason) in enumerate(results) if reason is not None},
    }
    temporary = list_file.with_name(f"{list_file.name}.tmp")
    temporary.write_text(json.dumps(content))
    replace_durably(temporary, list_file)
