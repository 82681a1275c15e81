"""The images that a bundle was trained on, found again in the data set; and the bundle anew."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BundleError, DatasetError
from batchscan.model.bundle import COMPANIONS, Bundle, write_bundle
from batchscan.model.scorer import Scorer, open_scorer
from batchscan.model.training_overlap import SPLIT, fingerprint
from training.cache import DecodedFiles, decode_files
from training.progress import Steps


@dataclass(frozen=True)
class TrainingImages:
    """The images that shaped a network.

    `pixels` is uint8 (M, S, S), of all images that the bundle knows; int64 (N,) are the positions
    among them of those that shaped it, and the label and fold of each.
    """

    pixels: NDArray[np.uint8]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]


@contextmanager
def training_images(bundle: Bundle, dataset: Path) -> Iterator[TrainingImages]:
    """Decode the images that `bundle` was trained on; their pixels are there within the context.

    Raises `BundleError` where it does not say which they were, and `DatasetError` where `dataset`
    does not hold exactly these.
    """
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
        yield _of_rows(rows, bundle.classes, decoded.pixels)


def open_network(content: bytes, bundle: Bundle) -> Scorer:
    """Load an ONNX file as a network of this bundle."""
    return open_scorer(
        "onnx",
        content,
        input_size=bundle.input_size,
        class_count=len(bundle.classes),
        threads=_threads(),
    )


def companions_of(bundle: Bundle, out: Path) -> list[str]:
    """Return what lies beside the bundle proper, to be copied; refuse to delete it."""
    names = [name for name in COMPANIONS if (bundle.folder / name).exists()]
    if names and out.resolve() == bundle.folder.resolve():
        raise BundleError(
            f"{out}: writing the bundle there would delete {names[0]}; give another --out"
        )
    return names


def write_again(
    bundle: Bundle,
    out: Path,
    changed: Mapping[str, bytes],
    details: Mapping[str, Any],
    companions: list[str],
) -> Bundle:
    """Write a bundle with `changed` files, and further fields of the card; all else stays."""
    files = {name: bundle.listed_bytes(name) or b"" for name in bundle.card["files"]}
    written = write_bundle(
        out,
        name=bundle.name,
        files={**files, **changed},
        classes=bundle.classes,
        threshold=bundle.threshold,
        input_size=bundle.input_size,
        preprocessing=bundle.preprocessing,
        details={**bundle.card, **details},
    )
    for name in companions:
        copy = shutil.copytree if (bundle.folder / name).is_dir() else shutil.copy2
        try:
            copy(bundle.folder / name, out / name)
        except OSError as problem:
            raise BundleError(
                f"{out}: the bundle is written, but without its {name}, which cannot be copied "
                f"({problem.strerror or problem}); copy it from {bundle.folder}"
            ) from problem
    return written


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


def _of_rows(
    rows: list[dict[str, str]], classes: tuple[str, ...], pixels: NDArray[np.uint8]
) -> TrainingImages:
    inside = [(number, row) for number, row in enumerate(rows) if row["fold"]]
    columns = (
        [number for number, _ in inside],
        [classes.index(row["class"]) for _, row in inside],
        [int(row["fold"]) for _, row in inside],
    )
    return TrainingImages(pixels, *(np.array(column, dtype=np.int64) for column in columns))


def _threads() -> int:
    return len(os.sched_getaffinity(0))
