"""What the columns `phash` and `ood_score` cost a scan, in processor time.

    python -m benchmarks.scan_columns ARCHIVE [--images 512] [--repeats 9]

The same images are read, decoded, scored and tabulated in one process and one thread, a few at a
time, in turns: by the shipped bundle as it is, and by its network without the output `features`,
without a reference and without hashes; the latter twice, under two names, to show what is noise.
What else runs on a machine only ever adds to processor time: of each few images the least of all
repeats counts. Then what is added is timed by itself, on squares that are no longer in the cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
from numpy.typing import NDArray

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import read_image
from batchscan.image.decode import decode
from batchscan.image.perceptual_hash import hashes_as_text, perceptual_hashes
from batchscan.model.bundle import load_bundle
from batchscan.model.reference import Reference, load_reference
from batchscan.model.scorer import Scorer, open_scorer
from batchscan.run import shard

SHARD = 64
WITHOUT = ("without", "without, again")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    names = list(list_images(given.archive, ListingNotes()))[: given.images]
    bundle = load_bundle()
    network, reference = bundle.model_bytes("onnx"), load_reference(bundle)
    assert reference is not None
    full = open_scorer("onnx", network, input_size=bundle.input_size)
    contenders: dict[str, tuple[Scorer, Reference | None]] = {"with": (full, reference)}
    for name in WITHOUT:
        bare = open_scorer("onnx", _without_features(network), input_size=bundle.input_size)
        contenders[name] = bare, None
    each = _compare(given.archive, names, contenders, given.repeats)
    for name, microseconds in each.items():
        print(f"{name:16} {microseconds:7.0f} us an image {microseconds / each[WITHOUT[0]]:7.4f}")
    squares = np.stack([decode(read_image(str(given.archive), n)[0], 144).pixels for n in names])
    for name, microseconds in _parts(squares, full, reference, given.repeats).items():
        share = microseconds / each[WITHOUT[0]]
        print(f"{name:16} {microseconds:7.1f} us an image {share:7.4f} of a scan")


def _compare(
    archive: Path,
    names: Sequence[str],
    contenders: dict[str, tuple[Scorer, Reference | None]],
    repeats: int,
) -> dict[str, float]:
    """Return each contender's microseconds an image; who goes first changes from turn to turn."""
    shards = [tuple(names[start : start + SHARD]) for start in range(0, len(names), SHARD)]
    least = {name: [float("inf")] * len(shards) for name in contenders}
    order = list(contenders)
    for _ in range(repeats):
        for number, some in enumerate(shards):
            order = order[1:] + order[:1]
            for name in order:
                seconds = _seconds(archive, some, *contenders[name])
                least[name][number] = min(least[name][number], seconds)
    return {name: 1e6 * sum(seconds) / len(names) for name, seconds in least.items()}


def _seconds(
    archive: Path, names: tuple[str, ...], scorer: Scorer, reference: Reference | None
) -> float:
    hashing = nullcontext() if reference else mock.patch.object(shard, "perceptual_hashes", _none)
    with hashing:
        return _timed(
            lambda: shard.score_shard(
                str(archive), shard.Shard("", names), scorer, reference=reference
            )
        )


def _parts(
    squares: NDArray[np.uint8], scorer: Scorer, reference: Reference, repeats: int
) -> dict[str, float]:
    """Return the microseconds an image of the work that is added, as the least of all repeats."""
    features = scorer.score_with_features(squares)[1]
    assert features is not None
    work: dict[str, Callable[[], object]] = {
        "hash": lambda: hashes_as_text(perceptual_hashes(squares)),
        "distance": lambda: reference.out_of_distribution(features),
    }
    return {
        name: 1e6 * min(_timed(part) for _ in range(repeats)) / len(squares)
        for name, part in work.items()
    }


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
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
