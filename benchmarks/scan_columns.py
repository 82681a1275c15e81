"""What the columns `phash` and `ood_score` cost a scan: processor time with and without them.

    python -m benchmarks.scan_columns ARCHIVE [--images 600] [--repeats 9]

The same images are read, decoded, scored and tabulated in one process and one thread, in turns: by
the shipped bundle as it is, and by its network without the output `features`, without a reference
and without hashes. Processor time, as other work on the machine comes and goes; the median ratio of
neighbouring runs is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from numpy.typing import NDArray

from batchscan.archive.listing import ListingNotes, list_images
from batchscan.model.bundle import load_bundle
from batchscan.model.reference import Reference, load_reference
from batchscan.model.scorer import Scorer, open_scorer
from batchscan.run import shard

SHARD = 256


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    names = list(list_images(given.archive, ListingNotes()))[: given.images]
    bundle = load_bundle()
    network = bundle.model_bytes("onnx")
    full, bare = (
        open_scorer("onnx", content, input_size=bundle.input_size)
        for content in (network, _without_features(network))
    )
    reference = load_reference(bundle)
    runs: list[tuple[float, float]] = []
    for repeat in range(given.repeats + 1):
        both = [
            lambda: _seconds(given.archive, names, full, reference),
            lambda: _seconds(given.archive, names, bare, None),
        ]
        found = [run() for run in (both if repeat % 2 else reversed(both))]
        if repeat:  # The first warms up.
            runs.append((found[0], found[1]) if repeat % 2 else (found[1], found[0]))
    ratios = sorted(with_columns / without for with_columns, without in runs)
    for title, seconds in zip(("with", "without"), zip(*runs, strict=True), strict=True):
        print(f"{title:8} {1e6 * statistics.median(seconds) / len(names):8.0f} us an image")
    print(f"ratio    {statistics.median(ratios):8.4f} ({ratios[0]:.4f} to {ratios[-1]:.4f})")


def _seconds(archive: Path, names: list[str], scorer: Scorer, reference: Reference | None) -> float:
    """Score all images; returns processor time."""
    hashing = nullcontext() if reference else mock.patch.object(shard, "perceptual_hashes", _none)
    began = time.process_time()
    with hashing:
        for start in range(0, len(names), SHARD):
            some = shard.Shard("", tuple(names[start : start + SHARD]))
            shard.score_shard(str(archive), some, scorer, reference=reference)
    return time.process_time() - began


def _none(squares: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.zeros(len(squares), dtype=np.uint64)


def _without_features(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    (output,) = [output for output in model.graph.output if output.name == "features"]
    (node,) = [node for node in model.graph.node if node.output[0] == "features"]
    model.graph.output.remove(output)
    model.graph.node.remove(node)
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
