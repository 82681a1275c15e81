"""A reference for a bundle that has none, from the images that it was trained on.

    python -m training.reference DATASET BUNDLE --out NEW [--trainings FOLDER]

writes the bundle anew, with `reference.npz`, and with the output `features` in `model.onnx` if that
was missing. No network is trained, and every score stays the same, bit by bit. DATASET must hold
exactly what the bundle was trained on. FOLDER is the working folder of its training, if that was
kept: from the folds' networks in it come scores of images that a network was not trained on.
Without it, the scores are those of the bundle's own network, and the card says so.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BatchscanError, BundleError
from batchscan.model.bundle import Bundle, refuse_unless_replaceable
from batchscan.model.card import REFERENCE
from batchscan.run.provenance import load_matching_bundle
from training.calibration import Calibration
from training.device import open_device, require_packages
from training.progress import say
from training.reference_measurement import IN_SAMPLE, look_at, measure_reference
from training.trained_images import (
    TrainingImages,
    companions_of,
    open_network,
    training_images,
    write_again,
)

OUT_OF_FOLD = "out_of_fold"
ONNX = "model.onnx"


def add_reference(dataset: Path, folder: Path, out: Path, trainings: Path | None = None) -> Bundle:
    """Write the bundle in `folder` to `out`, with a reference; see the module's docstring.

    Raises `BundleError` for the bundle, or `trainings` that are not its, and `DatasetError` where
    the images are not those that it was trained on.
    """
    require_packages()
    open_device(verbose=False)
    refuse_unless_replaceable(out)
    bundle = load_matching_bundle(folder)
    companions = companions_of(bundle, out)
    with training_images(bundle, dataset) as images:
        network = _with_features(bundle, images.pixels[images.positions[:256]])
        seen = look_at(
            open_network(network, bundle),
            images.pixels,
            images.positions,
            images.labels,
            images.folds,
        )
        assert seen is not None
        scores, side = seen.scores, IN_SAMPLE
        if trainings is not None:
            scores = _out_of_fold(trainings, bundle, images)
            side = OUT_OF_FOLD
    measured = measure_reference(seen, scores, side)
    if measured is None:
        raise BundleError(f"{folder}: the features of all training images are alike")
    changed = {ONNX: network, REFERENCE: measured.to_bytes()}
    return write_again(bundle, out, changed, {"reference": measured.for_card()}, companions)


def _with_features(bundle: Bundle, sample: NDArray[np.uint8]) -> bytes:
    """Return the network with the output `features`; raises `BundleError` if a score changes."""
    content = bundle.model_bytes("onnx")
    if open_network(content, bundle).features is not None:
        return content
    from training.export import add_features

    changed = add_features(content)
    before = open_network(content, bundle).score(sample)
    if not np.array_equal(before, open_network(changed, bundle).score(sample)):
        raise BundleError(
            f"{bundle.folder}: with the output features, this network's scores are not the same "
            "bit by bit; nothing is written"
        )
    return changed


def _out_of_fold(trainings: Path, bundle: Bundle, images: TrainingImages) -> NDArray[np.float32]:
    """Score each image by the network of its fold, calibrated as the bundle's own is.

    Raises `BundleError` if these give other figures than the card holds.
    """
    from training.out_of_fold import logits

    scores = np.empty((len(images.labels), len(bundle.classes)), dtype=np.float32)
    scores = scores[:, 0] if len(bundle.classes) == 2 else scores
    calibration = bundle.card["calibration"]
    intercept = calibration["intercept"]
    intercept = tuple(intercept) if isinstance(intercept, list) else intercept
    for fold in np.unique(images.folds):
        file = trainings / f"fold-{fold + 1}" / "network.onnx"
        inside = images.folds == fold
        try:
            scorer = open_network(file.read_bytes(), bundle)
        except OSError as problem:
            raise BundleError(f"{file}: cannot be read ({problem.strerror})") from problem
        scores[inside] = scorer.score(images.pixels[images.positions[inside]])
    calibrated = Calibration(calibration["temperature"], intercept).apply(logits(scores))
    scores = calibrated.astype(np.float32)
    _check_figures(trainings, bundle, scores, images.labels)
    return scores


def _check_figures(
    trainings: Path, bundle: Bundle, scores: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    """Compare the accuracy, which the card holds for any number of classes."""
    if bundle.threshold is None:
        predicted = scores.argmax(axis=1)
    else:
        predicted = (scores >= np.float32(bundle.threshold)).astype(np.int64)
    found = float((predicted == labels).mean())
    expected = bundle.card["figures"][OUT_OF_FOLD]["accuracy"]["value"]
    if abs(found - expected) > 0.5 / len(labels):
        raise BundleError(
            f"{trainings}: expected the trainings of {bundle.name}, with an accuracy of "
            f"{expected:.6f} out of fold, found {found:.6f}; leave --trainings out, or give the "
            "right folder"
        )


def main() -> None:
    """Add a reference to the bundle that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m training.reference", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("dataset", type=Path, help="the images that the bundle was trained on")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the new bundle goes")
    parser.add_argument("--trainings", type=Path, help="the working folder of the training")
    given = parser.parse_args()
    try:
        bundle = add_reference(given.dataset, given.bundle, given.out, given.trainings)
    except BatchscanError as error:
        print(f"batchscan: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("batchscan: interrupted; run the same command again", file=sys.stderr)
        sys.exit(130)
    found = bundle.card["reference"]
    say(f"{found['images']:,} images, {found['features']} features, limit {found['limit']:.3f}")
    print(f"model bundle {bundle.name} in {given.out}")


if __name__ == "__main__":
    main()
