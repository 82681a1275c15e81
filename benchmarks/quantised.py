"""The network in 8-bit integers beside the one in floating point: time, and how scores differ.

    python -m benchmarks.quantised ARCHIVE [--images 400] [--repeats 9]

Images of ARCHIVE are scored in turns with both networks of the shipped bundle: by the network
alone, 32 decoded images at a time, and from their files as a scan does it (read, hash, decode,
score), all on one core. Printed are medians of processor time for each image, the ratio of each
round's pair, and how far scores and distances (`ood_score`) differ.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.model.bundle import Bundle, load_bundle
from batchscan.model.reference import load_reference
from batchscan.model.scorer import Scorer, open_scorer
from batchscan.run.shard import Shard, load_sample, score_shard

_PRECISIONS = ("fp32", "int8")


def main() -> None:
    """Measure and print."""
    options = _arguments()
    bundle = load_bundle()
    images = decoded_images(options.archive, options.images, bundle.input_size)
    names, pixels = list(images), np.stack(list(images.values()))
    scorers = {each: _open(bundle.at_precision(each)) for each in _PRECISIONS}
    tables = {each: _scan(options.archive, names, scorers[each], bundle) for each in _PRECISIONS}
    print(f"{len(names)} images, one core, medians of {options.repeats}\n")
    print(f"{'':16}{'fp32 ms':>9}{'int8 ms':>9}{'ratio':>7}   lowest to highest")
    _compare("network alone", lambda each: scorers[each].score(pixels), options, len(names))
    _compare(
        "files to scores",
        lambda each: _scan(options.archive, names, scorers[each], bundle),
        options,
        len(names),
    )
    print()
    for column in ("score", "ood_score"):
        plain, integers = (
            tables[each][column].drop_null().to_numpy().astype(np.float64) for each in _PRECISIONS
        )
        apart = np.abs(plain - integers)
        print(f"{column:10} differs by {apart.mean():.5f} on average, {apart.max():.4f} at most")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=9)
    return parser.parse_args()


def decoded_images(archive: Path, most: int, size: int) -> dict[str, NDArray[np.uint8]]:
    """Return the first images that can be scored, by name: uint8 (size, size)."""
    names = sorted(list_images(archive, ListingNotes())) if archive.exists() else []
    samples = ((name, load_sample(str(archive), name, size).image) for name in names)
    found = ((name, image.pixels) for name, image in samples if image is not None)
    images = dict(itertools.islice(found, most))
    if not images:
        sys.exit(f"{archive}: expected images, found none that can be scored")
    return images


def _open(bundle: Bundle) -> Scorer:
    return open_scorer("onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size)


def _scan(archive: Path, names: list[str], scorer: Scorer, bundle: Bundle) -> pa.Table:
    shard, reference = Shard("", tuple(names)), load_reference(bundle)
    return score_shard(
        str(archive), shard, scorer, map, classes=bundle.classes, reference=reference
    )


def _compare(
    title: str, work: Callable[[str], object], options: argparse.Namespace, images: int
) -> None:
    """Time both in turns, and print a line."""
    times: dict[str, list[float]] = {each: [] for each in _PRECISIONS}
    for each in _PRECISIONS * options.repeats:
        began = time.process_time()
        work(each)
        times[each].append(1000 * (time.process_time() - began) / images)
    ratios = [int8 / fp32 for fp32, int8 in zip(*times.values(), strict=True)]
    medians = "".join(f"{statistics.median(times[each]):9.3f}" for each in _PRECISIONS)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{title:16}{medians}{statistics.median(ratios):7.2f}   {spread}", flush=True)


if __name__ == "__main__":
    main()
