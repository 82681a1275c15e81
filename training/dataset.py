"""A labelled data set on disk: which images there are, of which class and patient.

`training.class_folders` says how the folders lie; the depth below a class folder is free.

File names carry the patient, after the rules of Kermany, Zhang and Goldbaum's data set (2018):
`person100_bacteria_475` is an image of patient `person100_bacteria`, and `IM-0115-0001` or
`NORMAL2-IM-0383-0001` one of `IM-0115` or `NORMAL2-IM-0383`. A file with any other name is taken
for a patient of its own; how many there are is reported.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchscan.errors import DatasetError
from batchscan.image.signature import EXTENSIONS, SNIFF_BYTES, sniff
from training.class_folders import ClassFolder, find_layout, is_hidden, list_folder

NO_IMAGE = "no image"
HIDDEN = "hidden"
LINK = "link to a folder"
NO_CLASS = "image outside the class folders"

_PATIENT = re.compile(
    r"((?:NORMAL2-)?IM-\d+)-\d+|(person\d+_(?:bacteria|virus))_\d+", re.IGNORECASE
)


@dataclass(frozen=True)
class LabelledImage:
    """One image file. `path` is relative to the data set, with `/`; `label` numbers its class.

    `given_side` is "train", "validation" or "test" if the data set has such folders, else None.
    """

    path: str
    label: int
    patient: str
    given_side: str | None


@dataclass(frozen=True)
class Dataset:
    """What was found under `root`: images sorted by path, with labels 0 up, in order of `classes`.

    A file that only its name calls an image is among the images; decoding it will say why not.
    `ignored` lists the paths of what was passed over, by kind (`NO_IMAGE`, `HIDDEN`, `LINK`,
    `NO_CLASS`). `unnamed` counts the images whose names don't tell the patient. `notes` are for
    the user.
    """

    root: Path
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    ignored: Mapping[str, tuple[str, ...]]
    unnamed: int
    notes: tuple[str, ...]


def find_dataset(root: Path) -> Dataset:
    """List a data set. Only the first bytes of each file are read, to see whether it is an image.

    Raises `DatasetError` when the folders are none of a data set, or one of them holds no image.
    """
    layout = find_layout(root)
    images: list[LabelledImage] = []
    ignored: dict[str, list[str]] = defaultdict(list)
    for parent in layout.parents:
        _note_strays(root, parent, ignored)
    for folder in layout.folders:
        found = _images_of(root, folder, ignored)
        if not found:
            raise DatasetError(
                f"{folder.place}: expected images, found none; add images, or remove the folder"
            )
        images += found
    return Dataset(
        root,
        layout.classes,
        tuple(sorted(images, key=_by_path)),
        {kind: tuple(sorted(paths)) for kind, paths in sorted(ignored.items())},
        sum(image.patient == image.path for image in images),
        layout.notes,
    )


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


def _note_strays(root: Path, parent: Path, ignored: dict[str, list[str]]) -> None:
    """Note what lies beside the class folders, or beside train/."""
    for entry in list_folder(parent):
        name = entry.relative_to(root).as_posix()
        if is_hidden(entry.name):
            ignored[HIDDEN].append(name)
        elif not entry.is_dir():
            ignored[NO_CLASS if _is_image(entry) else NO_IMAGE].append(name)


def _images_of(
    root: Path, folder: ClassFolder, ignored: dict[str, list[str]]
) -> list[LabelledImage]:
    """Return the images in a class folder; add whatever else is there to `ignored`."""
    images = []
    for path, kind in _walk(folder.place):
        name = path.relative_to(root).as_posix()
        kind = kind or (None if _is_image(path) else NO_IMAGE)
        if kind:
            ignored[kind].append(name)
        else:
            patient = patient_of(path.name) or name
            images.append(LabelledImage(name, folder.label, patient, folder.side))
    return images


def _walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the files in a tree, and what isn't looked into, with the reason why."""

    def fail(problem: OSError) -> None:
        raise DatasetError(f"{problem.filename}: cannot be listed ({problem.strerror})")

    for name, folders, files in os.walk(folder, onerror=fail):
        place = Path(name)
        hidden = [entry for entry in (*folders, *files) if is_hidden(entry)]
        folders[:] = sorted(entry for entry in folders if entry not in hidden)
        yield from ((place / entry, HIDDEN) for entry in hidden)
        yield from ((place / entry, LINK) for entry in folders if (place / entry).is_symlink())
        yield from ((place / entry, None) for entry in sorted(files) if not is_hidden(entry))


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
