"""How well the perceptual hash and the distance from the training images tell images apart.

    python -m benchmarks.training_images DATASET ORIGINALS [--trainings FOLDER]

DATASET is what the shipped bundle was trained on, ORIGINALS has larger versions of some of its
files, under the same names. Hashes: pairs of different patients, and originals against changed
copies. Distances: the share above the limit of changed images, and, with the working folder of the
training, of images that a fold's network has not seen, by that network's own limit.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from batchscan.image.decode import decode
from batchscan.image.perceptual_hash import perceptual_hashes
from batchscan.model.bundle import load_bundle
from batchscan.model.reference import Reference, load_reference
from batchscan.model.scorer import Scorer, open_scorer

Squares = NDArray[np.uint8]
LANCZOS, BILINEAR = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR
TURNED = 20  # Every so many images are turned, inverted and so on.

COPIES: dict[str, Callable[[Image.Image], tuple[Image.Image, dict[str, object]]]] = {
    "half as large": lambda im: (im.resize((im.width // 2, im.height // 2), LANCZOS), {}),
    "JPEG, quality 30": lambda im: (im, {"quality": 30}),
    "JPEG, quality 10": lambda im: (im, {"quality": 10}),
    "other contrast": lambda im: (im.point([_contrast(level) for level in range(256)]), {}),
    "other gamma": lambda im: (im.point([_gamma(level) for level in range(256)]), {}),
    "turned by a degree": lambda im: (im.rotate(1, BILINEAR), {}),
    "2% cut at each side": lambda im: (
        im.crop((im.width // 50, im.height // 50, im.width * 49 // 50, im.height * 49 // 50)),
        {},
    ),
}

CHANGES: dict[str, Callable[[Squares], Squares]] = {
    "as they are": lambda squares: squares,
    "mirrored": lambda squares: squares[:, :, ::-1],
    "upside down": lambda squares: squares[:, ::-1],
    "a quarter turn": lambda squares: np.rot90(squares, axes=(1, 2)),
    "inverted": lambda squares: 255 - squares,
    "noise instead": lambda squares: np.random.default_rng(0).integers(
        0, 256, squares.shape, dtype=np.uint8
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("originals", type=Path)
    parser.add_argument("--trainings", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    bundle = load_bundle()
    with (bundle.folder / "split.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"]]
    size = bundle.input_size
    squares = np.stack([_square(given.dataset / row["path"], size) for row in rows])
    _print_pairs(perceptual_hashes(squares), [row["patient"] for row in rows])
    _print_copies(given.dataset, given.originals, size)
    reference = load_reference(bundle)
    assert reference is not None
    scorer = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=size)
    print("\nshare of training images above the limit")
    for name, change in CHANGES.items():
        some = squares if name == "as they are" else squares[::TURNED]
        print(f"  {name:20} {_share_above(scorer, reference, change(some)):6.1%}")
    if given.trainings:
        _print_unseen(given.trainings, squares, rows, bundle.classes)


def _square(file: Path, size: int) -> Squares:
    return decode(file.read_bytes(), size).pixels


def _print_pairs(hashes: NDArray[np.uint64], patients: list[str]) -> None:
    """Count the pairs of images of different patients by how many bits differ."""
    numbers = np.unique(patients, return_inverse=True)[1]
    counts = np.zeros(65, dtype=np.int64)
    for place in range(len(hashes)):
        others = numbers[place + 1 :] != numbers[place]
        differ = np.bitwise_count(hashes[place + 1 :][others] ^ hashes[place])
        counts += np.bincount(differ, minlength=65)
    mean = (counts * np.arange(65)).sum() / counts.sum()
    print(f"{counts.sum():,} pairs of different patients, {mean:.1f} bits differ on average")
    for most in range(4, 13):
        print(f"  at most {most:2} bits: {counts[: most + 1].sum():,}")


def _print_copies(dataset: Path, originals: Path, size: int) -> None:
    names = sorted(path.relative_to(originals) for path in originals.rglob("*.jpeg"))
    images = [Image.open(originals / name).convert("L") for name in names]
    hashes = perceptual_hashes(np.stack([_square(originals / name, size) for name in names]))
    print(f"\nbits that differ from {len(names)} originals: median, 95%, most")
    copies = {"in the data set": [_square(dataset / name, size) for name in names]}
    for title, change in COPIES.items():
        copies[title] = [_encoded(*change(image), size) for image in images]
    for title, squares in copies.items():
        differ = np.bitwise_count(hashes ^ perceptual_hashes(np.stack(squares)))
        print(f"  {title:20} {np.median(differ):3.0f} {np.quantile(differ, 0.95):3.0f}", end=" ")
        print(f"{differ.max():3}")


def _encoded(image: Image.Image, options: dict[str, object], size: int) -> Squares:
    stream = io.BytesIO()
    image.save(stream, "jpeg", **({"quality": 90} | options))
    return decode(stream.getvalue(), size).pixels


def _contrast(level: int) -> int:
    return min(255, max(0, round((level - 128) * 1.3 + 140)))


def _gamma(level: int) -> int:
    return round(255 * (level / 255) ** 0.7)


def _share_above(scorer: Scorer, reference: Reference, squares: Squares) -> float:
    features = scorer.score_with_features(np.ascontiguousarray(squares))[1]
    assert features is not None
    return float((reference.out_of_distribution(features) > 1).mean())


def _print_unseen(
    trainings: Path, squares: Squares, rows: list[dict[str, str]], classes: tuple[str, ...]
) -> None:
    """Give each fold's network a reference of its own, and images that it has not seen."""
    from training.export import add_features
    from training.reference_measurement import look_at, measure_reference

    labels = np.array([classes.index(row["class"]) for row in rows])
    folds = np.array([int(row["fold"]) for row in rows])
    print("\nshare of images above the limit that a fold's network has not seen")
    for fold in np.unique(folds):
        network = (trainings / f"fold-{fold + 1}" / "network.onnx").read_bytes()
        if b"features" not in network:
            network = add_features(network)
        scorer = open_scorer("onnx", network, input_size=squares.shape[1])
        seen = np.flatnonzero(folds != fold)
        looked = look_at(scorer, squares, seen, labels[seen], folds[seen])
        assert looked is not None
        measured = measure_reference(looked, looked.scores, "in_sample")
        assert measured is not None
        share = _share_above(scorer, measured.reference, squares[folds == fold])
        print(f"  fold {fold + 1}: {share:6.1%}")


if __name__ == "__main__":
    main()
