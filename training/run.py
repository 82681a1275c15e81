"""`train`: from a data set to a bundle, step by step.

Modules that import Keras are imported within the steps, after `open_device` has made it quiet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchscan.errors import BatchscanError, UsageError
from batchscan.model.bundle import Bundle, refuse_unless_replaceable
from batchscan.version import VERSION
from training import evaluation
from training.crossvalidation import (
    Finished,
    final_task,
    finish,
    fold_tasks,
    group_tasks,
    pack,
)
from training.dataset import Dataset, find_dataset
from training.device import Device, open_device, require_packages
from training.interruption import signals_deferred
from training.options import TrainingOptions
from training.prepare import PreparedData, prepare
from training.progress import say
from training.workplace import begin, open_workplace, remove

SideBySide = Callable[[Sequence[bytes], int], None]


@dataclass(frozen=True)
class TrainingSummary:
    """What came out: the bundle, and its figures by side.

    Sides are `out_of_fold` (`validation` with one fold) and, if the data set gives one, `test`.
    `exit_code` is 0, or that of the signal which ended the training early (130 for Ctrl-C, 143 for
    SIGTERM); the bundle is whole.
    """

    bundle: Bundle
    figures: Mapping[str, evaluation.Figures]
    epochs_run: int
    kept_epoch: int
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
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = TrainingOptions.seed,
    folds: int | None = None,
    target_sensitivity: float | None = TrainingOptions.target_sensitivity,
    leave_out_groups: bool = False,
    workers: int | None = None,
    name: str | None = None,
    verbose: bool = False,
    side_by_side: SideBySide | None = None,
) -> TrainingSummary:
    """Train a network on a data set; write it as a bundle to `out`, with history and pictures.

    `dataset` is laid out as `training.dataset` says, the options are those of `TrainingOptions`.
    Progress goes to standard error, the figures to standard output.

    The decoded images (20.7 kB each at 144 x 144 pixels) and what is finished lie in a folder
    beside `out` meanwhile; after an interruption, the same call goes on from there. With several
    GPUs, `side_by_side` runs packed trainings, so many at a time; else one follows another. Raises
    `UsageError` or one of its kinds for what the user can put right; nearly always before the long
    part begins.
    """
    options = TrainingOptions(
        network,
        epochs,
        batch_size,
        seed,
        folds,
        target_sensitivity,
        leave_out_groups,
        workers,
        name,
    )
    require_packages()
    return _train(dataset, out.resolve(), options, verbose, side_by_side)


def _train(
    dataset: Path,
    out: Path,
    options: TrainingOptions,
    verbose: bool,
    side_by_side: SideBySide | None,
) -> TrainingSummary:
    refuse_unless_replaceable(out)
    if out.is_relative_to(dataset.resolve()):
        raise UsageError(
            f"{out}: expected an --out outside of the data set, found one in {dataset}, where the "
            "bundle's pictures would be taken for images; choose another"
        )
    found = find_dataset(dataset)
    with open_workplace(out) as place, _disk_failures(place):
        device = open_device(verbose)  # Before the long part: it may not be there.
        data = _prepare(found, device, place, options)
        if len(data.classes) > 2:
            say(
                f"note: {len(data.classes)} classes, of which the likeliest is predicted: there is "
                "no threshold, and --target-sensitivity and --youden change nothing"
            )
        folds, groups, kept = _train_all(data, device, place, options, side_by_side)
        from training.bundle_folder import write_folder
        from training.export import from_keras
        from training.outcome import calibrate, doubts, export_network, measure, measure_test
        from training.reference_measurement import training_reference

        say("measuring the networks on the images that they were not trained on")
        measured = measure(folds, groups, data, options)
        say("exporting and measuring the network; from here on, signals don't stop it")
        with signals_deferred(last_step=True):
            network = from_keras(kept.keras)
            calibrate(network, measured.calibration)
            exported = export_network(network, data, options)
            measured = measure_test(measured, exported, data, options)
            measured = replace(measured, doubts=doubts(measured, exported, data, options))
            for doubt in measured.doubts:
                say(f"warning: {doubt}")
            trainings = [*folds, *groups, *([] if kept in folds else [kept])]
            reference = training_reference(data, measured, exported, options)
            bundle = write_folder(
                out, data, trainings, kept, measured, exported, reference, device, options
            )
            remove(place)
            print(f"{evaluation.render(measured.figures)}\n\nmodel bundle {bundle.name} in {out}")
    return TrainingSummary(
        bundle, measured.figures, len(kept.history), kept.kept_epoch, kept.exit_code
    )


@contextlib.contextmanager
def _disk_failures(place: Path) -> Iterator[None]:
    """Turn failures of the disk into one line that says what to do."""
    try:
        yield
    except OSError as problem:
        raise BatchscanError(
            f"{problem.filename or place}: {problem.strerror or problem}; put that right (make "
            "room, for instance), then run the same command again: what is finished is kept"
        ) from problem


def _prepare(found: Dataset, device: Device, place: Path, options: TrainingOptions) -> PreparedData:
    data = prepare(
        found,
        place,
        size=options.architecture.input_size,
        threads=options.threads,
        folds=options.parts,
        seed=options.seed,
    )
    begin(place, _plan(data, device, options))
    return data


def _plan(data: PreparedData, device: Device, options: TrainingOptions) -> dict[str, str]:
    """Return everything that the trainings follow from."""
    import keras

    return {
        "data": data.split.fingerprint(),
        "network": repr(options.architecture),
        "recipe": repr(options.recipe),
        "parts": str(options.parts),
        "seed": str(options.seed),
        "device": f"{device.name}, {device.dtype}",
        "packages": f"batchscan {VERSION}, {keras.backend.backend()}, keras {keras.__version__}",
    }


def _train_all(
    data: PreparedData,
    device: Device,
    place: Path,
    options: TrainingOptions,
    side_by_side: SideBySide | None,
) -> tuple[list[Finished], list[Finished], Finished]:
    """Train for each fold, without each group if that is wanted, and the network to be kept."""
    tasks = fold_tasks(data, options)
    left_out = group_tasks(data) if options.leave_out_groups else []
    final = [final_task(data)] if len(tasks) > 1 else []
    count = len(tasks) + len(left_out) + len(final)
    say(f"training {options.network} {count} times on {device.name} in {device.dtype}")
    if side_by_side and min(device.gpus, count) > 1:
        every = [pack(task, data, device, place, options) for task in (*tasks, *left_out, *final)]
        side_by_side(every, device.gpus)
    folds = [finish(task, data, device, place, options) for task in tasks]
    if folds[0].exit_code:  # ended early, its best epoch is the result: no further training
        return folds, [], folds[0]
    groups = [finish(task, data, device, place, options) for task in left_out]
    kept = [finish(task, data, device, place, options) for task in final]
    return folds, groups, kept[0] if kept else folds[0]
