"""`train`: from a data set to a bundle, step by step.

Modules that import Keras are imported within the steps, after `open_device` has made it quiet.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batchscan.bundle import Bundle, refuse_unless_replaceable, write_bundle
from batchscan.image import PREPROCESSING
from batchscan.metrics import Metric
from batchscan.model import open_scorer
from training import evaluation
from training.cache import decode_files
from training.dataset import CLASSES, Dataset, find_dataset
from training.device import Device, open_device, require_packages
from training.options import TrainingOptions
from training.split import EXCLUDED, Split, make_split

if TYPE_CHECKING:
    from training.fit import Fitted

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
    """Decoded images, uint8 (N, S, S), lying on disk; their labels, uint8 (N,); their sides."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    split: Split


@dataclass(frozen=True)
class _Measured:
    """The exported files, and what they are worth: (labels, scores) and figures for each side."""

    files: Mapping[str, bytes]
    parity: float
    parity_images: int
    threshold: float
    scored: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    figures: Mapping[str, Mapping[str, Metric]]


def train(
    dataset: Path,
    out: Path,
    *,
    network: str = TrainingOptions.network,
    epochs: int = TrainingOptions.epochs,
    batch_size: int = TrainingOptions.batch_size,
    seed: int = TrainingOptions.seed,
    validation_fraction: float = TrainingOptions.validation_fraction,
    test_fraction: float = TrainingOptions.test_fraction,
    workers: int | None = None,
    name: str | None = None,
    verbose: bool = False,
) -> TrainingSummary:
    """Train a network on a data set; write it as a bundle to `out`, with history and pictures.

    `dataset` is laid out as `training.dataset` says, the options are those of `TrainingOptions`,
    `name` is the bundle's. Progress goes to standard error, the figures to standard output.

    The decoded images and the checkpoint lie in a temporary folder beside `out` meanwhile: 22.5 kB
    for each image of 150 x 150 pixels. Raises `UsageError` or one of its kinds for what the user
    can put right; nearly always before the long part begins.
    """
    options = TrainingOptions(
        network, epochs, batch_size, seed, validation_fraction, test_fraction, workers
    )
    started = time.monotonic()
    require_packages()
    refuse_unless_replaceable(out)
    found = find_dataset(dataset)
    with tempfile.TemporaryDirectory(
        prefix=f".{out.name}.training-", dir=out.parent, ignore_cleanup_errors=True
    ) as place:
        data = _prepare(found, Path(place), options)
        device = open_device(verbose)
        fitted = _fit(data, device, Path(place), options)
        measured = _measure(data, fitted, options)
        seconds = time.monotonic() - started
        bundle = _write(out, name, data.split, fitted, measured, device, options, seconds)
        _draw(out / "pictures", data, fitted, measured)
    print(f"{evaluation.render(measured.figures)}\n\nmodel bundle {bundle.name} in {out}")
    epochs_run = len(fitted.history)
    return TrainingSummary(
        bundle, measured.figures, epochs_run, fitted.best_epoch, fitted.interrupted
    )


def _prepare(found: Dataset, place: Path, options: TrainingOptions) -> _Data:
    """Decode every image, and put each on a side."""
    started = time.monotonic()
    total = len(found.images)
    decoded = decode_files(
        [found.root / image.path for image in found.images],
        place / "pixels.raw",
        size=options.architecture.input_size,
        workers=options.threads,
        progress=lambda done: _say(f"decoded {done:,} of {total:,} images"),
    )
    _say(f"decoding took {time.monotonic() - started:.0f} s")
    split = make_split(
        found.images,
        decoded.digests,
        decoded.failures,
        seed=options.seed,
        validation_fraction=options.validation_fraction,
        test_fraction=options.test_fraction,
    )
    _tell(found, split)
    return _Data(decoded.pixels, split.labels(), split)


