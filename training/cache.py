"""Each image decoded once, into a file that is mapped into memory.

Ten epochs would decode every file ten times. The decoded squares lie in one file instead, uint8,
and the operating system keeps as much of it in memory as fits: a data set that is larger than
memory trains too, only slower.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import DatasetError, ImageFailure
from batchscan.image import decode

_WINDOW = 2048  # files handed to the threads at a time, so that a huge data set queues little


@dataclass(frozen=True)
class DecodedFiles:
    """`pixels` is uint8 (N, S, S), read-only, in the order of the files that were asked for.

    `digests` holds the SHA-256 of each file's content in hexadecimal, "" where it couldn't be read.
    `failures` maps positions to the reason why there are no pixels; those rows are black.
    """

    pixels: NDArray[np.uint8]
    digests: tuple[str, ...]
    failures: dict[int, str]


def decode_files(
    files: Sequence[Path],
    target: Path,
    *,
    size: int,
    workers: int,
    progress: Callable[[], None],
) -> DecodedFiles:
    """Decode `files` in `workers` threads to `size` x `size` into the new file `target`.

    `progress` is called after each file. Raises `DatasetError` when the disk has no room for the
    result.
    """
    length = len(files) * size * size
    try:
        with target.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, length)
    except OSError as problem:
        raise DatasetError(
            f"{target}: expected room for {length / 1e6:,.0f} MB of decoded images, found "
            f"{problem.strerror}; free some space, or choose --out on another disk"
        ) from problem
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
    return DecodedFiles(
        pixels=np.memmap(target, dtype=np.uint8, mode="r", shape=pixels.shape),
        digests=tuple(digest for digest, _ in results),
        failures={n: reason for n, (_, reason) in enumerate(results) if reason is not None},
    )


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
    except ImageFailure as failure:
        return digest, failure.reason
    return digest, None
