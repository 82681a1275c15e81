"""A data set, decoded and split: what training and evaluation work on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.cache import DecodedFiles, decode_files
from training.dataset import Dataset
from training.folds import require_patients
from training.member import EXCLUDED, TEST, TRAIN
from training.progress import Steps, say
from training.split import Split, make_split

SHOWN = 5  # unusable files named on the terminal; split.csv names all


@dataclass(frozen=True)
class PreparedData:
    """Decoded images, uint8 (N, S, S), lying on disk; their labels, uint8 (N,); sides and folds.

    Labels are positions in `classes`. `ignored` has the files that are no images of a class, by the
    reason.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    split: Split
    classes: tuple[str, ...]
    ignored: Mapping[str, tuple[str, ...]]


def prepare(
    found: Dataset, place: Path, *, size: int, threads: int, folds: int, seed: int
) -> PreparedData:
    """Decode every image into a file in the folder `place`, put each on a side, and tell of it.

    Images that an earlier run has decoded there are used as they are. `size` is in pixels. Raises
    `DatasetError` when there is no room, or when a class has too few patients for `folds` folds.
    """
    # Before the long part, too; exclusions may leave fewer.
    in_training = (image for image in found.images if image.given_side != "test")
    require_patients(in_training, found.classes, folds)
    decoded = _decode(found, place, size, threads)
    split = make_split(
        found.images,
        decoded.digests,
        decoded.failures,
        classes=found.classes,
        folds=folds,
        seed=seed,
    )
    _tell(found, split)
    return PreparedData(decoded.pixels, split.labels(), split, found.classes, found.ignored)


def _decode(found: Dataset, place: Path, size: int, threads: int) -> DecodedFiles:
    started = time.monotonic()
    total = len(found.images)
    with Steps("decoding", total, "images") as steps:
        decoded = decode_files(
            [found.root / image.path for image in found.images],
            place / "pixels.raw",
            size=size,
            workers=threads,
            progress=steps.update,
        )
    if decoded.reused:
        say(f"{total:,} images are decoded already")
    else:
        say(f"decoded {total:,} images in {time.monotonic() - started:.0f} s")
    return decoded


def _tell(found: Dataset, split: Split) -> None:
    """Say what is used and what isn't, and why."""
    for note in (*found.notes, *split.notes):
        say(f"note: {note}")
    if found.unnamed:
        say(
            f"note: {found.unnamed:,} file names do not tell the patient; each counts as a patient "
            "of its own, so images of one patient may stand in two folds, or on both sides"
        )
    for kind, names in found.ignored.items():
        say(f"ignored {len(names):,} files or folders ({kind}): {_few(names)}; split.csv has all")
    out = [member for member in split.members if member.side == EXCLUDED]
    for kind, count in split.excluded().items():
        paths = [member.image.path for member in out if member.reason.startswith(f"{kind}:")]
        say(f"set aside {count:,} images ({kind}): {_few(paths)}; split.csv has the reasons")
    _tell_counts(split)


def _tell_counts(split: Split) -> None:
    counts, held_out = split.counts(), split.fold_counts()
    has_test = counts[TEST]["patients"] > 0
    for label, name in enumerate(split.classes):
        folds = " ".join(f"{count:,}" for count in held_out[:, label])
        test = f", and {counts[TEST]['images'][name]:,} to test" if has_test else ""
        positive = " (positive)" if len(split.classes) == 2 and label == 1 else ""
        say(f"{name}{positive}: {counts[TRAIN]['images'][name]:,} images in folds of {folds}{test}")
    test = f", {counts[TEST]['patients']:,} to test" if has_test else ""
    say(f"patients: {counts[TRAIN]['patients']:,} in {len(held_out)} folds{test}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
