"""How many cores one process keeps busy with decoding: measured, and on cores that are made up.

    python -m benchmarks.decode_threads ARCHIVE [--images 300] [--repeats 5]

Threads decode side by side only while they run C code that has let go of Python's lock. The first
table has as many threads as there are cores here. For the second, that C code (the short cut to
JPEGs, Pillow's decoder, making squares, SHA-256) is replaced by sleeps of the length that it was
measured to take: a sleeping thread needs no core, so any number of them "decode" at once, and what
holds the lock runs as ever. That is the most that many cores could do: they also share caches and
memory. JPEG files only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.image import decode, jpeg
from batchscan.image.levels import Levels
from batchscan.image.square import to_square
from batchscan.model.bundle import load_bundle
from batchscan.run import shard

CORES = len(os.sched_getaffinity(0))
MADE_UP = (1, 2, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Speed:
    """Images per second, and processor time for one in milliseconds."""

    rate: float
    cpu: float


class Stopwatch:
    """Processor time that one thread spends in C code, or sleeps in its place: seconds."""

    def __init__(self) -> None:
        self.spent = {"decode": 0.0, "resize": 0.0, "sha256": 0.0}
        self.asleep: dict[str, float] = {}

    def around(self, stage: str, call: Callable[..., Any], instead: Any) -> Callable[..., Any]:
        """Return `call` with its time noted; once a sleep is known, that, and `instead`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            if stage in self.asleep:
                time.sleep(self.asleep[stage])
                return instead
            start = time.thread_time()
            try:
                return call(*arguments, **options)
            finally:
                self.spent[stage] += time.thread_time() - start

        return timed


class Decoder:
    """A decoder of Pillow's whose work is timed, or slept through."""

    def __init__(self, real: Any, watch: Stopwatch) -> None:
        self._real = real
        self.decode = watch.around("decode", real.decode, (-1, 0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def main() -> None:
    """Measure and print."""
    options = _arguments()
    size = load_bundle().input_size
    found = list_images(options.archive, ListingNotes())
    jpegs = [name for name in found if name.lower().endswith((".jpeg", ".jpg"))]
    names = [jpegs[number % len(jpegs)] for number in range(options.images)]

    def rate(threads: int) -> Speed:
        with ThreadPoolExecutor(threads) as pool:
            start, cpu = time.perf_counter(), time.process_time()
            list(pool.map(lambda name: shard.load_sample(str(options.archive), name, size), names))
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return Speed(len(names) / seconds, 1000 * cpu / len(names))

    print(f"{'threads':24}{'images/s':>10}{'times one':>11}{'CPU ms an image':>17}")
    _print("", _in_turns(rate, range(1, CORES + 1), options.repeats))
    watch = _timed_c_code(size)
    rate(1)
    each = {stage: seconds / len(names) for stage, seconds in watch.spent.items()}
    shown = ", ".join(f"{stage} {1000 * seconds:.2f} ms" for stage, seconds in each.items())
    print(f"\nC code that is slept through from here on: {shown} an image")
    watch.asleep = each
    _print("on cores made up", _in_turns(rate, MADE_UP, options.repeats))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="cores that one process decodes on")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def _timed_c_code(size: int) -> Stopwatch:
    """Have both decoders, making squares, and SHA-256 timed in this process from now on.

    Later, one sleep of both decoders' time stands for whichever a file takes.
    """
    watch = Stopwatch()
    levels = Levels(2 * size, 2 * size, bytes(4 * size * size))
    jpeg.reduced = watch.around("decode", jpeg.reduced, levels)
    pillow: Any = Image
    real = pillow._getdecoder
    pillow._getdecoder = lambda *arguments: Decoder(real(*arguments), watch)
    square = np.zeros((size, size), dtype=np.uint8)
    vars(decode)["to_square"] = watch.around("resize", to_square, square)
    digest = watch.around("sha256", hashlib.sha256, hashlib.sha256(b""))
    vars(shard)["hashlib"] = SimpleNamespace(sha256=digest)
    return watch


def _in_turns(
    rate: Callable[[int], Speed], threads: Sequence[int], repeats: int
) -> dict[int, list[Speed]]:
    rates: dict[int, list[Speed]] = {count: [] for count in threads}
    for repeat in range(repeats):
        for count in threads if repeat % 2 == 0 else reversed(threads):
            rates[count].append(rate(count))
    return rates


def _print(what: str, rates: dict[int, list[Speed]]) -> None:
    for count, found in rates.items():
        pairs = zip(found, rates[1], strict=True)
        ratio = statistics.median(each.rate / one.rate for each, one in pairs)
        rate = statistics.median(each.rate for each in found)
        cpu = statistics.median(each.cpu for each in found)
        print(f"{count:<3} {what:20}{rate:>10,.0f}{ratio:>11.1f}{cpu:>17.2f}")


if __name__ == "__main__":
    main()
