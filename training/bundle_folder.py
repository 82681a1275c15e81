"""The folder that a training run writes: the bundle, the histories, and the pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchscan.archive.display import display_path
from batchscan.image.decode import PREPROCESSING
from batchscan.model.bundle import Bundle, write_bundle
from batchscan.model.card import REFERENCE
from training import pictures
from training.card import figures_details, training_details
from training.crossvalidation import Finished
from training.device import Device
from training.options import TrainingOptions
from training.outcome import Exported, Measured, spread
from training.prepare import PreparedData
from training.progress import say
from training.reference_measurement import Measurement

SAMPLES = 6  # images of each class in the picture
MISTAKES = 24  # on the contact sheet


def write_folder(
    out: Path,
    data: PreparedData,
    trainings: Sequence[Finished],
    kept: Finished,
    measured: Measured,
    exported: Exported,
    reference: Measurement | None,
    device: Device,
    options: TrainingOptions,
) -> Bundle:
    """Write the bundle to the folder `out`, then the history and the pictures into it."""
    files = {**exported.files, "split.csv": data.split.to_csv(data.ignored)}
    bundle = write_bundle(
        out,
        name=options.name or f"{options.network}-{data.split.fingerprint()[:8]}",
        files=files | ({REFERENCE: reference.to_bytes()} if reference else {}),
        classes=data.classes,
        threshold=measured.threshold,
        input_size=options.architecture.input_size,
        preprocessing=PREPROCESSING,
        details={
            **training_details(options, data, trainings, device),
            **figures_details(measured, exported, data.classes, options),
            **({"reference": reference.for_card()} if reference else {}),
        },
    )
    (out / "history.csv").write_text(_history(trainings))
    try:
        _draw(out / "pictures", data, kept, measured)
    except Exception as error:  # The training is done and kept; it must not fail for a picture.
        say(f"warning: the pictures could not all be drawn ({error})")
    return bundle


def _history(trainings: Sequence[Finished]) -> str:
    """Return a table of all epochs of all trainings."""
    rows = [{"training": each.task.name, **row} for each in trainings for row in each.history]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _draw(folder: Path, data: PreparedData, kept: Finished, measured: Measured) -> None:
    folder.mkdir(exist_ok=True)
    training = np.flatnonzero(data.split.fold >= 0)
    samples = [
        data.pixels[spread(training[data.labels[training] == label], SAMPLES)]
        for label in range(len(data.classes))
    ]
    pictures.draw_samples(samples, data.classes, folder / "samples.png")
    pictures.draw_history(kept.history, kept.kept_epoch, folder / "history.png")
    pictures.draw_confusion(_confusion(measured, data), data.classes, folder / "confusion.png")
    if measured.threshold is not None:
        pictures.draw_roc(measured.scored, measured.figures, folder / "roc.png")
    pictures.draw_reliability(measured.calibration_report(), folder / "calibration.png")
    pictures.draw_shifts(measured.shift, folder / "shift_suite.png")
    _draw_mistakes(data, measured, folder / "mistakes.png")


def _confusion(measured: Measured, data: PreparedData) -> dict[str, NDArray[np.int64]]:
    """Return for each side, by its title, the counts (C, C) of actual and predicted classes."""
    rule = "" if measured.threshold is None else f", threshold {measured.threshold:.3f}"
    counts = {}
    for side, (labels, scores) in measured.scored.items():
        matrix = np.zeros((len(data.classes), len(data.classes)), dtype=np.int64)
        np.add.at(matrix, (labels, measured.predicted(scores)), 1)
        counts[f"{side.replace('_', ' ').capitalize()}{rule}"] = matrix
    return counts


def _draw_mistakes(data: PreparedData, measured: Measured, path: Path) -> None:
    """Draw the held-out images whose own class was given the least, if its prediction is wrong."""
    labels, scores = measured.scored[measured.side]
    predicted = measured.predicted(scores)
    given = (
        np.where(labels == 1, scores, 1 - scores)
        if scores.ndim == 1
        else scores[np.arange(len(labels)), labels]
    )
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(given[wrong], kind="stable")][:MISTAKES]
    if not len(worst):
        return
    positions = measured.held_out.positions[worst]
    captions = [
        (
            display_path(data.split.members[position].image.path),
            f"{data.classes[labels[number]]}, given {given[number]:.3f}",
        )
        for position, number in zip(positions, worst, strict=True)
    ]
    pictures.draw_mistakes(data.pixels[positions], captions, path)
