"""The same images in a folder, a zip, a tar and compressed tars: how much longer a scan takes.

    python -m benchmarks.containers ARCHIVE [--images 500] [--repeats 3]

Scans run in one process, in alternating order; the table shows the median ratio to the folder of
the same repeat, of processor time, which a busy machine does not change much. `listing` ends when
all paths are known, `reading` when all files are read, without decoding them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import batchscan
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import read_image
from batchscan.container.reading import close_containers, in_reading_order
from batchscan.rules import DEFAULT_RULES


def main() -> None:
    """Measure and print."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        archives = _archives(options.archive, Path(folder), options.images)
        results: dict[str, list[list[float]]] = {name: [] for name in archives}
        for repeat in range(options.repeats):
            order = list(archives) if repeat % 2 == 0 else list(reversed(archives))
            for name in order:
                results[name].append(_measure(archives[name], Path(folder) / "results.parquet"))
                print(f"  repeat {repeat + 1}: {name}: {results[name][-1]}", file=sys.stderr)
    print(f"\n{options.images:,} images, medians of {options.repeats}, times a folder's\n")
    print(f"{'':10}{'listing':>9}{'reading':>9}{'scan':>9}")
    for name, runs in results.items():
        ratios = [
            statistics.median(
                run[n] / other[n] for run, other in zip(runs, results["folder"], strict=True)
            )
            for n in range(3)
        ]
        print(f"{name:10}" + "".join(f"{ratio:9.2f}" for ratio in ratios))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a scan of containers against one of a folder")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _archives(source: Path, place: Path, images: int) -> dict[str, Path]:
    """Copy the source's images into a folder, as often as needed, and that into containers."""
    names = list(list_images(source, ListingNotes()))
    plain = place / "folder"
    plain.mkdir()
    for number in range(images):
        data, _ = read_image(str(source), names[number % len(names)])
        (plain / f"{number:06d}.jpeg").write_bytes(data)
    files = sorted(plain.iterdir())
    with zipfile.ZipFile(place / "stored.zip", "w") as box:
        for file in files:
            box.write(file, file.name)
    with zipfile.ZipFile(place / "packed.zip", "w", zipfile.ZIP_DEFLATED) as box:
        for file in files:
            box.write(file, file.name)
    for kind, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        with tarfile.open(place / f"box{kind}", mode) as tar:  # type: ignore[call-overload]
            for file in files:
                tar.add(file, file.name)
    return {"folder": plain} | {
        name: place / file
        for name, file in (
            ("stored zip", "stored.zip"),
            ("zip", "packed.zip"),
            ("tar", "box.tar"),
            ("tar.gz", "box.tar.gz"),
        )
    }


def _measure(archive: Path, out: Path) -> list[float]:
    root = str(archive)
    listing = _seconds(lambda: list(list_images(archive, ListingNotes())))
    names = list(in_reading_order(root, list_images(archive, ListingNotes()), DEFAULT_RULES))
    close_containers()
    reading = _seconds(lambda: [len(read_image(root, name)[0]) for name in names])
    close_containers()
    out.unlink(missing_ok=True)
    whole = _seconds(lambda: batchscan.scan(archive, out, workers=0))
    return [listing, reading, whole]


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
