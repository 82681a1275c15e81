"""batchscan, two plain processes without an engine, and decoding alone: one archive, one run.

    python -m benchmarks.throughput ARCHIVE [--images 3000] [--repeats 3] [--json FILE]

Each repeat measures all three, in alternating order; the table shows medians. The steady rate
leaves start-up and end out: for batchscan it is that between a tenth and nine tenths of the images,
for the others, whose rate is even, that from the loaded model to the last image. Read the ratios:
the rates of a shared machine come and go.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import read_image
from batchscan.image.decode import decode
from batchscan.model.bundle import load_bundle
from batchscan.model.scorer import open_scorer
from batchscan.phantom import draw_archive
from batchscan.run.observer import Progress, ShardReport

PROCESSES = len(os.sched_getaffinity(0))
CHUNK = 256


def main() -> None:
    """Measure and print."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        archive = _archive(options.archive, Path(folder) / "archive", options.images)
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            "batchscan": lambda: _run_batchscan(archive, Path(folder)),
            "plain processes": lambda: _run_processes(archive, _score_all),
            "decoding alone": lambda: _run_processes(archive, _decode_all),
        }
        results = _measure(contenders, options.repeats)
    _print_table(results, options.images)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="batchscan against the same work without an engine"
    )
    parser.add_argument("archive", type=Path, nargs="?", help="default: phantoms are drawn")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _archive(source: Path | None, folder: Path, images: int) -> Path:
    """Make an archive of `images` links, repeating the source's images as often as needed."""
    if source is None:
        source = folder.with_name("phantoms")
        source.mkdir()
        draw_archive(source, images=200)
    names = list(list_images(source, ListingNotes()))
    if not names:
        sys.exit(f"{source}: no images found")
    for number in range(images):
        name = names[number % len(names)]
        link = folder / f"{number // 1000:04d}" / f"{number:08d}{Path(name).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((source / name).resolve())
    return folder


def _measure(
    contenders: dict[str, Callable[[], dict[str, float]]], repeats: int
) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        order = list(contenders) if repeat % 2 == 0 else list(reversed(contenders))
        for name in order:
            results[name].append(contenders[name]())
            print(f"  repeat {repeat + 1}: {name}: {results[name][-1]}", file=sys.stderr)
    return results


def _print_table(results: dict[str, list[dict[str, float]]], images: int) -> None:
    print(f"\n{images:,} images, {PROCESSES} processes, medians of {len(results['batchscan'])}\n")
    print(f"{'':18}{'whole s':>9}{'start s':>9}{'steady img/s':>14}{'ratio to plain':>16}")
    ratios = _ratios(results)
    for name, runs in results.items():
        whole, start, steady = (
            statistics.median(run[key] for run in runs) for key in ("whole", "start", "steady")
        )
        print(f"{name:18}{whole:9.1f}{start:9.1f}{steady:14.0f}{ratios[name]:16.2f}")
    print(
        "\nstart: until the first part is committed (batchscan), until the model is loaded (others)"
    )


def _ratios(results: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return the median of each contender's ratio to the plain processes of the same repeat."""
    plain = results["plain processes"]
    return {
        name: statistics.median(
            run["steady"] / other["steady"] for run, other in zip(runs, plain, strict=True)
        )
        for name, runs in results.items()
    }


# ------------------------------------------------------------------------------------- batchscan


class _Recorder(Progress):
    """Notes when shards end; the clock runs from the start of the process."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, int]] = []

    def shard_done(self, report: ShardReport) -> None:
        self.ends.append((time.time(), report.images))


def _run_batchscan(archive: Path, folder: Path) -> dict[str, float]:
    out = folder / "results.parquet"
    out.unlink(missing_ok=True)
    began = time.time()
    command = [sys.executable, "-m", "benchmarks.throughput", "--inside", str(archive), str(out)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ends = json.loads(output.splitlines()[-1])
    whole = time.time() - began
    return {"whole": whole, "start": ends[0][0] - began, "steady": _middle_rate(ends)}


def _middle_rate(ends: list[tuple[float, int]]) -> float:
    """Return images per second between a tenth and nine tenths of all images."""
    total, done = sum(images for _, images in ends), 0
    window = []
    for moment, images in ends:
        done += images
        if 0.1 * total <= done <= 0.9 * total:
            window.append((moment, done))
    return (window[-1][1] - window[0][1]) / (window[-1][0] - window[0][0])


def _inside(archive: str, out: str) -> None:
    """Be the process that is measured."""
    from batchscan.config import ScanConfig
    from jobs.scan import scan

    recorder = _Recorder()
    scan(ScanConfig(Path(archive), Path(out)), recorder)
    print(json.dumps(recorder.ends))


# ------------------------------------------------------------------------------ without an engine


def _run_processes(archive: Path, work: Callable[..., None]) -> dict[str, float]:
    names = list(list_images(archive, ListingNotes()))
    context = multiprocessing.get_context("spawn")
    times: Any = context.Queue()
    began = time.time()
    crew = [
        context.Process(target=work, args=(str(archive), names[n::PROCESSES], times))
        for n in range(PROCESSES)
    ]
    for process in crew:
        process.start()
    spans = [times.get() for _ in crew]
    for process in crew:
        process.join()
    start, end = min(span[0] for span in spans), max(span[1] for span in spans)
    return {
        "whole": time.time() - began,
        "start": start - began,
        "steady": len(names) / (end - start),
    }


def _score_all(root: str, names: Sequence[str], times: Any) -> None:
    bundle = load_bundle()
    scorer = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size)
    start = time.time()
    for first in range(0, len(names), CHUNK):
        chunk = names[first : first + CHUNK]
        scorer.score(np.stack([_pixels(root, name, bundle.input_size) for name in chunk]))
    times.put((start, time.time()))


def _decode_all(root: str, names: Sequence[str], times: Any) -> None:
    size = load_bundle().input_size
    start = time.time()
    for name in names:
        _pixels(root, name, size)
    times.put((start, time.time()))


def _pixels(root: str, name: str, size: int) -> Any:
    return decode(read_image(root, name)[0], size).pixels


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        _inside(*sys.argv[2:4])
    else:
        main()
