"""A bundle's card beyond what `batchscan.model.bundle` needs: a model card (Mitchell et al. 2019).

Everything is JSON: where the network comes from, what it was measured to be worth, and its limits.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from training import calibration_quality, evaluation, groups, operating_point, shift_report
from training.crossvalidation import Finished
from training.device import Device
from training.operating_point import ThresholdRule
from training.options import TrainingOptions
from training.outcome import OUT_OF_FOLD, Exported, Measured
from training.prepare import PreparedData

PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "onnx", "onnxruntime")

INTENDED_USE = (
    "Sorting and auditing archives of frontal chest X-rays by how much they resemble the classes "
    "of the training data. For research and quality work; people read the results."
)

AGE_GROUP = "1 to 5 years, if the data is that of Kermany, Zhang and Goldbaum (2018)"

LIMITS = (
    "No medical device: not for diagnosis, and no decision about a patient may rest on it.",
    "It knows only what its training data shows. The data of Kermany, Zhang and Goldbaum (2018) "
    "shows children of 1 to 5 years in one hospital: frontal views, pneumonia or nothing.",
    "The probabilities hold where the classes are as frequent as in the training data; elsewhere "
    "they are too high or too low, in the same order.",
    "The figures are from the same source as the training images. Expect lower ones on images of "
    "other hospitals, devices and ages, and choose the threshold anew on labelled images of your "
    "own. Their intervals take images as independent, although some show the same patients.",
    "Figures out of fold are those of the folds' networks, each on images it has not seen; the "
    "network in the bundle was trained on all images. The threshold was chosen on the images that "
    "sensitivity, specificity and accuracy were measured on, and their intervals take it as given.",
    "Width and height are squashed to a square. Files that were shrunk before, such as copies of "
    "224 x 224 pixels, have lost what their size had to tell.",
    "Near duplicates are not looked for: only images with exactly the same content are set aside.",
)

REPRODUCIBILITY = (
    "The same data, seed and options give the same network on the same machine with the same "
    "packages and number of threads, also after an interruption. Elsewhere sums are rounded in "
    "another order, and the weights differ from the last digits on; folds, order of images and "
    "random numbers are the same."
)


def training_details(
    options: TrainingOptions,
    data: PreparedData,
    trainings: Sequence[Finished],
    device: Device,
) -> dict[str, Any]:
    """Return the fields about where the network comes from."""
    return {
        "network": options.network,
        "intended_use": INTENDED_USE,
        "training": {
            "data_sha256": data.split.fingerprint(),
            "age_group": AGE_GROUP,
            "sides": data.split.counts(),
            "excluded": data.split.excluded(),
            "ignored": {reason: len(paths) for reason, paths in data.ignored.items()},
            "split": "folds grouped by patient; split.csv lists every image",
            "parts": options.parts,
            "seed": options.seed,
            "recipe": options.recipe.for_card(),
            "trainings": {
                each.task.name: {
                    "images": len(each.task.train),
                    "epochs": len(each.history),
                    "seconds": round(sum(row["seconds"] for row in each.history), 1),
                }
                for each in trainings
            },
            "reproducibility": REPRODUCIBILITY,
            "device": f"{device.name}, {device.dtype}",
            "seconds": round(sum(row["seconds"] for each in trainings for row in each.history), 1),
            "versions": _versions(),
        },
    }


def figures_details(
    measured: Measured, exported: Exported, classes: Sequence[str], options: TrainingOptions
) -> dict[str, Any]:
    """Return the fields about how well the network does."""
    return {
        "limits": [*measured.doubts, *LIMITS],
        **_operating_point(measured, options),
        "figures": {side: evaluation.for_card(found) for side, found in measured.figures.items()},
        "calibration": calibration_quality.for_card(measured.calibration_report()),
        "shift_suite": shift_report.for_card(measured.shift),
        "groups_left_out": groups.for_card(measured.groups, classes),
        "parity": {"largest_difference": exported.parity, "images": exported.parity_images},
    }


def _operating_point(measured: Measured, options: TrainingOptions) -> dict[str, Any]:
    if measured.threshold is None:
        return {"threshold_rule": "none: the likeliest class is predicted"}
    images = "the out-of-fold images" if measured.side == OUT_OF_FOLD else "the validation images"
    labels, scores = measured.scored[measured.side]
    curve = operating_point.operating_curve(labels, scores, also=[measured.threshold])
    return {
        "threshold_rule": ThresholdRule(options.target_sensitivity).words(images),
        "operating_curve": operating_point.for_card(curve),
    }


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}
