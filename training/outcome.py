"""What comes out of a training: a calibrated network, an operating point, their worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import likeliest, predicted_positive
from batchscan.model.scorer import Scorer, open_scorer
from training import evaluation, export
from training.calibration import Calibration, fit_calibration
from training.calibration_quality import CalibrationReport, report_calibration
from training.crossvalidation import WITHOUT, Finished, open_network, score
from training.groups import GroupFigures, LeftOut, group_of, group_report
from training.member import TEST
from training.operating_point import ThresholdRule, choose_threshold
from training.options import TrainingOptions
from training.out_of_fold import HeldOut, held_out_scores, logits, shifted_scores
from training.prepare import PreparedData
from training.shift_report import ShiftReport, shift_report

PARITY_IMAGES = 256
MARGIN = 0.1  # of accuracy: more is no chance on a data set that can be trained on
OUT_OF_FOLD = "out_of_fold"
VALIDATION = "validation"

Scored = tuple[NDArray[np.uint8], NDArray[np.float32]]


@dataclass(frozen=True)
class Measured:
    """What the networks of the folds say of images that they weren't trained on, calibrated.

    `side` is `out_of_fold`, or `validation` where there is one fold only. `scored` has labels and
    calibrated scores of that side and, if the data set gives one, of `test`. `doubts` are reasons
    not to rely on all this.
    """

    side: str
    held_out: HeldOut
    calibration: Calibration
    threshold: float | None
    scored: Mapping[str, Scored]
    figures: Mapping[str, evaluation.Figures]
    shift: ShiftReport
    groups: Mapping[str, GroupFigures]
    doubts: tuple[str, ...] = ()

    def predicted(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the class that calibrated scores (N,) or (N, C) predict, int64 (N,)."""
        if self.threshold is None:
            return likeliest(scores)
        return predicted_positive(scores, self.threshold).astype(np.int64)

    def calibration_report(self) -> CalibrationReport:
        """Return what the calibration has changed on the held-out images."""
        held_out = self.held_out
        return report_calibration(held_out.labels, logits(held_out.scores), self.calibration)


@dataclass(frozen=True)
class Exported:
    """The model files, and the largest difference of a score between them, on `parity_images`."""

    files: Mapping[str, bytes]
    parity: float
    parity_images: int


def measure(
    folds: Sequence[Finished],
    groups: Sequence[Finished],
    data: PreparedData,
    options: TrainingOptions,
) -> Measured:
    """Calibrate, choose the threshold and measure, all on images that the folds held out."""
    held_out = held_out_scores(folds, data, options)
    calibration = fit_calibration(held_out.labels, logits(held_out.scores))
    scores = _calibrated(calibration, held_out.scores)
    rule = ThresholdRule(options.target_sensitivity)
    threshold = choose_threshold(held_out.labels, scores, rule) if scores.ndim == 1 else None
    side = OUT_OF_FOLD if len(folds) > 1 else VALIDATION
    shifted = {
        variant: _calibrated(calibration, values)
        for variant, values in shifted_scores(folds, data, options).items()
    }
    return Measured(
        side,
        held_out,
        calibration,
        threshold,
        {side: (held_out.labels, scores)},
        {side: evaluation.evaluate(held_out.labels, scores, threshold, data.classes)},
        shift_report(held_out.labels, shifted, scores, threshold),
        _groups(groups, data, options, calibration, threshold),
    )


def calibrate(network: Any, calibration: Calibration) -> None:
    """Write a calibration into the last layer of a Keras network."""
    last = network.layers[-1]
    kernel, bias = (np.asarray(value) for value in last.get_weights())
    shift = np.asarray(calibration.intercept)
    last.set_weights([kernel / calibration.temperature, (bias - shift) / calibration.temperature])


def export_network(network: Any, data: PreparedData, options: TrainingOptions) -> Exported:
    """Return the model files of a Keras network, compared on images of the training side.

    Raises `BatchscanError` when Keras and ONNX disagree.
    """
    files = {"model.onnx": export.to_onnx(network), "model.keras": export.to_keras(network)}
    positions = np.flatnonzero(data.split.fold >= 0)
    sample = data.pixels[spread(positions, PARITY_IMAGES)]
    size, threads = options.architecture.input_size, options.threads
    parity = export.check_parity(
        files, sample, input_size=size, class_count=len(data.classes), threads=threads
    )
    return Exported(files, parity, len(sample))


def doubts(
    measured: Measured, exported: Exported, data: PreparedData, options: TrainingOptions
) -> tuple[str, ...]:
    """Return what speaks against the figures: a network unlike those that they were measured with.

    Calibration and threshold come from the folds' networks. The exported one should do on its own
    training images at least nearly as well as they do on images they have never seen.
    """
    positions = np.flatnonzero(data.split.fold >= 0)
    scores = score(open_exported(exported, data, options), data.pixels, positions)
    own = float((measured.predicted(scores) == data.labels[positions]).mean())
    labels, held_out = measured.scored[measured.side]
    expected = float((measured.predicted(held_out) == labels).mean())
    if own >= expected - MARGIN:
        return ()
    return (
        f"The network that is written gets {own:.1%} of its own training images right, the folds' "
        f"networks {expected:.1%} of images that they have not seen: its figures and its threshold "
        "cannot be relied on. Train longer, or on more images.",
    )


def open_exported(exported: Exported, data: PreparedData, options: TrainingOptions) -> Scorer:
    """Return the network as a scan runs it."""
    return open_scorer(
        "onnx",
        exported.files["model.onnx"],
        input_size=options.architecture.input_size,
        class_count=len(data.classes),
        threads=options.threads,
    )


def measure_test(
    measured: Measured, exported: Exported, data: PreparedData, options: TrainingOptions
) -> Measured:
    """Add the test side, scored with the exported network as a scan will, if there is one."""
    positions = data.split.indices(TEST)
    if not len(positions):
        return measured
    labels, scores = (
        data.labels[positions],
        score(open_exported(exported, data, options), data.pixels, positions),
    )
    found = evaluation.evaluate(labels, scores, measured.threshold, data.classes)
    return replace(
        measured,
        scored={**measured.scored, TEST: (labels, scores)},
        figures={**measured.figures, TEST: found},
    )


def spread(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Choose up to `most` positions, evenly spread."""
    chosen = np.linspace(0, len(positions) - 1, min(most, len(positions)))
    return positions[chosen.astype(np.int64)]


def _groups(
    groups: Sequence[Finished],
    data: PreparedData,
    options: TrainingOptions,
    calibration: Calibration,
    threshold: float | None,
) -> Mapping[str, GroupFigures]:
    """Measure each training without a group on that group; there are none for more classes."""
    if threshold is None:
        return {}
    left_out = {}
    for group in groups:
        name = group.task.name.removeprefix(WITHOUT)
        positions = group.task.validation
        raw = score(open_network(group, options, len(data.classes)), data.pixels, positions)
        scores = _calibrated(calibration, raw)
        files = [Path(data.split.members[position].image.path).name for position in positions]
        inside = np.array([group_of(file) == name for file in files])
        label = int(data.labels[positions][inside][0])
        left_out[name] = LeftOut(label, scores[inside], scores[~inside])
    return group_report(left_out, threshold)


def _calibrated(calibration: Calibration, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return calibration.apply(logits(scores)).astype(np.float32)
