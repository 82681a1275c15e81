"""Decoding JPEGs with the compiled parts and without them, in turns: ratios of processor time.

    python -m benchmarks.short_cut [ARCHIVE] [--images 120] [--repeats 5]

Each file is brought from bytes in memory to the network's square; the last line is that of making
the square alone, of the reduced image. Pixels are compared first: any difference ends it all.
Without ARCHIVE, phantoms with the size of real X-rays are drawn.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from batchscan.errors import NotScored
from batchscan.image import jpeg, square
from batchscan.image.decode import decode
from batchscan.image.short_cut import short_cut
from batchscan.image.square import compiled_square
from batchscan.model.bundle import load_bundle
from batchscan.rules import Rules
from benchmarks.race.archive import draw_jpeg

_PHANTOMS = 20
_RULES = Rules(score_all=True)


def main() -> None:
    """Compare, measure, print."""
    options = _arguments()
    if short_cut() is None or compiled_square() is None:
        sys.exit("nothing compiled here: batchscan was installed without a C compiler")
    size = load_bundle().input_size
    files = _files(options.archive, options.images)
    for number, data in enumerate(files):
        if not np.array_equal(_pixels(data, size), _pixels_without(data, size)):
            sys.exit(f"file {number} has other pixels with the short cut than without it")
    times = defaultdict(list)
    for data in files:
        turns = [
            (_seconds(data, size), _seconds_without(data, size)) for _ in range(options.repeats)
        ]
        both = tuple(statistics.median(side) for side in zip(*turns, strict=True))
        times[_kind(data, size)].append(both)
        times["all"].append(both)
    times["square"] = [_square_seconds(data, size, options.repeats) for data in files]
    _print(times)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Decoding JPEGs with the short cut and without")
    parser.add_argument("archive", type=Path, nargs="?", help="default: phantoms are drawn")
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def _files(archive: Path | None, count: int) -> list[bytes]:
    if archive is None:
        rng = np.random.default_rng(0)
        return [draw_jpeg(rng, number) for number in range(min(count, _PHANTOMS))]
    files, found = sorted(archive.rglob("*.jp*g"))[:count], []
    for file in files:
        data = file.read_bytes()
        try:
            decode(data, 8, _RULES)
        except NotScored as problem:
            print(f"{file} is left out: {problem.reason}")
            continue
        found.append(data)
    if not found:
        sys.exit(f"{archive}: expected sound JPEG files (*.jpeg, *.jpg), found none")
    return found


def _kind(data: bytes, size: int) -> str:
    """Name the way a file is decoded."""
    with Image.open(io.BytesIO(data), formats=["jpeg"]) as image:
        times = min(image.width // size, image.height // size)
        if image.info.get("progressive"):
            return "progressive"
    scale = next(scale for scale in (8, 4, 2, 1) if times >= scale or scale == 1)
    marks = ", marks" if b"\xff\xd0" in data else ""  # The first of the restart marks.
    return f"at 1/{scale}{marks}" if scale > 1 else "whole"


@contextmanager
def _without() -> Iterator[None]:
    """Leave all files to Pillow."""
    before = jpeg.reduced, square.compiled_square
    jpeg.reduced = lambda *_: None  # type: ignore[assignment]
    square.compiled_square = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        jpeg.reduced, square.compiled_square = before


def _pixels(data: bytes, size: int) -> np.ndarray:
    return decode(data, size, _RULES).pixels


def _pixels_without(data: bytes, size: int) -> np.ndarray:
    with _without():
        return _pixels(data, size)


def _seconds(data: bytes, size: int) -> float:
    start = time.process_time()
    _pixels(data, size)
    return time.process_time() - start


def _seconds_without(data: bytes, size: int) -> float:
    with _without():
        return _seconds(data, size)


def _square_seconds(data: bytes, size: int, repeats: int) -> tuple[float, ...]:
    """Make the square of a reduced image, with the compiled part and without it."""
    with Image.open(io.BytesIO(data), formats=["jpeg"]) as image:
        image.draft("L", (size, size))
        grey = image.convert("L")
    turns = [(_one(grey, size), _one_without(grey, size)) for _ in range(repeats)]
    return tuple(statistics.median(side) for side in zip(*turns, strict=True))


def _one(grey: Image.Image, size: int) -> float:
    start = time.process_time()
    square.to_square(grey, None, size)
    return time.process_time() - start


def _one_without(grey: Image.Image, size: int) -> float:
    with _without():
        return _one(grey, size)


def _print(times: dict[str, list[tuple[float, ...]]]) -> None:
    print(f"{'':12}{'images':>7}{'with, ms':>10}{'without, ms':>13}{'ratio':>7}")
    for kind in sorted(times, key=lambda kind: (kind == "square", kind)):
        quick, slow = (statistics.mean(side) * 1000 for side in zip(*times[kind], strict=True))
        print(f"{kind:12}{len(times[kind]):7}{quick:10.3f}{slow:13.3f}{quick / slow:7.2f}")


if __name__ == "__main__":
    main()
