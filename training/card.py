"""What a bundle's card says about the training, beyond what `batchscan.bundle` needs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from batchscan.metrics import Metric
from training import augmentation, evaluation
from training.callbacks import MONITOR
from training.device import Device
from training.fit import Fitted
from training.options import TrainingOptions
from training.split import Split

PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "onnx", "onnxruntime")

INTENDED_USE = (
    "Sorting and auditing archives of frontal chest X-rays by how much they resemble the pneumonia "
    "images of the training data. For research and quality work; people read the results."
)

LIMITS = (
    "No medical device: not for diagnosis, and no decision about a patient may rest on it.",
    "It knows only what its training data shows. The data of Kermany, Zhang and Goldbaum (2018) "
    "shows children of 1 to 5 years in one hospital: frontal views, pneumonia or nothing.",
    "The figures are from the same source as the training images. Expect lower ones on images of "
    "other hospitals, devices and ages, and choose the threshold anew on labelled images of your "
    "own. Their intervals take images as independent, although some show the same patients.",
    "Near duplicates are not looked for: only images with exactly the same content are set aside.",
)

REPRODUCIBILITY = (
    "Reproducible from data and seed: the split, the order of images, the first weights and the "
    "random numbers of augmentation and dropout (these with the same versions of TensorFlow and "
    "Keras). Not reproducible to the last digit: the trained weights, since sums run in parallel."
)


def figures_details(
    figures: Mapping[str, Mapping[str, Metric]], parity: float, parity_images: int
) -> dict[str, Any]:
    """Return the fields about how well the network does, as JSON values."""
    return {
        "threshold_rule": evaluation.THRESHOLD_RULE,
        "figures": {side: evaluation.for_card(metrics) for side, metrics in figures.items()},
        "parity": {"largest_difference": parity, "images": parity_images},
    }


def training_details(
    options: TrainingOptions, split: Split, fitted: Fitted, device: Device, seconds: float
) -> dict[str, Any]:
    """Return the fields about where the network comes from, as JSON values."""
    return {
        "network": options.network,
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
        "training": {
            "data_sha256": split.fingerprint(),
            "sides": split.counts(),
            "excluded": split.excluded(),
            "split": "grouped by patient; split.csv lists every image",
            "seed": options.seed,
            "epochs_asked": options.epochs,
            "epochs_run": len(fitted.history),
            "best_epoch": fitted.best_epoch,
            "best_by": f"lowest {MONITOR}",
            "interrupted": fitted.interrupted,
            "optimizer": "Adam",
            "learning_rates": [row["learning_rate"] for row in fitted.history],
            "loss": "binary cross-entropy, classes not weighted",
            "batch_size": options.batch_size,
            "augmentation": augmentation.describe(),
            "reproducibility": REPRODUCIBILITY,
            "device": f"{device.name}, {device.dtype}",
            "seconds": round(seconds, 1),
            "versions": _versions(),
        },
    }


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}
