"""Small labelled data sets for the tests of training: noise, brighter from class to class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LEVELS = {"NORMAL": 70, "PNEUMONIA": 150, "BACTERIA": 120, "VIRUS": 180}
TWO = ("NORMAL", "PNEUMONIA")
THREE = ("NORMAL", "BACTERIA", "VIRUS")


def noise(level: int, seed: int, size: int = 24) -> bytes:
    """Return a JPEG of noise around a grey level; another seed makes another image."""
    pixels = np.random.default_rng([level, seed]).normal(level, 30, (size, size))
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "jpeg")
    return stream.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_class(folder: Path, name: str, patients: range, images_each: int = 2) -> None:
    """Write a class folder with images of these patients, named by the data set's rules."""
    for patient in patients:
        for number in range(images_each):
            seed = patient * 100 + number
            cause = "virus" if name == "VIRUS" else "bacteria"
            file = (
                f"IM-{patient:04d}-{number:04d}.jpeg"
                if name == "NORMAL"
                else f"person{patient}_{cause}_{number}.jpeg"
            )
            write(folder / name / file, noise(LEVELS[name], seed))


def write_dataset(
    folder: Path,
    patients: range = range(20),
    images_each: int = 2,
    classes: Sequence[str] = TWO,
) -> Path:
    """Write the folders of these classes, of those in `LEVELS`."""
    for name in classes:
        write_class(folder, name, patients, images_each)
    return folder
