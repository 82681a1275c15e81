"""`train`: from a data set to a bundle, step by step."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchscan.bundle import Bundle, refuse_unless_replaceable, write_bundle
from batchscan.errors import UsageError
from batchscan.image import PREPROCESSING
from batchscan.metrics import Metric
from batchscan.model import open_scorer
from training import evaluation
from training.cache import DecodedFiles, decode_files
from training.dataset import CLASSES, SIDES, Dataset, find_dataset
from training.device import open_device, require_packages
from training.network import FIVE_BLOCK, find_architecture
from training.split import EXCLUDED, Split, make_split

PARITY_IMAGES = 256
SAMPLES = 6  # images of each class in the picture
SHOWN = 5  # unusable files named on the terminal; split.csv names all
SCORED_AT_A_TIME = 1024  # 23 MB of pixels


@dataclass(frozen=True)
class TrainingSummary:
    """What came out: the bundle, and the figures of `validation` and, if there is one, `test`.

    `interrupted` tells that Ctrl-C or a signal ended the training early; the bundle is whole.
    """

    bundle: Bundle
    figures: Mapping[str, Mapping[str, Metric]]
    epochs_run: int
    best_epoch: int
    interrupted: bool


@dataclass(frozen=True)
class _Data:
    """Decoded and divided images, as every step after this needs them."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    split: Split


def train(
    dataset: Path,
    out: Path,
    *,
    network: str = FIVE_BLOCK.name,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.1,
    workers: int | None = None,
    name: str | None = None,
    verbose: bool = False,
) -> TrainingSummary:
    """Train a network on a data set; write it as a bundle to `out`, with history and pictures.

    `dataset` is laid out as `training.dataset` says. The fractions are of the training images, for
    sides that the data set doesn't give. `workers` threads decode, by default one for each core.
    `name` is the bundle's. Progress goes to standard error, the figures to standard output.

    The decoded images and the checkpoint lie in a temporary folder beside `out` meanwhile: 22.5 kB
    for each image of 150 x 150 pixels. Raises `UsageError` or one of its kinds for what the user
    can put right; nearly always before the long part begins.
    """
    started = time.monotonic()
    _check_options(epochs, batch_size, seed, validation_fraction, test_fraction, workers)
    architecture = find_architecture(network)
    require_packages()
    out = Path(out)
    refuse_unless_replaceable(out)
    found = find_dataset(Path(dataset))
    threads = workers or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(
        prefix=f".{out.name}.training-", dir=out.parent, ignore_cleanup_errors=True
    ) as temporary:
        place = Path(temporary)
        decoded = _decode(found, place / "pixels.raw", architecture.input_size, threads)
        split = make_split(
            found.images,
            decoded.digests,
            decoded.failures,
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
        )
        _tell_data(found, split)
        data = _Data(decoded.pixels, split.labels(), split)

        device = open_device(verbose)
        from training import card, export, fit

        _say(f"training {network} on {device.name} in {device.dtype}; Ctrl-C keeps the best epoch")
        fitted = fit.fit(
            fit.TrainingImages(
                data.pixels, data.labels, split.indices("train"), split.indices("validation")
            ),
            architecture,
            device,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            folder=place,
        )
        if fitted.interrupted:
            _say(f"interrupted: keeping epoch {fitted.best_epoch}, the best so far")
        files = {
            "model.onnx": export.to_onnx(fitted.model),
            "model.keras": export.to_keras(fitted.model),
        }
        sample = data.pixels[split.indices("validation")[:PARITY_IMAGES]]
        parity = export.check_parity(
            files, sample, input_size=architecture.input_size, threads=threads
        )
        scored = _score(data, files["model.onnx"], threads)
        threshold = evaluation.choose_threshold(*scored["validation"])
        figures = {side: evaluation.evaluate(*pair, threshold) for side, pair in scored.items()}
        bundle = write_bundle(
            out,
            name=name or f"{network}-{split.fingerprint()[:8]}",
            files={**files, "split.csv": split.to_csv()},
            classes=CLASSES,
            threshold=threshold,
            input_size=architecture.input_size,
            preprocessing=PREPROCESSING,
            details=card.training_details(
                network=network,
                split=split,
                fitted=fitted,
                device=f"{device.name}, {device.dtype}",
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                seconds=time.monotonic() - started,
                parity=parity,
                parity_images=len(sample),
                figures=figures,
            ),
        )
        _write_history(out / "history.csv", fitted.history)
        _draw(out / "pictures", data, fitted, scored, figures)
    print(f"{evaluation.render(figures)}\n\nmodel bundle {bundle.name} in {out}")
    return TrainingSummary(
        bundle, figures, len(fitted.history), fitted.best_epoch, fitted.interrupted
    )
