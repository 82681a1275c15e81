"""Damages real files many times over, and sees that each gives one row and no process dies.

    python -m benchmarks.fuzz ARCHIVE [--mutations 20000] [--seed 0] [--processes 2] [--only N]

Takes images of the archive as they are, and a few of them encoded anew in every format that can be
written here. Each mutation is brought to its row by the code that scans use, in processes whose
deaths, silence and peak memory are noticed. Exit code 1 if any mutation gave no row or a wrong one,
raised anything, killed its process, hung, or took more memory than the limit of pixels explains.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from PIL import Image

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.image.signature import SNIFF_BYTES, sniff
from benchmarks.memory import peak_memory
from tests.fuzzing import RULES, encodings, mutate, outcome

_SOURCES = 300  # Files of the archive that are damaged.
_ENCODED = 12  # Of these, as many are encoded anew.
_BYTES_PER_PIXEL = 32  # More than any format's decoding takes; docs/performance.md has the figures.
_ALLOWANCE = 256 << 20
_MEMORY = RULES.max_pixels * _BYTES_PER_PIXEL + _ALLOWANCE
_HUNG_SECONDS = 120.0


@dataclass(frozen=True)
class Result:
    """What came of one mutation; `memory` is how far the process's peak rose, in bytes."""

    number: int
    format: str
    ways: str
    outcome: str
    problem: str | None
    seconds: float
    memory: int


class Sources:
    """The files that are damaged: real ones, and some of them in other encodings."""

    def __init__(self, archive: Path, seed: int) -> None:
        names = list(list_images(archive, ListingNotes()))
        if not names:
            sys.exit(f"{archive}: no images found")
        rng = random.Random(seed)
        self._files = [archive / name for name in rng.sample(names, min(_SOURCES, len(names)))]
        self._load = functools.lru_cache(maxsize=64)(Path.read_bytes)
        self._encoded = functools.lru_cache(maxsize=_ENCODED)(self._encode)
        self._kinds = ["", *self._encoded(0)]

    def damaged(self, seed: int, number: int) -> tuple[str, str, bytes]:
        """Make a mutation: its format, the ways of its damage, its bytes."""
        rng = random.Random(f"{seed}/{number}")
        place = rng.randrange(_ENCODED)
        kind = rng.choice(self._kinds) if rng.random() < 0.5 else ""
        data = self._encoded(place)[kind] if kind else self._load(rng.choice(self._files))
        other = rng.choice([self._load(rng.choice(self._files)), *self._encoded(place).values()])
        ways, damaged = mutate(rng, data, other)
        return kind or f"{sniff(data[:SNIFF_BYTES])} as found", ways, damaged

    def _encode(self, place: int) -> dict[str, bytes]:
        """Encode one of the files anew, at most 600 pixels wide."""
        for file in self._files[place % len(self._files) :] + self._files:
            with contextlib.suppress(Exception), Image.open(io.BytesIO(self._load(file))) as image:
                image.thumbnail((600, 600))
                return encodings(image.convert("L"))
        return {}


def main() -> None:
    """Run, print, and exit with 1 where something is wrong."""
    options = _arguments()
    Sources(options.archive, options.seed)  # Ends here where there are no images.
    numbers = iter([options.only] if options.only is not None else range(options.mutations))
    start, results = time.monotonic(), []
    for result in _run(options, numbers):
        results.append(result)
        if result.problem:
            print(f"{result.number}: {result.format}: {result.ways}: {result.problem}", flush=True)
        if len(results) % 1000 == 0:
            print(f"{len(results):,} in {time.monotonic() - start:.0f} s", file=sys.stderr)
    _print_results(results)
    expected = 1 if options.only is not None else options.mutations
    if any(result.problem for result in results) or len(results) != expected:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz batchscan's way from a file to its row")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, metavar="N", help="only the mutation of this number")
    return parser.parse_args()


def _run(options: argparse.Namespace, numbers: Iterator[int]) -> Iterator[Result]:
    """Give numbers out one by one, and yield what comes of them; dead processes are replaced."""
    hands: dict[Any, tuple[Any, int, float]] = {}
    for _ in range(options.processes):
        _give(hands, _start(options), numbers)
    while hands:
        for pipe in wait(list(hands), timeout=1.0):
            process, number, _ = hands.pop(pipe)
            try:
                yield pipe.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                yield _lost(number, f"process died with code {process.exitcode}")
                pipe, process = _start(options)
            _give(hands, (pipe, process), numbers)
        for pipe, (process, number, since) in list(hands.items()):
            if time.monotonic() - since > _HUNG_SECONDS:
                del hands[pipe]
                process.kill()
                yield _lost(number, f"no outcome after {_HUNG_SECONDS:.0f} seconds")
                _give(hands, _start(options), numbers)


def _give(hands: dict[Any, Any], hand: tuple[Any, Any], numbers: Iterator[int]) -> None:
    pipe, process = hand
    number = next(numbers, None)
    pipe.send(number)
    if number is None:
        process.join()
    else:
        hands[pipe] = (process, number, time.monotonic())


def _lost(number: int, problem: str) -> Result:
    return Result(number, "?", "?", "no outcome", problem, 0.0, 0)


def _start(options: argparse.Namespace) -> tuple[Any, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, options.archive, options.seed))
    process.start()
    theirs.close()
    return ours, process


def _work(pipe: Connection, archive: Path, seed: int) -> None:
    sources = Sources(archive, seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while (number := pipe.recv()) is not None:
            pipe.send(_try(sources, Path(folder), seed, number))


def _try(sources: Sources, folder: Path, seed: int, number: int) -> Result:
    format, ways, data = sources.damaged(seed, number)
    before, start = peak_memory(anew=True), time.monotonic()
    problem, found = None, "no outcome"
    try:
        found = outcome(folder, data)
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    seconds, memory = time.monotonic() - start, peak_memory() - before
    if memory > _MEMORY:
        problem = f"{memory >> 20:,} MiB of memory, more than {_MEMORY >> 20:,}"
    return Result(number, format, ways, found, problem, seconds, memory)


def _print_results(results: list[Result]) -> None:
    print("\noutcomes by format:")
    for format in sorted({result.format for result in results}):
        found = Counter(result.outcome for result in results if result.format == format)
        named = ", ".join(f"{name} {count:,}" for name, count in found.most_common())
        print(f"  {format:18} {found.total():7,}: {named}")
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.memory)
    problems = sum(result.problem is not None for result in results)
    print(f"{len(results):,} mutations, {problems:,} problems")
    print(f"slowest: {slowest.seconds:.2f} s ({slowest.number}: {slowest.format}, {slowest.ways})")
    print(f"most memory: {largest.memory >> 20:,} MiB ({largest.number}: {largest.format})")


if __name__ == "__main__":
    main()
