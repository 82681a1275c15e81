"""The network of a bundle in 8-bit integers, as an extra file: faster on processors.

    python -m training.quantised DATASET BUNDLE --out NEW

writes the bundle anew, with `model.int8.onnx`; all else, and every score of `model.onnx`, stays.
DATASET must hold exactly what the bundle was trained on: some of its images say which values each
layer takes (static quantisation, by `onnxruntime.quantization`), the others are scored with both
networks. Nothing is written where the area under the ROC curve falls, or a score moves, by more
than the limits below.

Weights have 7 bits: with 8, processors without VNNI or the like run over and make other sums than
those with them. What comes before the second convolution stays in floating point: it has one
channel, for which integers are slower, and most of the error.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BatchscanError, BundleError
from batchscan.metrics.statistics import roc_auc
from batchscan.model.bundle import Bundle, refuse_unless_replaceable
from batchscan.model.card import INT8_FILE
from batchscan.run.provenance import load_matching_bundle
from training.device import require_packages
from training.progress import say
from training.trained_images import (
    TrainingImages,
    companions_of,
    open_network,
    training_images,
    write_again,
)

MOST_AUC_LOST = 0.001
MOST_MOVED = 0.05
"""Of any image's score, a probability."""

_CALIBRATION_IMAGES = 256
_INTEGERS = ("Conv", "Add", "Relu", "MaxPool")


@dataclass(frozen=True)
class Drift:
    """How far the scores of the integers are from those of `model.onnx`, over `images`.

    `auc` is that of each class against the rest, the smallest of them; of training images, so what
    counts is the difference.
    """

    images: int
    calibration_images: int
    auc_fp32: float
    auc_int8: float
    mean_difference: float
    largest_difference: float

    def check(self) -> None:
        """Raise `BundleError` where it is more than the limits allow."""
        lost = self.auc_fp32 - self.auc_int8
        if not (lost <= MOST_AUC_LOST and self.largest_difference <= MOST_MOVED):
            raise BundleError(
                f"in 8-bit integers the AUC falls by {lost:.4f} and a score moves by "
                f"{self.largest_difference:.4f}: expected at most {MOST_AUC_LOST} and "
                f"{MOST_MOVED}, so nothing is written; use this network at fp32"
            )


def add_quantised(dataset: Path, folder: Path, out: Path) -> Bundle:
    """Write the bundle in `folder` to `out`, with `model.int8.onnx`; see the module's docstring.

    Raises `BundleError` for the bundle, or a network that cannot be quantised within the limits,
    and `DatasetError` where the images are not those that it was trained on.
    """
    require_packages()
    refuse_unless_replaceable(out)
    bundle = load_matching_bundle(folder)
    companions = companions_of(bundle, out)
    with training_images(bundle, dataset) as images:
        chosen = _spread(len(images.positions))
        sample = images.pixels[images.positions[chosen]]
        network = quantise(bundle.model_bytes("onnx"), sample)
        drift = _measure(bundle, network, images, chosen)
    drift.check()
    return write_again(bundle, out, {INT8_FILE: network}, {"int8": asdict(drift)}, companions)


def quantise(content: bytes, sample: NDArray[np.uint8]) -> bytes:
    """Return a network (`model.onnx`) in integers; `sample` is uint8 (N, S, S).

    The same bytes for the same network and sample. Raises `BundleError` where nothing in it can be
    quantised.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # Before its import; see `batchscan.model.session`.
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    with tempfile.TemporaryDirectory(prefix="batchscan-") as place:
        plain, integers = Path(place, "plain.onnx"), Path(place, "integers.onnx")
        _write_folded(content, plain)
        nodes = _quantisable(onnx.load(plain).graph)
        with _quietly():
            quantize_static(
                plain,
                integers,
                _Inputs(sample),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                nodes_to_quantize=nodes,
                op_types_to_quantize=list(_INTEGERS),
                calibrate_method=CalibrationMethod.Percentile,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        return integers.read_bytes()


class _Inputs:
    """Hands the sample to the quantiser, as its `CalibrationDataReader` does.

    One image at a time: it cannot join batches of different lengths.
    """

    def __init__(self, sample: NDArray[np.uint8]) -> None:
        self._images = iter(sample)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the inputs of the next run, None at the end."""
        image = next(self._images, None)
        return None if image is None else {"images": image[np.newaxis]}


def _write_folded(content: bytes, file: Path) -> None:
    """Write the network as ONNX Runtime simplifies it: normalisations become part of weights."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _quantisable(graph: Any) -> list[str]:
    """Name the nodes from the second convolution on; the heat map's own stays as it is."""
    first = next((place for place, node in enumerate(graph.node) if node.op_type == "Conv"), None)
    later = [] if first is None else list(graph.node)[first + 1 :]
    heat_map = {node.input[0] for node in later if "activation" in node.output}
    start = next((place for place, node in enumerate(later) if node.op_type == "Conv"), len(later))
    found = [node for node in later[start:] if heat_map.isdisjoint(node.output)]
    if not any(node.op_type == "Conv" for node in found):
        raise BundleError(
            "model.onnx: expected a network of several convolutions, found "
            f"{0 if first is None else 1}; there is nothing to gain from integers"
        )
    return [node.name for node in found if node.op_type in _INTEGERS]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep back what the quantiser says of its progress, and its advice to simplify before."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _spread(count: int) -> NDArray[np.int64]:
    """Choose images from 0 to `count` - 1, evenly spread; half of them at most."""
    chosen = min(_CALIBRATION_IMAGES, max(1, count // 2))
    return np.linspace(0, count - 1, chosen).astype(np.int64)


def _measure(
    bundle: Bundle, network: bytes, images: TrainingImages, chosen: NDArray[np.int64]
) -> Drift:
    """Score all images but the `chosen` with both networks."""
    others = np.setdiff1d(np.arange(len(images.positions)), chosen)
    pixels, labels = images.pixels[images.positions[others]], images.labels[others]
    plain, integers = (
        open_network(content, bundle).score(pixels)
        for content in (bundle.model_bytes("onnx"), network)
    )
    apart = np.abs(plain - integers)
    return Drift(
        images=len(others),
        calibration_images=len(chosen),
        auc_fp32=_auc(labels, plain),
        auc_int8=_auc(labels, integers),
        mean_difference=float(apart.mean()),
        largest_difference=float(apart.max()),
    )


def _auc(labels: NDArray[np.int64], scores: NDArray[np.float32]) -> float:
    columns = {1: scores} if scores.ndim == 1 else dict(enumerate(scores.T))
    found = [roc_auc(labels == number, column) for number, column in columns.items()]
    return min((value for value in found if value is not None), default=float("nan"))


def main() -> None:
    """Add the integers to the bundle that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m training.quantised", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("dataset", type=Path, help="the images that the bundle was trained on")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the new bundle goes")
    given = parser.parse_args()
    try:
        bundle = add_quantised(given.dataset, given.bundle, given.out)
    except BatchscanError as error:
        print(f"batchscan: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("batchscan: interrupted; run the same command again", file=sys.stderr)
        sys.exit(130)
    found = Drift(**bundle.card["int8"])
    say(
        f"{found.images:,} images: AUC {found.auc_fp32:.5f}, in integers {found.auc_int8:.5f}; "
        f"scores differ by {found.mean_difference:.5f} on average, {found.largest_difference:.4f} "
        "at most"
    )
    print(f"model bundle {bundle.name} in {given.out}")


if __name__ == "__main__":
    main()
