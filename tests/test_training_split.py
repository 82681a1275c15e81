"""training.split and training.folds: no patient in two places, no image twice, nothing lost."""

from __future__ import annotations

import csv
import hashlib
import io
import random
import zlib
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchscan.archive.display import display_path
from batchscan.errors import DatasetError
from training.dataset import LabelledImage
from training.folds import assign_folds
from training.member import EXCLUDED, SIDES, TRAIN, Member
from training.split import Split, make_split

TWO = ("NORMAL", "PNEUMONIA")
THREE = ("NORMAL", "BACTERIA", "VIRUS")


def image(patient: str, number: int = 0, label: int = 0, side: str | None = None) -> LabelledImage:
    folder = f"{side or 'all'}/{label}"
    return LabelledImage(f"{folder}/{patient}_{number}", label, patient, side)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def split_of(
    images: list[LabelledImage],
    contents: dict[str, str] | None = None,
    failures: dict[int, str] | None = None,
    *,
    classes: tuple[str, ...] = TWO,
    folds: int = 5,
    seed: int = 0,
) -> Split:
    contents = contents or {}
    digests = [digest(contents.get(i.path, i.path)) for i in images]
    return make_split(images, digests, failures or {}, classes=classes, folds=folds, seed=seed)


def many(
    patients: int = 40, each: int = 2, side: str | None = None, labels: int = 2
) -> list[LabelledImage]:
    return [
        image(f"{side or ''}{'NPV'[label]}{patient}", number, label, side)
        for label in range(labels)
        for patient in range(patients)
        for number in range(each)
    ]


def side_of(split: Split, path: str) -> str:
    return next(member.side for member in split.members if member.image.path == path)


def folds_by_path(split: Split) -> dict[str, int]:
    return {m.image.path: int(f) for m, f in zip(split.members, split.fold, strict=True)}


images_strategy = st.lists(
    st.builds(
        image,
        patient=st.sampled_from([f"p{n}" for n in range(25)]),
        number=st.integers(0, 3),
        label=st.integers(0, 2),
        side=st.sampled_from(["train", "train", "train", "validation", "test"]),
    ),
    min_size=1,
    max_size=80,
    unique_by=lambda i: i.path,
)


@given(
    images=images_strategy,
    copies=st.sampled_from([20, 60, 200, 10**6]),
    folds=st.integers(2, 4),
    seed=st.integers(0, 9),
    sides=...,
)
def test_invariants(
    images: list[LabelledImage], copies: int, folds: int, seed: int, sides: bool
) -> None:
    """Each usable image tests or is in one fold, and no patient or content is in two places."""
    if not sides:
        images = [image(i.patient, n, i.label) for n, i in enumerate(images)]
    images += many(6, 1, labels=3)  # so that most examples have enough patients
    contents = {i.path: str(zlib.crc32(f"{i.path} {seed}".encode()) % copies) for i in images}
    try:
        split = split_of(images, contents, {0: "broken"}, classes=THREE, folds=folds, seed=seed)
    except DatasetError:
        assume(False)
    assert [member.image for member in split.members] == images
    places, contents_used = defaultdict(set), Counter()
    for member, fold in zip(split.members, split.fold, strict=True):
        assert bool(member.reason) == (member.side == EXCLUDED)
        assert (0 <= fold < folds) if member.side == TRAIN else fold == -1
        if member.side != EXCLUDED:
            assert (member.side == "test") == (member.image.given_side == "test")
            places[member.image.patient].add((member.side, int(fold)))
            contents_used[member.digest] += 1
    assert all(len(found) == 1 for found in places.values())
    assert set(contents_used.values()) == {1}
    assert split.members[0].side == EXCLUDED
    for fold in range(folds):
        train, held_out = split.fold_indices(fold)
        assert sorted([*train, *held_out]) == list(split.indices("train"))
        assert set(split.labels()[train]) == set(split.labels()[held_out]) == {0, 1, 2}


