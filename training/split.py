"""Which images train and which test, in folds; no patient on two sides, and no image twice.

First the images that cannot be used are set aside, each with a reason:

- files that cannot be decoded;
- all copies of an image that lies in two class folders: a label is wrong, but which one?
- all but one copy of an image within a class. One in the test folder stays rather than others;
- training images of a patient who is in the test folder, too.

The images of a given test folder are the test side. All others train: `training.folds` makes folds
of them, so that each image is once held out from training, together with its patient.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.archive.display import display_path
from batchscan.errors import DatasetError
from training.dataset import LabelledImage
from training.folds import NO_FOLD, assign_folds, require_classes_in_folds, require_patients
from training.member import EXCLUDED, SIDES, TEST, TRAIN, Member

EXAMPLES = 3  # names in a note
IGNORED = "ignored"


@dataclass(frozen=True, eq=False)
class Split:
    """Every image of the data set, in its order, with its side and fold.

    `fold` is int64 (N,): from 0 up for the training side, -1 for all other images. `notes` say what
    the user should know.
    """

    classes: tuple[str, ...]
    members: tuple[Member, ...]
    fold: NDArray[np.int64]
    notes: tuple[str, ...]

    def indices(self, side: str) -> NDArray[np.int64]:
        """Return the positions of the images of one of `SIDES`, int64 (N,), ascending."""
        return np.flatnonzero([member.side == side for member in self.members])

    def fold_indices(self, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions to train on for a fold, and those it holds out; ascending."""
        if not 0 <= fold <= self.fold.max():
            raise ValueError(f"expected a fold from 0 to {self.fold.max()}, found {fold}")
        inside = self.fold != NO_FOLD
        held_out = self.fold == fold
        return np.flatnonzero(inside & ~held_out), np.flatnonzero(held_out)

    def labels(self) -> NDArray[np.uint8]:
        """Return the labels of all images, uint8 (N,), positions in `classes`."""
        return np.array([member.image.label for member in self.members], dtype=np.uint8)

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return for each side `images`, their number by class, and the number of `patients`."""
        result = {}
        for side in SIDES:
            images = [member.image for member in self.members if member.side == side]
            by_label = Counter(image.label for image in images)
            result[side] = {
                "images": {name: by_label[label] for label, name in enumerate(self.classes)},
                "patients": len({image.patient for image in images}),
            }
        return result

    def fold_counts(self) -> NDArray[np.int64]:
        """Return how many images of each class each fold holds out, int64 (folds, classes)."""
        result = np.zeros((self.fold.max() + 1, len(self.classes)), dtype=np.int64)
        inside = self.fold != NO_FOLD
        np.add.at(result, (self.fold[inside], self.labels()[inside]), 1)
        return result

    def excluded(self) -> dict[str, int]:
        """Return how many images are excluded for each kind of reason."""
        reasons = (m.reason.partition(":")[0] for m in self.members if m.side == EXCLUDED)
        return dict(sorted(Counter(reasons).items()))

    def fingerprint(self) -> str:
        """Return the SHA-256 over all relative paths and contents."""
        lines = (f"{display_path(m.image.path)}\0{m.digest}\n" for m in self.members)
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()

    def to_csv(self, ignored: Mapping[str, Sequence[str]]) -> bytes:
        """Return the table of all images: path, class, patient, side, fold, reason of exclusion.

        `fold` is empty outside the training side. Files that were `ignored`, by the reason, follow.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "class", "patient", "side", "fold", "reason"])
        for member, fold in zip(self.members, self.fold, strict=True):
            image = member.image
            place = [member.side, "" if fold == NO_FOLD else fold, member.reason]
            names = display_path(image.path), self.classes[image.label], display_path(image.patient)
            writer.writerow([*names, *place])
        for reason, paths in ignored.items():
            writer.writerows([display_path(path), "", "", IGNORED, "", reason] for path in paths)
        return text.getvalue().encode()


