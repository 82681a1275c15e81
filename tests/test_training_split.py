"""training.split: no patient on two sides, no image twice, nothing lost."""

from __future__ import annotations

import csv
import hashlib
import io
import random
import zlib
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchscan.errors import DatasetError
from training.dataset import SIDES, LabelledImage
from training.split import EXCLUDED, SMALL_VALIDATION, Split, make_split


def image(patient: str, number: int = 0, label: int = 0, side: str | None = None) -> LabelledImage:
    folder = f"{side or 'all'}/{label}"
    return LabelledImage(f"{folder}/{patient}_{number}", label, patient, side)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def split_of(
    images: list[LabelledImage],
    contents: dict[str, str] | None = None,
    failures: dict[int, str] | None = None,
    *,
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.1,
) -> Split:
    contents = contents or {}
    digests = [digest(contents.get(i.path, i.path)) for i in images]
    return make_split(
        images,
        digests,
        failures or {},
        seed=seed,
        validation_fraction=validation,
        test_fraction=test,
    )


def many(patients: int = 40, each: int = 2, side: str | None = None) -> list[LabelledImage]:
    return [
        image(f"{side or ''}{'NP'[label]}{patient}", number, label, side)
        for label in (0, 1)
        for patient in range(patients)
        for number in range(each)
    ]


def side_of(split: Split, path: str) -> str:
    return next(member.side for member in split.members if member.image.path == path)


images_strategy = st.lists(
    st.builds(
        image,
        patient=st.sampled_from([f"p{n}" for n in range(25)]),
        number=st.integers(0, 3),
        label=st.integers(0, 1),
        side=st.sampled_from(["train", "train", "validation", "test"]),
    ),
    min_size=10,
    max_size=120,
    unique_by=lambda i: i.path,
)


@given(images=images_strategy, copies=st.integers(1, 200), seed=st.integers(0, 9), sides=...)
def test_invariants(images: list[LabelledImage], copies: int, seed: int, sides: bool) -> None:
    """Whatever the data: every image is listed once, no patient or content is on two sides."""
    if not sides:
        images = [image(i.patient, n, i.label) for n, i in enumerate(images)]
    contents = {i.path: str(zlib.crc32(f"{i.path} {seed}".encode()) % copies) for i in images}
    try:
        split = split_of(images, contents, {0: "broken"}, seed=seed)
    except DatasetError:
        assume(False)
    assert [member.image for member in split.members] == images
    patients, digests = defaultdict(set), defaultdict(list)
    for member in split.members:
        if member.side == EXCLUDED:
            assert member.reason
            continue
        assert member.side in SIDES
        patients[member.image.patient].add(member.side)
        digests[member.digest].append(member.image.path)
    assert all(len(sides) == 1 for sides in patients.values())
    assert all(len(paths) == 1 for paths in digests.values())
    assert split.members[0].side == EXCLUDED
    for side in SIDES:
        assert set(split.labels()[split.indices(side)]) == {0, 1}


def test_fractions_of_each_class() -> None:
    """Each side gets its share of each class."""
    counts = split_of(many(100, 3), validation=0.2, test=0.1).counts()
    for name in ("NORMAL", "PNEUMONIA"):
        assert 60 <= counts["validation"][name] <= 62
        assert 30 <= counts["test"][name] <= 32
        assert sum(counts[side][name] for side in SIDES) == 300


def test_test_side_can_be_left_out() -> None:
    """With a test fraction of 0 there is no test side."""
    split = split_of(many(), test=0)
    assert len(split.indices("test")) == 0
    assert len(split.indices("validation")) > 0


def test_split_follows_from_seed_and_names() -> None:
    """The same seed gives the same sides, in any order of files; another seed others."""
    images = many()
    first = {m.image.path: m.side for m in split_of(images, seed=3).members}
    random.Random(1).shuffle(images)
    assert {m.image.path: m.side for m in split_of(images, seed=3).members} == first
    assert {m.image.path: m.side for m in split_of(images, seed=4).members} != first


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
    """An image that lies in both classes is set aside altogether."""
    split = split_of(many(), {"all/0/N0_0": "same", "all/1/P0_0": "same"})
    assert side_of(split, "all/0/N0_0") == side_of(split, "all/1/P0_0") == EXCLUDED
    assert split.excluded() == {"in both classes": 2}


def test_patients_on_two_given_sides() -> None:
    """A patient of the test folder is taken out of the training images."""
    images = [*many(side="train"), *many(5, 1, side="test")]
    images += [image("testN0", 7, 0, "train"), image("testN0", 8, 0, "train")]
    split = split_of(images)
    assert side_of(split, "train/0/testN0_7") == EXCLUDED
    assert side_of(split, "test/0/testN0_0") == "test"
    assert split.excluded() == {"patient on another side": 2}


def test_given_sides_are_kept() -> None:
    """Given validation and test folders are used as they are, nothing is carved."""
    given_sides = {"train": 40, "validation": SMALL_VALIDATION, "test": 7}
    images = [i for side, n in given_sides.items() for i in many(n, 1, side)]
    split = split_of(images)
    assert all(member.side == member.image.given_side for member in split.members)
    assert split.warnings == ()


def test_small_validation_folder() -> None:
    """A validation folder of a few images, as in the official download, joins training."""
    images = [*many(side="train"), *many(8, 1, side="validation")]
    split = split_of(images)
    assert "only 16 images" in split.warnings[0]
    assert len(split.indices("validation")) >= 30
    assert split.excluded() == {}


def test_unreadable_images_are_listed() -> None:
    """An image that cannot be decoded is excluded with its reason, and counted."""
    split = split_of(many(), failures={5: "the file ends before the image does"})
    assert split.members[5].reason == "unreadable: the file ends before the image does"
    assert split.excluded() == {"unreadable": 1}


def test_too_few_patients() -> None:
    """A class with one patient cannot stand on every side, and is named."""
    images = [i for i in many() if i.label == 0 or i.patient == "P0"]
    with pytest.raises(DatasetError, match="expected PNEUMONIA images of some patient"):
        split_of(images)


def test_table_holds_everything() -> None:
    """The recorded table gives each image's side, also for unusual names."""
    images = [*many(), image('comma, "quote"\nline')]
    split = split_of(images, failures={0: "broken"})
    rows = list(csv.DictReader(io.StringIO(split.to_csv().decode())))
    assert [(row["path"], row["side"]) for row in rows] == [
        (member.image.path, member.side) for member in split.members
    ]
    assert rows[0]["reason"] == "unreadable: broken"


def test_fingerprint_is_of_names_and_contents() -> None:
    """Another file, another name or another content makes another data set; order doesn't."""
    images = many()
    base = split_of(images).fingerprint()
    assert split_of(images[::-1], seed=5).fingerprint() == base
    assert split_of(images, {"all/0/N0_0": "changed"}).fingerprint() != base
    assert split_of([*images, image("new")]).fingerprint() != base


def test_positions_and_labels() -> None:
    """Positions of the sides, with their labels, point into the data set's order."""
    split = split_of(many())
    positions = np.concatenate([split.indices(side) for side in SIDES])
    assert sorted(positions) == list(range(len(split.members)))
    assert [split.members[n].image.label for n in positions] == list(split.labels()[positions])
