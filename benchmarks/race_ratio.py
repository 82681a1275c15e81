"""Has something slow sneaked in? batchscan beside the same work without an engine, in one run.

    python -m benchmarks.race_ratio [--images 3000] [--rounds 2] [--least 0.25]

A small archive of drawn X-rays at half size. Printed always; it fails only where the ratio of the
steady rates is far off: both run in turns, but other work on the machine takes more from batchscan,
whose workers step back for it (nice 15).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from batchscan.model.bundle import load_bundle
from benchmarks.race.archive import draw_jpeg, make_archive
from benchmarks.race.contenders import CONTENDERS, OURS, PLAIN
from benchmarks.race.rounds import Course, Entry, timed_round
from benchmarks.race.table import Row, rows_of
from benchmarks.race.task import Task

_ORIGINALS = 20
_LIMIT = 300.0  # seconds for one run


def main() -> None:
    """Measure, print, and fail where batchscan is far slower than it should be."""
    options = _arguments()
    entries = [Entry(each) for each in CONTENDERS if each.name in (OURS, PLAIN)]
    with tempfile.TemporaryDirectory(prefix="race-") as folder:
        course = _course(Path(folder), options.images)
        for number in range(options.rounds):
            timed_round(entries, course, number)
    ours, plain = rows_of(entries)
    _print(ours, plain)
    problem = ours.problem or plain.problem
    if problem or plain.steady_ratio is None:
        sys.exit(f"the ratio cannot be measured: {problem or 'too few images'}")
    if plain.steady_ratio < options.least:
        sys.exit(f"batchscan is far slower than plain processes: expected {options.least} or more")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="batchscan beside the same work without an engine")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--least", type=float, default=0.25, help="fail below (%(default)s)")
    return parser.parse_args()


def _course(folder: Path, images: int) -> Course:
    drawn, rng = folder / "drawn", np.random.default_rng(0)
    drawn.mkdir()
    for number in range(_ORIGINALS):
        (drawn / f"{number}.jpeg").write_bytes(draw_jpeg(rng, number, scale=0.5))
    archive, bundle = make_archive(drawn, folder, images), load_bundle()
    task = Task(archive, folder / "out.parquet", bundle.folder, bundle.input_size, folder / "marks")
    return Course(task, images, _LIMIT)


def _print(ours: Row, plain: Row) -> None:
    load = os.getloadavg()[0]
    print(f"{'':28}{'whole s':>9}{'start s':>9}{'steady img/s':>14}   load {load:.1f}")
    for row in (ours, plain):
        whole = row.whole[1] if row.whole else None
        figures = zip((whole, row.start, row.steady), ("9.1f", "9.1f", "14.0f"), strict=True)
        cells = ("-".rjust(9) if value is None else format(value, form) for value, form in figures)
        print(f"{row.title:28}{''.join(cells)}")
    if plain.steady_ratio:
        print(f"batchscan has {plain.steady_ratio:.2f} of the steady rate without an engine")


if __name__ == "__main__":
    main()
