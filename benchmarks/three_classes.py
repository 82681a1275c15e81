"""Sort the data set of Kermany, Zhang and Goldbaum (2018) into three classes, by its file names.

    python -m benchmarks.three_classes SOURCE OUT [--copy]

SOURCE holds NORMAL and PNEUMONIA, directly or below train/, with optional val/ and test/. OUT gets
train/NORMAL, train/BACTERIA and train/VIRUS (val/ and test/ likewise) with links to the images, or
with copies. What a name `person100_bacteria_475` says decides. An image of PNEUMONIA whose name
says neither is left out, and listed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

from batchscan.errors import DatasetError
from training.dataset import LabelledImage, find_dataset, patient_of

CAUSES = {"bacteria": "BACTERIA", "virus": "VIRUS"}
SIDE_FOLDERS = {"validation": "val"}


def main() -> int:
    """Make the folders and print what is in them; returns the exit code."""
    parser = argparse.ArgumentParser(description="NORMAL, BACTERIA and VIRUS, by file names")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--copy", action="store_true", help="copies instead of symbolic links")
    options = parser.parse_args()
    try:
        left_out = make_three_classes(options.source, options.out, copy=options.copy)
    except DatasetError as problem:
        print(f"three_classes: error: {problem}", file=sys.stderr)
        return problem.exit_code
    except OSError as problem:
        print(f"three_classes: error: {problem.filename}: {problem.strerror}", file=sys.stderr)
        return 1
    folders = Counter(path.parent for path in options.out.rglob("*") if path.is_file())
    for folder, count in sorted(folders.items()):
        print(f"{folder}: {count:,} images")
    if left_out:
        print(f"left out {len(left_out):,} images, whose names say neither bacteria nor virus:")
        print("\n".join(f"  {path}" for path in left_out))
    return 0


def make_three_classes(source: Path, out: Path, *, copy: bool) -> list[str]:
    """Fill the new folder `out`; return the paths of images whose names don't tell the class.

    Raises `DatasetError` when `source` is another data set, or `out` is there already.
    """
    found = find_dataset(source)
    if [name.upper() for name in found.classes] != ["NORMAL", "PNEUMONIA"]:
        raise DatasetError(
            f"{source}: expected folders NORMAL/ and PNEUMONIA/, found {', '.join(found.classes)}; "
            "give the data set as it was downloaded"
        )
    if out.exists():
        raise DatasetError(f"{out}: expected a new folder, found one; choose another, or remove it")
    left_out = []
    for image in found.images:
        name = _class_of(image)
        if name is None:
            left_out.append(image.path)
        else:
            _place((source / image.path).absolute(), out / _target(image, name), copy)
    return left_out


def _class_of(image: LabelledImage) -> str | None:
    if image.label == 0:
        return "NORMAL"
    patient = patient_of(PurePosixPath(image.path).name) or ""
    return CAUSES.get(patient.rpartition("_")[2])


def _target(image: LabelledImage, name: str) -> PurePosixPath:
    """Return the path below the output; what lies between class folder and file is kept."""
    side = image.given_side or "train"
    inside = image.path.split("/")[2 if image.given_side else 1 :]
    return PurePosixPath(SIDE_FOLDERS.get(side, side), name, *inside)


def _place(image: Path, target: Path, copy: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copy2(image, target)
    else:
        target.symlink_to(image)


if __name__ == "__main__":
    sys.exit(main())
