"""A data set, decoded and split: what training and evaluation work on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.cache import DecodedFiles, decode_files
from training.dataset import Dataset
from training.options import TrainingOptions
from training.progress import Steps, say
from training.split import EXCLUDED, Split, make_split

SHOWN = 5  # unusable files named on the terminal; split.csv names all


@dataclass(frozen=True)
class PreparedData:
    """Decoded images, uint8 (N, S, S), lying on disk; their labels, uint8 (N,); their sides."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    split: Split


def prepare(found: Dataset, place: Path, options: TrainingOptions) -> PreparedData:
    """Decode every image into a file in the folder `place`, put each on a side, and tell of it.

    Raises `DatasetError` when there is no room, or when a class has too few patients.
    """
    decoded = _decode(found, place, options)
    split = make_split(
        found.images,
        decoded.digests,
        decoded.failures,
        seed=options.seed,
        validation_fraction=options.validation_fraction,
        test_fraction=options.test_fraction,
    )
    _tell(found, split)
    return PreparedData(decoded.pixels, split.labels(), split)


def _decode(found: Dataset, place: Path, options: TrainingOptions) -> DecodedFiles:
    started = time.monotonic()
    total = len(found.images)
    with Steps("decoding", total, "images") as steps:
        decoded = decode_files(
            [found.root / image.path for image in found.images],
            place / "pixels.raw",
            size=options.architecture.input_size,
            workers=options.threads,
            progress=steps.update,
        )
    say(f"decoded {total:,} images in {time.monotonic() - started:.0f} s")
    return decoded


def _tell(found: Dataset, split: Split) -> None:
    """Say what is used and what isn't, and why."""
    for warning in split.warnings:
        say(f"note: {warning}")
    if found.unnamed:
        say(
            f"note: {found.unnamed:,} file names do not tell the patient; each counts as a patient "
            "of its own, so images of one patient may stand on two sides"
        )
    if found.ignored:
        say(f"ignored {len(found.ignored):,} files that are no JPEG or PNG: {_few(found.ignored)}")
    out = [member for member in split.members if member.side == EXCLUDED]
    for kind, count in split.excluded().items():
        paths = [member.image.path for member in out if member.reason.startswith(f"{kind}:")]
        say(f"set aside {count:,} images ({kind}): {_few(paths)}; split.csv has the reasons")
    for side, counts in split.counts().items():
        say(f"{side}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
