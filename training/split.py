"""Which image trains, which validates, which tests; no patient on two sides, and no image twice.

First the images that cannot be used are set aside, each with a reason:

- files that cannot be decoded;
- all copies of an image that lies in both class folders: one label is wrong, but which one?
- all but one copy of an image within a class. The copy that stays is on the side that is farthest
  from training: test before validation before train;
- images of a patient that given folders put on two sides: again the farther side keeps them.

Then sides that the data set doesn't give are carved from the training images, patient by patient,
each class in the asked proportion. The order of patients follows from SHA-256 of the seed and their
names, not from a random generator: it is the same in every version of every library, and a patient
more or less changes little.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import DatasetError
from training.dataset import CLASSES, SIDES, LabelledImage

SMALL_VALIDATION = 100
"""Given validation folders with fewer images are added to training: they can't choose anything."""

EXCLUDED = "excluded"


@dataclass(frozen=True)
class Member:
    """An image and its place: `side` is one of `SIDES`, or `excluded` for the given `reason`."""

    image: LabelledImage
    digest: str
    side: str
    reason: str = ""


@dataclass(frozen=True)
class Split:
    """Every image of the data set, in its order, with its side; and what the user should know."""

    members: tuple[Member, ...]
    warnings: tuple[str, ...]

    def indices(self, side: str) -> NDArray[np.int64]:
        """Return the positions of the images of one side, int64 (N,), ascending."""
        return np.flatnonzero([member.side == side for member in self.members])

    def labels(self) -> NDArray[np.uint8]:
        """Return the labels of all images, uint8 (N,), 1 for the positive class."""
        return np.array([member.image.label for member in self.members], dtype=np.uint8)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each side the number of images of each class, and of patients."""
        result = {}
        for side in SIDES:
            images = [member.image for member in self.members if member.side == side]
            result[side] = dict.fromkeys(CLASSES, 0)
            result[side].update(Counter(CLASSES[image.label] for image in images))
            result[side]["patients"] = len({image.patient for image in images})
        return result

    def excluded(self) -> dict[str, int]:
        """Return how many images are excluded for each kind of reason."""
        reasons = (m.reason.partition(":")[0] for m in self.members if m.side == EXCLUDED)
        return dict(sorted(Counter(reasons).items()))

    def fingerprint(self) -> str:
        """Return the SHA-256 over all relative paths and contents."""
        lines = sorted(f"{member.image.path}\0{member.digest}\n" for member in self.members)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def to_csv(self) -> bytes:
        """Return the table of all images: path, class, patient, side and reason of exclusion."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "class", "patient", "side", "reason"])
        for member in self.members:
            image = member.image
            row = [image.path, CLASSES[image.label], image.patient, member.side, member.reason]
            writer.writerow(row)
        return text.getvalue().encode("utf-8", "surrogateescape")


def make_split(
    images: Sequence[LabelledImage],
    digests: Sequence[str],
    failures: dict[int, str],
    *,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
) -> Split:
    """Put each image on a side. Fractions are of the images of each class, 0 to below 1 in sum.

    A side that the data set gives is kept as it is given, whatever its fraction. Raises
    `DatasetError` when a class has too few patients to stand on every side.
    """
    members = [
        Member(image, digest, image.given_side or "train")
        for image, digest in zip(images, digests, strict=True)
    ]
    members, warnings = _merge_small_validation(members)
    given = {member.side for member in members}
    members = [
        replace(member, side=EXCLUDED, reason=f"unreadable: {failures[number]}")
        if number in failures
        else member
        for number, member in enumerate(members)
    ]
    members = _exclude_copies(members)
    members = _exclude_shared_patients(members)
    wanted = {"test": test_fraction, "validation": validation_fraction}
    carved = {side: part for side, part in wanted.items() if part > 0 and side not in given}
    members = _carve(members, carved, seed)
    _require_classes(members, {"validation", *given, *carved})
    return Split(tuple(members), tuple(warnings))


def _merge_small_validation(members: list[Member]) -> tuple[list[Member], list[str]]:
    count = sum(member.side == "validation" for member in members)
    if not 0 < count < SMALL_VALIDATION:
        return members, []
    warning = (
        f"the validation folder has only {count} images (expected {SMALL_VALIDATION} or more): "
        "they are added to the training images, and validation is carved from those"
    )
    return [
        replace(member, side="train") if member.side == "validation" else member
        for member in members
    ], [warning]


def _exclude_copies(members: list[Member]) -> list[Member]:
    copies: dict[str, list[int]] = defaultdict(list)
    for number, member in enumerate(members):
        if member.side != EXCLUDED:
            copies[member.digest].append(number)
    result = list(members)
    for numbers in copies.values():
        farthest = max(numbers, key=lambda n: (SIDES.index(members[n].side), -n))
        contradictory = len({members[number].image.label for number in numbers}) > 1
        for number in numbers if contradictory else set(numbers) - {farthest}:
            kind = "in both classes" if contradictory else "copy"
            other = next(n for n in (farthest, *numbers) if n != number)
            reason = f"{kind}: same content as {members[other].image.path}"
            result[number] = replace(members[number], side=EXCLUDED, reason=reason)
    return result


def _exclude_shared_patients(members: list[Member]) -> list[Member]:
    farthest: dict[str, int] = {}
    for member in members:
        if member.side != EXCLUDED:
            rank = max(SIDES.index(member.side), farthest.get(member.image.patient, 0))
            farthest[member.image.patient] = rank
    return [
        member
        if member.side == EXCLUDED or member.side == (side := SIDES[farthest[member.image.patient]])
        else replace(
            member,
            side=EXCLUDED,
            reason=f"patient on another side: {member.image.patient} is in {side}",
        )
        for member in members
    ]


def _carve(members: list[Member], parts: dict[str, float], seed: int) -> list[Member]:
    """Move whole patients from train to the sides in `parts`, in the given share of each class."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, member in enumerate(members):
        if member.side == "train":
            groups[member.image.patient].append(number)
    result = list(members)
    for label in range(len(CLASSES)):
        # A patient with images of both classes goes with the class of the first of them.
        patients = [p for p, numbers in groups.items() if members[numbers[0]].image.label == label]
        patients.sort(key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())
        total = sum(len(groups[patient]) for patient in patients)
        for side, part in parts.items():
            moved = 0
            while patients and moved < max(1, round(part * total)):
                for number in groups[patients[0]]:
                    result[number] = replace(members[number], side=side)
                moved += len(groups[patients.pop(0)])
    return result


def _require_classes(members: list[Member], sides: set[str]) -> None:
    present = {(member.side, member.image.label) for member in members}
    for side in SIDES:
        for label, name in enumerate(CLASSES):
            if side in sides and (side, label) not in present:
                raise DatasetError(
                    f"expected {name} images of some patient for each of "
                    f"{', '.join(s for s in SIDES if s in sides)}, found none for {side}; "
                    "add images of more patients"
                )
