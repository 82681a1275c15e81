"""How far scores move where a processor rounds otherwise: in floating point, and in integers.

    python -m benchmarks.rounding ARCHIVE [--images 400] [--repeats 8]

Other processors add in another order, which changes last bits. Here half of the weights of the
first convolution of the shipped bundle's network, drawn anew each time, are moved by one unit in
the last place, and all images scored again. Printed is how many scores moved by more than 1e-4,
and the furthest; `batchscan.model.card.TOLERANCES` says what `verify` allows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from batchscan.model.bundle import load_bundle
from batchscan.model.card import TOLERANCES
from batchscan.model.scorer import open_scorer

from .quantised import decoded_images

_FAR = TOLERANCES["fp32"]


def main() -> None:
    """Measure and print."""
    options = _arguments()
    bundle = load_bundle()
    images = decoded_images(options.archive, options.images, bundle.input_size)
    pixels = np.stack(list(images.values()))
    print(f"{len(pixels)} images, {options.repeats} times\n")
    for precision in TOLERANCES:
        content = bundle.at_precision(precision).model_bytes("onnx")
        plain = _score(content, pixels)
        moved = [
            np.abs(_score(_rounded_otherwise(content, seed), pixels) - plain)
            for seed in range(options.repeats)
        ]
        share = np.mean([(apart > _FAR).mean() for apart in moved])
        furthest = max(apart.max() for apart in moved)
        print(
            f"{precision}: {share:.2%} move by more than {_FAR:g}, the furthest by {furthest:.1g}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=8)
    return parser.parse_args()


def _score(content: bytes, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return open_scorer("onnx", content, input_size=pixels.shape[-1]).score(pixels)


def _rounded_otherwise(content: bytes, seed: int) -> bytes:
    """Move half of the first convolution's weights by one unit in the last place."""
    network = onnx.load_from_string(content)
    first = next(node for node in network.graph.node if node.op_type == "Conv")
    random = np.random.default_rng(seed)
    for values in network.graph.initializer:
        if values.name in first.input[1:]:
            before = numpy_helper.to_array(values)
            above = np.nextafter(before, np.float32(np.inf))
            after = np.where(random.random(before.shape) < 0.5, above, before)
            values.CopyFrom(numpy_helper.from_array(after.astype(np.float32), values.name))
    network_bytes: bytes = network.SerializeToString()
    return network_bytes


if __name__ == "__main__":
    main()