patients_strategy = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=1, max_size=60
)


def members_of(patients: list[tuple[int, int]]) -> list[Member]:
    """Return members of patients, for each of whom a label and a number of images is given."""
    return [
        Member(image(f"p{number}", n, label), "", TRAIN)
        for number, (label, count) in enumerate(patients)
        for n in range(count)
    ]


@given(patients=patients_strategy, folds=st.integers(2, 10), seed=st.integers(0, 2**32))
def test_folds_are_balanced(patients: list[tuple[int, int]], folds: int, seed: int) -> None:
    """In each class, folds differ by no more images than the class's largest patient has."""
    members = members_of(patients)
    fold = assign_folds(members, folds, seed)
    labels = np.array([member.image.label for member in members])
    for label in set(labels):
        sizes = np.bincount(fold[labels == label], minlength=folds)
        assert sizes.max() - sizes.min() <= max(n for found, n in patients if found == label)


@given(
    images=st.lists(
        st.builds(
            image,
            patient=st.sampled_from([f"p{n}" for n in range(12)]),
            number=st.integers(0, 9),
            label=st.integers(0, 2),
        ),
        min_size=1,
        max_size=80,
        unique_by=lambda i: i.path,
    ),
    folds=st.integers(2, 6),
    seed=st.integers(0, 9),
    order=st.randoms(use_true_random=False),
)
def test_folds_do_not_depend_on_the_order_of_files(
    images: list[LabelledImage], folds: int, seed: int, order: random.Random
) -> None:
    """Names, classes and the seed alone decide, also for patients with images of two classes."""
    members = [Member(i, "", TRAIN) for i in images]
    shuffled = order.sample(members, len(members))
    first = dict(zip(members, assign_folds(members, folds, seed), strict=True))
    assert dict(zip(shuffled, assign_folds(shuffled, folds, seed), strict=True)) == first


@given(copies=st.integers(2, 60), order=st.randoms(use_true_random=False))
def test_split_does_not_depend_on_the_order_of_files(copies: int, order: random.Random) -> None:
    """Which of several copies stays, and where, doesn't depend on the order either."""
    images = [*many(12, 3), *many(3, 2, "test"), image("testN0", 7, 0, "train")]
    contents = {i.path: str(zlib.crc32(i.path.encode()) % copies) + str(i.label) for i in images}

    def places(split: Split) -> dict[str, tuple[str, str, int]]:
        fold = folds_by_path(split)
        return {m.image.path: (m.side, m.reason, fold[m.image.path]) for m in split.members}

    try:
        first = split_of(images, contents, folds=2)
    except DatasetError:
        assume(False)
    shuffled = order.sample(images, len(images))
    assert places(split_of(shuffled, contents, folds=2)) == places(first)


def test_folds_are_recorded_for_ever() -> None:
    """The same seed and names give these folds in every version; another seed gives others."""
    members = members_of([(n % 2, 1 + n % 3) for n in range(20)])
    folds = assign_folds(members, 3, 7)
    by_patient = dict(zip((m.image.patient for m in members), folds.tolist(), strict=True))
    recorded = [0, 1, 0, 1, 0, 2, 2, 0, 2, 1, 1, 0, 2, 2, 1, 2, 2, 1, 1, 0]
    assert [by_patient[f"p{n}"] for n in range(20)] == recorded
    assert folds.dtype == np.int64
    assert assign_folds(members, 3, 8).tolist() != folds.tolist()


def test_equal_patients_give_equal_folds() -> None:
    """Where patients have equally many images, folds are equal but for one patient a class."""
    split = split_of(many(102, 3, labels=3), classes=THREE)
    assert sorted(split.fold_counts()[:, 0]) == [60, 60, 60, 63, 63]
    assert np.ptp(split.fold_counts(), axis=0).tolist() == [3, 3, 3]
    assert np.ptp(split.fold_counts().sum(axis=1)) <= 3


