"""What comes out of a training: the exported files, what they are worth, and where they go."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchscan.bundle import Bundle, write_bundle
from batchscan.image import PREPROCESSING
from batchscan.metrics import Metric
from batchscan.model import open_scorer
from training import evaluation, export, pictures
from training.card import figures_details, training_details
from training.device import Device
from training.fit import Fitted
from training.options import TrainingOptions
from training.prepare import PreparedData

PARITY_IMAGES = 256
SAMPLES = 6  # images of each class in the picture
SCORED_AT_A_TIME = 1024  # 23 MB of pixels


@dataclass(frozen=True)
class Measured:
    """The exported files, and what they are worth: (labels, scores) and figures for each side.

    `parity` is the largest difference of a score between the two files, on `parity_images`.
    """

    files: Mapping[str, bytes]
    parity: float
    parity_images: int
    threshold: float
    scored: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    figures: Mapping[str, Mapping[str, Metric]]


def measure(data: PreparedData, fitted: Fitted, options: TrainingOptions) -> Measured:
    """Export the network, compare the files, and score with the exported one, as a scan will.

    The threshold is chosen on the validation images. Raises `BatchscanError` when Keras and ONNX
    disagree.
    """
    files = {
        "model.onnx": export.to_onnx(fitted.model),
        "model.keras": export.to_keras(fitted.model),
    }
    size, threads = options.architecture.input_size, options.threads
    sample = data.pixels[_spread(data.split.fold_indices(0)[1], PARITY_IMAGES)]
    parity = export.check_parity(files, sample, input_size=size, threads=threads)
    scorer = open_scorer("onnx", files["model.onnx"], input_size=size, threads=threads)
    scored = {}
    for side in ("validation", "test"):
        test = side == "test"
        positions = data.split.indices("test") if test else data.split.fold_indices(0)[1]
        parts = range(0, len(positions), SCORED_AT_A_TIME)
        pieces = (data.pixels[positions[n : n + SCORED_AT_A_TIME]] for n in parts)
        if parts:
            scores = np.concatenate([scorer.score(piece) for piece in pieces])
            scored[side] = data.labels[positions], scores
    threshold = evaluation.choose_threshold(*scored["validation"])
    figures = {side: evaluation.evaluate(*pair, threshold) for side, pair in scored.items()}
    return Measured(files, parity, len(sample), threshold, scored, figures)


def write(
    out: Path,
    data: PreparedData,
    fitted: Fitted,
    measured: Measured,
    device: Device,
    options: TrainingOptions,
    seconds: float,
) -> Bundle:
    """Write the bundle to the folder `out`, then the history and the pictures into it."""
    bundle = write_bundle(
        out,
        name=options.name or f"{options.network}-{data.split.fingerprint()[:8]}",
        files={**measured.files, "split.csv": data.split.to_csv()},
        classes=data.classes,
        threshold=measured.threshold,
        input_size=options.architecture.input_size,
        preprocessing=PREPROCESSING,
        details={
            **training_details(options, data.split, fitted, device, seconds),
            **figures_details(measured.figures, measured.parity, measured.parity_images),
        },
    )
    with (out / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(fitted.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(fitted.history)
    _draw(out / "pictures", data, fitted, measured)
    return bundle


def _draw(folder: Path, data: PreparedData, fitted: Fitted, measured: Measured) -> None:
    folder.mkdir(exist_ok=True)
    training, _ = data.split.fold_indices(0)
    samples = [
        data.pixels[_spread(training[data.labels[training] == label], SAMPLES)]
        for label in range(len(data.classes))
    ]
    pictures.draw_samples(samples, folder / "samples.png")
    pictures.draw_history(fitted.history, fitted.best_epoch, folder / "history.png")
    pictures.draw_confusion(measured.figures, folder / "confusion.png")
    pictures.draw_roc(measured.scored, measured.figures, folder / "roc.png")


def _spread(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Choose up to `most` positions, evenly spread."""
    chosen = np.linspace(0, len(positions) - 1, min(most, len(positions)))
    return positions[chosen.astype(np.int64)]
