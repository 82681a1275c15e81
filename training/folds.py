"""Folds for cross-validation: grouped by patient, and stratified by class.

Each training image is in one fold, all images of a patient in the same. Patients are dealt out one
by one, those with most images first, each into the fold that has the smallest share of the
patient's class so far. So the folds differ in a class by no more images than one patient has,
unless patients with images of several classes come in between; and with many patients of few
images, they are equal but for one.

The order of patients with equally many images follows from SHA-256 of the seed and their names, not
from a random generator: the folds are the same in every version of every library.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import DatasetError
from training.dataset import LabelledImage
from training.member import TRAIN, Member

NO_FOLD = -1


def assign_folds(members: Sequence[Member], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each image, int64 (N,): 0 to `folds` - 1, -1 outside the training side.

    It depends on names, classes and the seed, not on the order of `members`. Raises `ValueError`
    for less than 2 folds.
    """
    if folds < 2:
        raise ValueError(f"expected 2 or more folds, found {folds}")
    groups: dict[str, list[int]] = defaultdict(list)
    for number, member in enumerate(members):
        if member.side == TRAIN:
            groups[member.image.patient].append(number)
    sizes = {
        patient: Counter(members[number].image.label for number in numbers)
        for patient, numbers in groups.items()
    }
    chosen = _deal(sizes, folds, seed)
    result = np.full(len(members), NO_FOLD, dtype=np.int64)
    for patient, numbers in groups.items():
        result[numbers] = chosen[patient]
    return result


def _deal(sizes: dict[str, Counter[int]], folds: int, seed: int) -> dict[str, int]:
    """Return the fold of each patient, whose number of images by label is given."""

    def order(patient: str) -> tuple[int, int, bytes]:
        # Those with several classes first: what they unbalance, the others can balance.
        name = f"{seed}:{patient}".encode("utf-8", "surrogateescape")
        counts = sizes[patient]
        return -len(counts), -counts.total(), hashlib.sha256(name).digest()

    totals: Counter[int] = sum(sizes.values(), Counter())
    load = [Counter[int]() for _ in range(folds)]
    result = {}
    for patient in sorted(sizes, key=order):
        result[patient] = _emptiest(load, totals, sizes[patient])
        load[result[patient]].update(sizes[patient])
    return result


def _emptiest(load: Sequence[Counter[int]], totals: Counter[int], counts: Counter[int]) -> int:
    """Return the fold with the smallest share of the classes in `counts`; of equals, of images."""

    def fullness(fold: int) -> tuple[float, int]:
        share = sum(load[fold][label] / totals[label] for label in sorted(counts))
        return share, load[fold].total()

    return min(range(len(load)), key=fullness)


def require_patients(images: Iterable[LabelledImage], classes: Sequence[str], folds: int) -> None:
    """Raise `DatasetError` unless these training images show, of each class, a patient a fold."""
    patients: dict[int, set[str]] = {label: set() for label in range(len(classes))}
    for image in images:
        patients[image.label].add(image.patient)
    label, fewest = min(patients.items(), key=lambda entry: len(entry[1]))
    count = len(fewest)
    if count < folds:
        smaller = f"use --folds {count}, or " if count > 1 else ""
        raise DatasetError(
            f"{classes[label]}/: expected images of {folds} or more patients, one for each fold, "
            f"found {count}; {smaller}add images of more patients"
        )


def require_classes_in_folds(
    members: Sequence[Member], fold: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Raise `DatasetError` if a fold lacks a class; patients of several classes can cause that."""
    present = {(fold[n], member.image.label) for n, member in enumerate(members)}
    folds = int(fold.max()) + 1
    smaller = "use a smaller --folds, or " if folds > 2 else ""
    for label, name in enumerate(classes):
        if any((number, label) not in present for number in range(folds)):
            raise DatasetError(
                f"{name}/: expected images in each of {folds} folds, found too few patients with "
                f"images of one class; {smaller}add images of more patients"
            )