def test_patient_in_two_classes() -> None:
    """A patient with images of two classes stays whole, in one fold, and is named in a note."""
    images = [*many(), image("P3", 8, 0), image("P3", 9, 0)]
    split = split_of(images)
    folds = {f for path, f in folds_by_path(split).items() if "/P3_" in path}
    assert len(folds) == 1
    assert split.excluded() == {}
    assert split.notes == (
        "1 patients have images of more than one class (P3); each stays whole, in one fold",
    )


def test_given_test_side_is_kept_out_of_the_folds() -> None:
    """The images of a given test folder are in no fold; without one there is no test side."""
    split = split_of([*many(side="train"), *many(7, side="test")])
    assert len(split.indices("test")) == 28
    assert (split.fold[split.indices("test")] == -1).all()
    assert (split.fold[split.indices("train")] >= 0).all()
    assert split.notes == ()
    assert len(split_of(many()).indices("test")) == 0


def test_given_validation_joins_training() -> None:
    """The images of a given validation folder are trained on like others, and a note says so."""
    split = split_of([*many(side="train"), *many(8, 1, side="validation")])
    assert len(split.indices("train")) == 160 + 16
    assert "the 16 images of the validation folder join training" in split.notes[0]
    assert split.excluded() == {}


def test_copies_within_a_class() -> None:
    """Of exact copies one stays, the one farthest from training."""
    images = [*many(side="train"), *many(60, 1, side="validation"), *many(5, 1, side="test")]
    kept, dropped = "test/1/testP0_0", ("train/1/trainP0_0", "validation/1/validationP3_0")
    split = split_of(images, dict.fromkeys((kept, *dropped), "same"))
    assert side_of(split, kept) == "test"
    assert [side_of(split, path) for path in dropped] == [EXCLUDED, EXCLUDED]
    assert split.excluded() == {"copy": 2}
    reasons = [m.reason for m in split.members if m.side == EXCLUDED]
    assert set(reasons) == {f"copy: same content as {kept}"}


def test_contradictory_copies() -> None:
    """An image that lies in two classes is set aside altogether, each copy naming another."""
    split = split_of(many(), {"all/0/N0_0": "same", "all/1/P0_0": "same", "all/1/P1_0": "same"})
    reasons = {m.image.path: m.reason for m in split.members if m.side == EXCLUDED}
    assert reasons == {
        "all/0/N0_0": "in two classes: same content as all/1/P0_0",
        "all/1/P0_0": "in two classes: same content as all/0/N0_0",
        "all/1/P1_0": "in two classes: same content as all/0/N0_0",
    }
    assert split.excluded() == {"in two classes": 3}


def test_patients_on_two_given_sides() -> None:
    """A patient of the test folder is taken out of the training images."""
    images = [*many(side="train"), *many(5, 1, side="test")]
    images += [image("testN0", 7, 0, "train"), image("testN0", 8, 0, "validation")]
    split = split_of(images)
    assert side_of(split, "train/0/testN0_7") == EXCLUDED
    assert side_of(split, "test/0/testN0_0") == "test"
    assert split.excluded() == {"patient on another side": 2}


def test_unreadable_images_are_listed() -> None:
    """An image that cannot be decoded is excluded with its reason, and counted."""
    split = split_of(many(), failures={5: "the file ends before the image does"})
    assert split.members[5].reason == "unreadable: the file ends before the image does"
    assert split.excluded() == {"unreadable": 1}


def test_too_few_patients() -> None:
    """A class with fewer patients than folds is named, with the folds that would do."""
    images = [i for i in many() if i.label == 0 or i.patient in ("P0", "P1", "P2")]
    with pytest.raises(
        DatasetError, match=r"PNEUMONIA/: .* 5 or more .* found 3; use --folds 3, or"
    ):
        split_of(images)
    assert len(split_of(images, folds=3).fold_counts()) == 3
    with pytest.raises(DatasetError, match="found 1; add images of more patients"):
        split_of([i for i in many() if i.label == 0 or i.patient == "P0"])


