"""`train`: from a data set to a bundle, step by step.

Modules that import Keras are imported within the steps, after `open_device` has made it quiet.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batchscan.bundle import Bundle, refuse_unless_replaceable
from batchscan.metrics import Metric
from training import evaluation
from training.dataset import find_dataset
from training.device import Device, open_device, require_packages
from training.interruption import signals_deferred
from training.options import TrainingOptions
from training.prepare import PreparedData, prepare
from training.progress import say

if TYPE_CHECKING:
    from training.fit import Fitted


@dataclass(frozen=True)
class TrainingSummary:
    """What came out: the bundle, and the figures of `validation` and, if there is one, `test`.

    `exit_code` is 0, or that of the signal which ended the training early (130 for Ctrl-C, 143 for
    SIGTERM); the bundle is whole.
    """

    bundle: Bundle
    figures: Mapping[str, Mapping[str, Metric]]
    epochs_run: int
    best_epoch: int
    exit_code: int

    @property
    def interrupted(self) -> bool:
        """Tells whether a signal ended the training early."""
        return self.exit_code != 0


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

    `dataset` is laid out as `training.dataset` says, the options are those of `TrainingOptions`.
    Progress goes to standard error, the figures to standard output.

    The decoded images and the checkpoint lie in a temporary folder beside `out` meanwhile: 22.5 kB
    for each image of 150 x 150 pixels. Raises `UsageError` or one of its kinds for what the user
    can put right; nearly always before the long part begins.
    """
    options = TrainingOptions(
        network, epochs, batch_size, seed, validation_fraction, test_fraction, workers, name
    )
    require_packages()
    return _train(dataset, out.resolve(), options, verbose)


def _train(dataset: Path, out: Path, options: TrainingOptions, verbose: bool) -> TrainingSummary:
    started = time.monotonic()
    refuse_unless_replaceable(out)
    found = find_dataset(dataset)
    with tempfile.TemporaryDirectory(
        prefix=f".{out.name}.training-", dir=out.parent, ignore_cleanup_errors=True
    ) as place:
        device = open_device(verbose)  # Before the long part: it may not be there.
        data = prepare(
            found,
            Path(place),
            size=options.architecture.input_size,
            threads=options.threads,
            folds=5,
            seed=options.seed,
        )
        fitted = _fit(data, device, Path(place), options)
        from training.outcome import measure, write

        say("exporting and measuring the network; signals wait until it is written")
        with signals_deferred():
            measured = measure(data, fitted, options)
            seconds = time.monotonic() - started
            bundle = write(out, data, fitted, measured, device, options, seconds)
            print(f"{evaluation.render(measured.figures)}\n\nmodel bundle {bundle.name} in {out}")
    epochs_run = len(fitted.history)
    return TrainingSummary(
        bundle, measured.figures, epochs_run, fitted.best_epoch, fitted.exit_code
    )


def _fit(data: PreparedData, device: Device, place: Path, options: TrainingOptions) -> Fitted:
    from training.batches import TrainingImages
    from training.fit import fit

    say(
        f"training {options.network} on {device.name} in {device.dtype}; "
        "Ctrl-C ends it early and keeps the best epoch"
    )
    train_images, validation = data.split.fold_indices(0)
    images = TrainingImages(data.pixels, data.labels, train_images, validation)
    fitted = fit(images, device, place, options)
    if fitted.interrupted:
        say(f"interrupted: going on with epoch {fitted.best_epoch}, the best that was finished")
    return fitted
