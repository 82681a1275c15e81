"""Cost per image and peak memory of a scan, from a thousand images to a hundred thousand.

    python -m benchmarks.growth [ARCHIVE] [--images 1000 10000 100000] [--picture growth.png]

Each size is one run of `batchscan run` in a process of its own, over hard links to the images of
ARCHIVE (without one: to 200 small phantoms), repeated as often as needed. Time is that of the
processors, of the whole process tree, so that other work on the machine hardly counts; memory is
the most that the tree held at one moment. The marginal cost of a size is what each image costs
beyond those of the smaller run before: start and end, which are the same for all, are left out.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.phantom import draw_phantom

from .process_tree import ProcessTree

_FOLDER = 1000  # Images in a folder.
_PHANTOMS, _SIZE = 200, (280, 220)
_LINKS = 20_000  # Hard links to one file: some file systems end at 65,000.


@dataclass(frozen=True)
class Run:
    """What a scan of so many images took: seconds of processor time, and bytes at its peak."""

    images: int
    seconds: float
    peak: int


def main() -> None:
    """Measure each size, print the table, and draw the curve where that is asked for."""
    options = _arguments()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        names = _sources(options.archive, Path(folder))
        print(f"{'images':>10}{'CPU s':>9}{'ms/image':>10}{'marginal ms':>13}{'peak MB':>9}")
        archive = Path(folder, "archive")
        for images in sorted(options.images):
            _grow(archive, names, runs[-1].images if runs else 0, images)
            runs.append(_scan(archive, images, Path(folder), options.workers))
            print(_line(runs), flush=True)
    if options.picture:
        _draw(runs, options.picture)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cost per image and memory as an archive grows")
    parser.add_argument("archive", type=Path, nargs="?", help="default: small phantoms are drawn")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 3000, 10_000, 100_000])
    parser.add_argument("--workers", default="2")
    parser.add_argument("--folder", help="where the links are made: on the disk of ARCHIVE")
    parser.add_argument("--picture", type=Path, help="such as growth.png; needs matplotlib")
    return parser.parse_args()


def _sources(archive: Path | None, folder: Path) -> list[Path]:
    """Return the files to link to, as copies in `folder`, which hard links can reach."""
    copies = folder / "sources"
    copies.mkdir()
    if archive is None:
        _draw_phantoms(copies)
    else:
        found = list(list_images(archive, ListingNotes())) if archive.exists() else []
        if not found:
            sys.exit(f"{archive}: expected images, found none; name another folder")
        for number, name in enumerate(found):
            copy = copies / f"{number:05d}{Path(name).suffix}"
            copy.write_bytes((archive / name).read_bytes())
    return sorted(copies.iterdir())


def _draw_phantoms(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(_PHANTOMS):
        pixels = draw_phantom(rng, number % 2 == 1, *_SIZE)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpeg", quality=90)


def _grow(archive: Path, names: list[Path], before: int, images: int) -> None:
    if len(names) * _LINKS < images:
        sys.exit(f"expected at least {images // _LINKS + 1} images to link to, found {len(names)}")
    for number in range(before, images):
        source = names[number % len(names)]
        link = archive / f"{number // _FOLDER:05d}" / f"{number:08d}{source.suffix}"
        if number % _FOLDER == 0:
            link.parent.mkdir(parents=True)
        os.link(source, link)


def _scan(archive: Path, images: int, folder: Path, workers: str) -> Run:
    out = folder / f"{images}.parquet"
    command = [sys.executable, "-m", "batchscan", "run", str(archive), "--out", str(out)]
    with (
        subprocess.Popen(
            [*command, "--workers", workers], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        ProcessTree(process.pid) as tree,
    ):
        code = process.wait()
    if code:
        sys.exit(f"the scan of {images:,} images ended with exit code {code}")
    return Run(images, tree.seconds, tree.peak)


def _marginal(before: Run, after: Run) -> float:
    """Return milliseconds for each image that the one has more than the other."""
    return 1000 * (after.seconds - before.seconds) / (after.images - before.images)


def _line(runs: list[Run]) -> str:
    run = runs[-1]
    marginal = f"{_marginal(runs[-2], run):13.2f}" if len(runs) > 1 else f"{'':13}"
    each = 1000 * run.seconds / run.images
    return f"{run.images:10,}{run.seconds:9.1f}{each:10.2f}{marginal}{run.peak / 1e6:9.0f}"


def _draw(runs: list[Run], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (cost, memory) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    sizes = [run.images for run in runs]
    cost.plot(sizes, [1000 * run.seconds / run.images for run in runs], "o-", label="whole run")
    beyond = [_marginal(*pair) for pair in itertools.pairwise(runs)]
    cost.plot(sizes[1:], beyond, "s--", label="beyond the smaller run")
    cost.set(xscale="log", xlabel="images", ylabel="CPU ms per image")
    cost.set_ylim(bottom=0)
    cost.legend()
    memory.plot(sizes, [run.peak / 1e6 for run in runs], "o-")
    memory.set(xscale="log", xlabel="images", ylabel="peak memory, MB")
    memory.set_ylim(0, 1.2 * max(run.peak for run in runs) / 1e6)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
