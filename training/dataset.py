"""A labelled data set on disk: which images there are, of which class and patient.

Two layouts, class folders in any case and depth below them free:

    DATASET/NORMAL, DATASET/PNEUMONIA                                   we make all three sides
    DATASET/train/NORMAL, ...  with optional DATASET/val and DATASET/test       those are kept

File names carry the patient, after the rules of Kermany, Zhang and Goldbaum's data set (2018):
`person100_bacteria_475` is an image of patient `person100_bacteria`, and `IM-0115-0001` or
`NORMAL2-IM-0383-0001` one of `IM-0115` or `NORMAL2-IM-0383`. A file with any other name is taken
for a patient of its own; how many there are is reported.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchscan.errors import DatasetError
from batchscan.image import EXTENSIONS, SNIFF_BYTES, sniff

CLASSES = ("NORMAL", "PNEUMONIA")  # the positive class last

SIDES = ("train", "validation", "test")

_SIDE_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}

_PATIENT = re.compile(
    r"((?:NORMAL2-)?IM-\d+)-\d+|(person\d+_(?:bacteria|virus))_\d+", re.IGNORECASE
)


@dataclass(frozen=True)
class LabelledImage:
    """One image file. `path` is relative to the data set, with `/`; `label` is 0 or 1.

    `given_side` is the side of the split whose folder it lies in, if the data set has such folders.
    """

    path: str
    label: int
    patient: str
    given_side: str | None


@dataclass(frozen=True)
class Dataset:
    """What was found under `root`: images sorted by path, and files that are no JPEG or PNG.

    A file that only its name calls an image is among the images; decoding it will say why not.
    `unnamed` counts the images whose names don't tell the patient.
    """

    root: Path
    images: tuple[LabelledImage, ...]
    ignored: tuple[str, ...]
    unnamed: int


def find_dataset(root: Path) -> Dataset:
    """List a data set. Only the first bytes of each file are read, to see whether it is an image.

    Raises `DatasetError` when there are no such folders, or one of them holds no image.
    """
    found: list[LabelledImage] = []
    ignored: list[str] = []
    unnamed = 0
    for side, label, folder in _class_folders(root):
        count = len(found)
        for path in _files_below(folder):
            name = path.relative_to(root).as_posix()
            if not _is_image(path):
                ignored.append(name)
                continue
            patient = patient_of(path.name)
            unnamed += patient is None
            found.append(LabelledImage(name, label, patient or name, side))
        if len(found) == count:
            raise DatasetError(f"{folder}: expected JPEG or PNG images, found none; add images")
    return Dataset(root, tuple(sorted(found, key=_by_path)), tuple(sorted(ignored)), unnamed)


def patient_of(file_name: str) -> str | None:
    """Return the patient that a file name names, or None where it follows no known rule.

    The case of letters doesn't make another patient.
    """
    match = _PATIENT.match(file_name)
    if match is None:
        return None
    return match[1].upper() if match[1] else match[2].lower()


def _by_path(image: LabelledImage) -> str:
    return image.path


def _class_folders(root: Path) -> list[tuple[str | None, int, Path]]:
    """Return (given side, label, folder) for each class folder."""
    if not root.is_dir():
        raise DatasetError(f"{root}: expected the folder of a data set, found no folder there")
    direct = _labelled(root)
    sides = [
        (_SIDE_FOLDERS[folder.name.casefold()], folder)
        for folder in _folders(root)
        if folder.name.casefold() in _SIDE_FOLDERS
    ]
    if direct and sides:
        raise DatasetError(
            f"{root}: expected class folders or train/, found both {direct[0][1].name}/ and "
            f"{sides[0][1].name}/; keep one kind"
        )
    if sides and "train" not in {side for side, _ in sides}:
        raise DatasetError(f"{root}: found {sides[0][1].name}/ but no train/; add train/")
    if direct or not sides:
        _require_both_classes(root, direct)
        return [(None, label, folder) for label, folder in direct]
    result: list[tuple[str | None, int, Path]] = []
    for side, folder in sides:
        labelled = _labelled(folder)
        _require_both_classes(folder, labelled)
        result += [(side, label, class_folder) for label, class_folder in labelled]
    return result


def _require_both_classes(folder: Path, labelled: list[tuple[int, Path]]) -> None:
    missing = [name for label, name in enumerate(CLASSES) if label not in dict(labelled)]
    if missing:
        found = ", ".join(entry.name + "/" for entry in _folders(folder)[:5]) or "no folder"
        raise DatasetError(
            f"{folder}: expected folders {CLASSES[0]}/ and {CLASSES[1]}/, found {found}; "
            f"add {missing[0]}/"
        )


def _labelled(folder: Path) -> list[tuple[int, Path]]:
    names = [name.casefold() for name in CLASSES]
    return [
        (names.index(entry.name.casefold()), entry)
        for entry in _folders(folder)
        if entry.name.casefold() in names
    ]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as problem:
        raise DatasetError(f"{folder}: cannot be listed ({problem.strerror})") from problem


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a tree, but hidden ones; links to folders aren't followed."""

    def fail(problem: OSError) -> None:
        raise DatasetError(f"{problem.filename}: cannot be listed ({problem.strerror})")

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _is_image(path: Path) -> bool:
    """Say whether a file's name or its first bytes promise an image.

    One that cannot be read counts, and fails later. Pipes and devices, which could block for ever,
    don't.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        if path.suffix.lower() in EXTENSIONS:
            return True
        with path.open("rb") as file:
            return sniff(file.read(SNIFF_BYTES)) is not None
    except OSError:
        return True