def make_split(
    images: Sequence[LabelledImage],
    digests: Sequence[str],
    failures: Mapping[int, str],
    *,
    classes: tuple[str, ...],
    folds: int,
    seed: int,
) -> Split:
    """Put each image on a side, and those of the training side into `folds` folds (2 or more).

    `digests` are of the contents, `failures` the reasons why images at some positions cannot be
    decoded. Raises `DatasetError` when all images of a class are set aside on a side, or a class
    has too few patients for a part in each fold.
    """
    members = [
        Member(image, digest, TEST if image.given_side == "test" else TRAIN)
        for image, digest in zip(images, digests, strict=True)
    ]
    before = members
    members = [
        replace(member, side=EXCLUDED, reason=f"unreadable: {failures[number]}")
        if number in failures
        else member
        for number, member in enumerate(members)
    ]
    members = _exclude_copies(members)
    members = _exclude_shared_patients(members)
    _require_usable(before, members, classes)
    require_patients((m.image for m in members if m.side == TRAIN), classes, folds)
    fold = assign_folds(members, folds, seed)
    require_classes_in_folds(members, fold, classes)
    return Split(classes, tuple(members), fold, (*_joined(images), *_in_two_classes(members)))


def _exclude_copies(members: list[Member]) -> list[Member]:
    copies: dict[str, list[int]] = defaultdict(list)
    for number, member in enumerate(members):
        if member.side != EXCLUDED:
            copies[member.digest].append(number)
    result = list(members)
    for numbers in copies.values():
        # By path, so that the order of the files doesn't matter.
        first, *rest = sorted(
            numbers, key=lambda n: (-SIDES.index(members[n].side), members[n].image.path)
        )
        contradictory = len({members[number].image.label for number in numbers}) > 1
        kind = "in two classes" if contradictory else "copy"
        for number in rest:
            reason = f"{kind}: same content as {members[first].image.path}"
            result[number] = replace(members[number], side=EXCLUDED, reason=reason)
        if contradictory:
            other = next(n for n in rest if members[n].image.label != members[first].image.label)
            reason = f"{kind}: same content as {members[other].image.path}"
            result[first] = replace(members[first], side=EXCLUDED, reason=reason)
    return result


def _exclude_shared_patients(members: list[Member]) -> list[Member]:
    tested = {member.image.patient for member in members if member.side == TEST}
    return [
        replace(
            member,
            side=EXCLUDED,
            reason=f"patient on another side: {member.image.patient} is in {TEST}",
        )
        if member.side == TRAIN and member.image.patient in tested
        else member
        for member in members
    ]


def _require_usable(
    before: Sequence[Member], after: Sequence[Member], classes: tuple[str, ...]
) -> None:
    """Refuse a data set of which a class is set aside altogether, on a side that had it."""
    left = {(member.side, member.image.label) for member in after}
    lost = [
        now
        for then, now in zip(before, after, strict=True)
        if (then.side, then.image.label) not in left
    ]
    if not lost:
        return
    label = lost[0].image.label
    count = sum(member.image.label == label for member in lost)
    raise DatasetError(
        f"{lost[0].image.path}: expected usable images of {classes[label]}, found that all "
        f"{count:,} must be set aside (here: {lost[0].reason}); replace them"
    )


def _joined(images: Sequence[LabelledImage]) -> list[str]:
    """Return a note where the data set gives a validation folder."""
    count = sum(image.given_side == "validation" for image in images)
    if not count:
        return []
    return [f"the {count:,} images of the validation folder join training: the folds validate"]


def _in_two_classes(members: Sequence[Member]) -> list[str]:
    """Return a note where patients have images of more than one class."""
    labels: dict[str, set[int]] = defaultdict(set)
    for member in members:
        if member.side != EXCLUDED:
            labels[member.image.patient].add(member.image.label)
    patients = sorted(patient for patient, found in labels.items() if len(found) > 1)
    if not patients:
        return []
    few = ", ".join(patients[:EXAMPLES]) + (", ..." if len(patients) > EXAMPLES else "")
    return [
        f"{len(patients):,} patients have images of more than one class ({few}); "
        "each stays whole, in one fold"
    ]
