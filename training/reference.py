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
import csv
import io
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BatchscanError, BundleError, DatasetError
from batchscan.model.bundle import COMPANIONS, Bundle, refuse_unless_replaceable, write_bundle
from batchscan.model.card import REFERENCE
from batchscan.model.scorer import Scorer, open_scorer
from batchscan.model.training_overlap import SPLIT, fingerprint
from batchscan.run.provenance import load_matching_bundle
from training.cache import DecodedFiles, decode_files
from training.calibration import Calibration
from training.device import open_device, require_packages
from training.progress import Steps, say
from training.reference_measurement import IN_SAMPLE, Measurement, look_at, measure_reference

OUT_OF_FOLD = "out_of_fold"
ONNX = "model.onnx"


@dataclass(frozen=True)
class TrainingImages:
    """The images that shaped a network: positions among the decoded ones, label and fold of each.

    All int64 (N,).
    """

    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]


def add_reference(dataset: Path, folder: Path, out: Path, trainings: Path | None = None) -> Bundle:
    """Write the bundle in `folder` to `out`, with a reference; see the module's docstring.

    Raises `BundleError` for the bundle, or `trainings` that are not its, and `DatasetError` where
    the images are not those that it was trained on.
    """
    require_packages()
    open_device(verbose=False)
    refuse_unless_replaceable(out)
    bundle = load_matching_bundle(folder)
    companions = _companions(bundle, out)
    rows = _split_rows(bundle)
    with tempfile.TemporaryDirectory(prefix="batchscan-") as place:
        files = [dataset / row["path"] for row in rows]
        with Steps("decoding", len(files), "images") as steps:
            decoded = decode_files(
                files,
                Path(place) / "pixels.raw",
                size=bundle.input_size,
                workers=_threads(),
                progress=steps.update,
            )
        _check_fingerprint(dataset, bundle, rows, decoded)
        images = _training_images(rows, bundle.classes)
        network = _with_features(bundle, decoded.pixels[images.positions[:256]])
        seen = look_at(
            _open(network, bundle), decoded.pixels, images.positions, images.labels, images.folds
        )
        assert seen is not None
        scores, side = seen.scores, IN_SAMPLE
        if trainings is not None:
            scores = _out_of_fold(trainings, bundle, decoded.pixels, images)
            side = OUT_OF_FOLD
    measured = measure_reference(seen, scores, side)
    if measured is None:
        raise BundleError(f"{folder}: the features of all training images are alike")
    return _write(bundle, out, network, measured, companions)


def _companions(bundle: Bundle, out: Path) -> list[str]:
    """Return what lies beside the bundle proper, to be copied; refuse to delete it."""
    names = [name for name in COMPANIONS if (bundle.folder / name).exists()]
    if names and out.resolve() == bundle.folder.resolve():
        raise BundleError(
            f"{out}: writing the bundle there would delete {names[0]}; give another --out"
        )
    return names


def _split_rows(bundle: Bundle) -> list[dict[str, str]]:
    """Return the rows of the bundle's `split.csv` that are images."""
    content = bundle.listed_bytes(SPLIT)
    if content is None:
        raise BundleError(
            f"{bundle.folder}: expected {SPLIT}, which says what the bundle was trained on, found "
            "none; train it anew"
        )
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
    return [row for row in rows if row["class"]]


def _check_fingerprint(
    dataset: Path, bundle: Bundle, rows: list[dict[str, str]], decoded: DecodedFiles
) -> None:
    pairs = zip(rows, decoded.digests, strict=True)
    found = fingerprint(f"{row['path']}\0{digest}\n" for row, digest in pairs)
    expected = bundle.card.get("training", {}).get("data_sha256")
    if found != expected:
        missing = sum(not digest for digest in decoded.digests)
        raise DatasetError(
            f"{dataset}: expected the {len(rows):,} images that {bundle.name} was trained on, "
            f"found others ({missing:,} are missing or cannot be read); give the folder that it "
            "was trained on, unchanged"
        )


def _training_images(rows: list[dict[str, str]], classes: tuple[str, ...]) -> TrainingImages:
    inside = [(number, row) for number, row in enumerate(rows) if row["fold"]]
    columns = (
        [number for number, _ in inside],
        [classes.index(row["class"]) for _, row in inside],
        [int(row["fold"]) for _, row in inside],
    )
    return TrainingImages(*(np.array(column, dtype=np.int64) for column in columns))


def _with_features(bundle: Bundle, sample: NDArray[np.uint8]) -> bytes:
    """Return the network with the output `features`; raises `BundleError` if a score changes."""
    content = bundle.model_bytes("onnx")
    if _open(content, bundle).features is not None:
        return content
    from training.export import add_features

    changed = add_features(content)
    before = _open(content, bundle).score(sample)
    if not np.array_equal(before, _open(changed, bundle).score(sample)):
        raise BundleError(
            f"{bundle.folder}: with the output features, this network's scores are not the same "
            "bit by bit; nothing is written"
        )
    return changed


def _open(content: bytes, bundle: Bundle) -> Scorer:
    return open_scorer(
        "onnx",
        content,
        input_size=bundle.input_size,
        class_count=len(bundle.classes),
        threads=_threads(),
    )


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def _out_of_fold(
    trainings: Path, bundle: Bundle, pixels: NDArray[np.uint8], images: TrainingImages
) -> NDArray[np.float32]:
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
            scorer = _open(file.read_bytes(), bundle)
        except OSError as problem:
            raise BundleError(f"{file}: cannot be read ({problem.strerror})") from problem
        scores[inside] = scorer.score(pixels[images.positions[inside]])
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


def _write(
    bundle: Bundle, out: Path, network: bytes, measured: Measurement, companions: list[str]
) -> Bundle:
    """Write the bundle with a new network and reference; all else stays."""
    files = {name: bundle.listed_bytes(name) or b"" for name in bundle.card["files"]}
    files |= {ONNX: network, REFERENCE: measured.to_bytes()}
    written = write_bundle(
        out,
        name=bundle.name,
        files=files,
        classes=bundle.classes,
        threshold=bundle.threshold,
        input_size=bundle.input_size,
        preprocessing=bundle.preprocessing,
        details={**bundle.card, "reference": measured.for_card()},
    )
    for name in companions:
        copy = shutil.copytree if (bundle.folder / name).is_dir() else shutil.copy2
        copy(bundle.folder / name, out / name)
    return written


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
    found = bundle.card["reference"]
    say(f"{found['images']:,} images, {found['features']} features, limit {found['limit']:.3f}")
    print(f"model bundle {bundle.name} in {given.out}")


if __name__ == "__main__":
    main()