def test_patients_of_two_classes_can_be_too_few() -> None:
    """Where every fold cannot have every class, the data set is refused."""
    pairs = ((0, 1), (1, 2), (0, 2))
    images = [image(f"p{n}", 0, label) for n, pair in enumerate(pairs) for label in pair]
    with pytest.raises(DatasetError, match=r"in each of 2 folds, .*; add images of more"):
        split_of(images, classes=THREE, folds=2)


@pytest.mark.parametrize("side", ["train", "test"])
def test_class_without_usable_images(side: str) -> None:
    """When all images of a class on a side are set aside, one is named with its reason."""
    images = [*many(side="train"), *many(6, side="test")]
    lost = {n: "cut" for n, i in enumerate(images) if i.label == 1 and i.given_side == side}
    with pytest.raises(
        DatasetError, match=rf"{side}/1/.*_0: .* PNEUMONIA, .* all {len(lost)} .*cut"
    ):
        split_of(images, failures=lost)


def test_counts() -> None:
    """Counts are of images by class and of patients on each side; a class may be any word."""
    split = split_of([*many(side="train"), *many(7, 3, side="test")], classes=("none", "patients"))
    assert split.counts() == {
        "train": {"images": {"none": 80, "patients": 80}, "patients": 80},
        "test": {"images": {"none": 21, "patients": 21}, "patients": 14},
    }


def test_table_holds_everything() -> None:
    """The recorded table gives each image's side and fold, also for unusual names."""
    images = [*many(), image('comma, "quote"\nline'), image("byte\udcff"), image("t", 0, 1, "test")]
    images += [image("t", 1, 0, "test")]
    split = split_of(images, failures={0: "broken"})
    text = split.to_csv({"hidden": ("train/.x\udcff",)}).decode()
    *rows, last = csv.DictReader(io.StringIO(text))
    assert (last["path"], last["side"], last["reason"]) == ("train/.x\\xff", "ignored", "hidden")
    assert list(rows[0]) == ["path", "class", "patient", "side", "fold", "reason"]
    assert [(row["path"], row["class"], row["side"], row["fold"]) for row in rows] == [
        (display_path(m.image.path), TWO[m.image.label], m.side, str(fold) if fold >= 0 else "")
        for m, fold in zip(split.members, split.fold, strict=True)
    ]
    assert (rows[0]["reason"], rows[0]["fold"]) == ("unreadable: broken", "")
    assert rows[-1]["side"] == "test"


def test_fingerprint_is_of_names_and_contents() -> None:
    """Another file, another name or another content makes another data set; order doesn't."""
    images = many()
    base = split_of(images).fingerprint()
    assert split_of(images[::-1], folds=3, seed=5).fingerprint() == base
    assert split_of(images, {"all/0/N0_0": "changed"}).fingerprint() != base
    assert split_of([*images, image("new")]).fingerprint() != base
    lines = sorted(f"{i.path}\0{digest(i.path)}\n" for i in images)
    assert base == digest("".join(lines))


def test_positions_and_labels() -> None:
    """Positions of the sides, with their labels, point into the data set's order."""
    split = split_of(
        [*many(side="train", labels=3), *many(2, side="test", labels=3)], classes=THREE
    )
    positions = np.concatenate([split.indices(side) for side in SIDES])
    assert sorted(positions) == list(range(len(split.members)))
    assert [split.members[n].image.label for n in positions] == list(split.labels()[positions])
    assert split.labels().dtype == np.uint8


@pytest.mark.parametrize("fold", [-1, 5])
def test_impossible_folds(fold: int) -> None:
    """There is no fold -1 that would hold out the test side, and none beyond the last."""
    with pytest.raises(ValueError, match="expected a fold from 0 to 4"):
        split_of(many()).fold_indices(fold)