def _tell(found: Dataset, split: Split) -> None:
    """Say what is used and what isn't, and why."""
    for warning in split.warnings:
        _say(f"note: {warning}")
    if found.unnamed:
        _say(
            f"note: {found.unnamed:,} file names do not tell the patient; each counts as a patient "
            "of its own, so images of one patient may stand on two sides"
        )
    if found.ignored:
        _say(f"ignored {len(found.ignored):,} files that are no JPEG or PNG: {_few(found.ignored)}")
    out = [member for member in split.members if member.side == EXCLUDED]
    for kind, count in split.excluded().items():
        paths = [member.image.path for member in out if member.reason.startswith(f"{kind}:")]
        _say(f"set aside {count:,} images ({kind}): {_few(paths)}; split.csv has the reasons")
    for side, counts in split.counts().items():
        _say(f"{side}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _fit(data: _Data, device: Device, place: Path, options: TrainingOptions) -> Fitted:
    from training.fit import TrainingImages, fit

    _say(
        f"training {options.network} on {device.name} in {device.dtype}; "
        "Ctrl-C ends it early and keeps the best epoch"
    )
    train_images, validation = data.split.indices("train"), data.split.indices("validation")
    images = TrainingImages(data.pixels, data.labels, train_images, validation)
    fitted = fit(images, device, place, options)
    if fitted.interrupted:
        _say(f"interrupted: going on with epoch {fitted.best_epoch}, the best that was finished")
    return fitted


def _measure(data: _Data, fitted: Fitted, options: TrainingOptions) -> _Measured:
    """Export the network and score with the exported file, as a scan will."""
    from training import export

    files = {
        "model.onnx": export.to_onnx(fitted.model),
        "model.keras": export.to_keras(fitted.model),
    }
    size, threads = options.architecture.input_size, options.threads
    sample = data.pixels[_spread(data.split.indices("validation"), PARITY_IMAGES)]
    parity = export.check_parity(files, sample, input_size=size, threads=threads)
    scorer = open_scorer("onnx", files["model.onnx"], input_size=size, threads=threads)
    scored = {}
    for side in ("validation", "test"):
        positions = data.split.indices(side)
        parts = range(0, len(positions), SCORED_AT_A_TIME)
        pieces = (data.pixels[positions[n : n + SCORED_AT_A_TIME]] for n in parts)
        if parts:
            scores = np.concatenate([scorer.score(piece) for piece in pieces])
            scored[side] = data.labels[positions], scores
    threshold = evaluation.choose_threshold(*scored["validation"])
    figures = {side: evaluation.evaluate(*pair, threshold) for side, pair in scored.items()}
    return _Measured(files, parity, len(sample), threshold, scored, figures)


def _write(
    out: Path,
    name: str | None,
    split: Split,
    fitted: Fitted,
    measured: _Measured,
    device: Device,
    options: TrainingOptions,
    seconds: float,
) -> Bundle:
    """Write the bundle, then the history beside it."""
    from training.card import figures_details, training_details

    bundle = write_bundle(
        out,
        name=name or f"{options.network}-{split.fingerprint()[:8]}",
        files={**measured.files, "split.csv": split.to_csv()},
        classes=CLASSES,
        threshold=measured.threshold,
        input_size=options.architecture.input_size,
        preprocessing=PREPROCESSING,
        details={
            **training_details(options, split, fitted, device, seconds),
            **figures_details(measured.figures, measured.parity, measured.parity_images),
        },
    )
    with (out / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(fitted.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(fitted.history)
    return bundle


def _draw(folder: Path, data: _Data, fitted: Fitted, measured: _Measured) -> None:
    from training import pictures

    folder.mkdir(exist_ok=True)
    training = data.split.indices("train")
    samples = [
        data.pixels[_spread(training[data.labels[training] == label], SAMPLES)]
        for label in range(len(CLASSES))
    ]
    pictures.draw_samples(samples, folder / "samples.png")
    pictures.draw_history(fitted.history, fitted.best_epoch, folder / "history.png")
    pictures.draw_confusion(measured.figures, folder / "confusion.png")
    pictures.draw_roc(measured.scored, measured.figures, folder / "roc.png")


def _spread(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Choose up to `most` positions, evenly spread."""
    chosen = np.linspace(0, len(positions) - 1, min(most, len(positions)))
    return positions[chosen.astype(np.int64)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
