"""training.class_folders, training.dataset: which classes and images there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_dataset import THREE, TWO, noise, write, write_class, write_dataset

from batchscan.errors import DatasetError
from training.dataset import HIDDEN, LINK, NO_CLASS, NO_IMAGE, find_dataset, patient_of


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person100_bacteria_475.jpeg", "person100_bacteria"),
        ("person100_virus_184.jpeg", "person100_virus"),
        ("person1_virus_12_3.jpeg", "person1_virus"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0429-0001-0002.jpeg", "IM-0429"),
        ("NORMAL2-IM-0383-0001.jpeg", "NORMAL2-IM-0383"),
        ("normal2-im-0383-0002.JPG", "NORMAL2-IM-0383"),
        ("Person100_Virus_185.jpeg", "person100_virus"),
        ("scan.jpeg", None),
        ("person_7.jpeg", None),
    ],
)
def test_patient_of(name: str, patient: str | None) -> None:
    """A file name gives the patient by the data set's rules, or none."""
    assert patient_of(name) == patient


def test_direct_layout(tmp_path: Path) -> None:
    """Class folders are named as on disk, and images found in any depth; the side is open."""
    write(tmp_path / "normal" / "2024" / "IM-0001-0001.jpeg", noise(70, 1))
    write(tmp_path / "Pneumonia" / "no_extension", noise(150, 1))
    found = find_dataset(tmp_path)
    assert found.classes == ("normal", "Pneumonia")
    assert [(i.path, i.label, i.patient, i.given_side) for i in found.images] == [
        ("Pneumonia/no_extension", 1, "Pneumonia/no_extension", None),
        ("normal/2024/IM-0001-0001.jpeg", 0, "IM-0001", None),
    ]
    assert found.unnamed == 1
    assert found.notes == ()
    assert found.ignored == {}


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("PNEUMONIA", "NORMAL"), ("NORMAL", "PNEUMONIA")),
        (("COVID", "Normal", "bacteria"), ("Normal", "bacteria", "COVID")),
        (("atelectasis", "No Finding"), ("No Finding", "atelectasis")),
        (("abscess", "no_finding"), ("no_finding", "abscess")),
        (("edema", "HEALTHY"), ("HEALTHY", "edema")),
        (("a", "negative", "B"), ("negative", "a", "B")),
        (("virus", "Bacteria"), ("Bacteria", "virus")),
    ],
)
def test_order_of_classes(tmp_path: Path, names: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Classes are in the alphabet's order in any case, after the one that means nothing found."""
    for number, name in enumerate(names):
        write(tmp_path / name / "x.jpeg", noise(70, number))
    found = find_dataset(tmp_path)
    assert found.classes == classes
    assert {found.classes[image.label] for image in found.images} == set(names)
    for image in found.images:
        assert image.path.startswith(f"{found.classes[image.label]}/")


def test_layout_with_sides(tmp_path: Path) -> None:
    """Folders train, val and test give the sides; they and their classes are found in any case."""
    for number, side in enumerate(("Train", "val", "TEST")):
        write_dataset(tmp_path / side, range(number, number + 1), images_each=1, classes=THREE)
    (tmp_path / "TEST" / "VIRUS").rename(tmp_path / "TEST" / "virus")
    found = find_dataset(tmp_path)
    sides = {image.path.split("/")[0]: image.given_side for image in found.images}
    assert sides == {"Train": "train", "val": "validation", "TEST": "test"}
    assert found.classes == THREE
    assert sorted(image.label for image in found.images) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_what_is_ignored_is_listed(tmp_path: Path) -> None:
    """Whatever isn't used is listed by kind: other files, hidden ones, links, stray images."""
    write_dataset(tmp_path / "train", range(1))
    write(tmp_path / "train" / "NORMAL" / "Thumbs.db", b"something else")
    write(tmp_path / "train" / "NORMAL" / "._IM-0001-0001.jpeg", noise(70, 9))
    write(tmp_path / "train" / "NORMAL" / ".trash" / "IM-0001-0001.jpeg", noise(70, 9))
    write(tmp_path / "train" / ".thumbnails" / "x.jpeg", noise(70, 9))
    write(tmp_path / "__MACOSX" / "x.jpeg", noise(70, 9))
    write(tmp_path / "train" / "forgotten.jpeg", noise(70, 9))
    write(tmp_path / "README", b"about the data")
    (tmp_path / "train" / "NORMAL" / "again").symlink_to(tmp_path / "train" / "NORMAL")
    found = find_dataset(tmp_path)
    assert found.ignored == {
        NO_IMAGE: ("README", "train/NORMAL/Thumbs.db"),
        HIDDEN: (
            "__MACOSX",
            "train/.thumbnails",
            "train/NORMAL/._IM-0001-0001.jpeg",
            "train/NORMAL/.trash",
        ),
        LINK: ("train/NORMAL/again",),
        NO_CLASS: ("train/forgotten.jpeg",),
    }
    assert len(found.images) == 4
    assert found.classes == TWO


def test_what_a_name_promises(tmp_path: Path) -> None:
    """A file that only its name calls an image is one of the images; a pipe is never opened."""
    write_dataset(tmp_path, range(1))
    write(tmp_path / "NORMAL" / "empty.jpeg", b"")
    write(tmp_path / "NORMAL" / "letter.PNG", b"Dear colleague")
    (tmp_path / "NORMAL" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "NORMAL" / "pipe.jpeg")
    found = find_dataset(tmp_path)
    assert found.ignored == {NO_IMAGE: ("NORMAL/pipe.jpeg",)}
    promised = {image.path for image in found.images if "IM-" not in image.path}
    assert promised >= {"NORMAL/empty.jpeg", "NORMAL/letter.PNG", "NORMAL/gone.jpg"}


def test_too_few_classes(tmp_path: Path) -> None:
    """Less than two class folders are refused, with what was found instead."""
    with pytest.raises(DatasetError, match="found no folder there"):
        find_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="two or more classes, found no folder; add"):
        find_dataset(tmp_path)
    write_class(tmp_path, "NORMAL", range(1))
    with pytest.raises(DatasetError, match="two or more classes, found only NORMAL/; add"):
        find_dataset(tmp_path)
    write_class(tmp_path / "given" / "train", "NORMAL", range(1))
    with pytest.raises(DatasetError, match=r"train: expected .* found only NORMAL/; add"):
        find_dataset(tmp_path / "given")


@pytest.mark.parametrize("side", ["train", "val", "test"])
def test_empty_class(tmp_path: Path, side: str) -> None:
    """A class folder without an image is refused and named, on whatever side it is."""
    for other in ("train", "val", "test"):
        write_dataset(tmp_path / other, range(1), classes=THREE)
    for image in (tmp_path / side / "VIRUS").iterdir():
        image.unlink()
    write(tmp_path / side / "VIRUS" / "notes.txt", b"coming soon")
    with pytest.raises(DatasetError, match=f"{side}/VIRUS: expected images, found no"):
        find_dataset(tmp_path)


@pytest.mark.parametrize("side", ["val", "test"])
def test_unknown_class_on_a_given_side(tmp_path: Path, side: str) -> None:
    """A class that train/ doesn't have is refused, on whatever side it is."""
    write_dataset(tmp_path / "train", range(1))
    write_dataset(tmp_path / side, range(1), classes=(*TWO, "VIRUS"))
    with pytest.raises(
        DatasetError, match=rf"{side}/VIRUS: .* \(NORMAL, PNEUMONIA\), found 'VIRUS'"
    ):
        find_dataset(tmp_path)


def test_missing_class_on_a_given_side(tmp_path: Path) -> None:
    """A class that val/ or test/ lacks is a note; test/ must have two classes, val/ one."""
    write_dataset(tmp_path / "train", range(1), classes=THREE)
    write_dataset(tmp_path / "test", range(1, 2), classes=("NORMAL", "VIRUS"))
    write_dataset(tmp_path / "val", range(2, 3), classes=("NORMAL",))
    notes = find_dataset(tmp_path).notes
    assert notes == (
        "test/ has no BACTERIA: its figures will leave that out",
        "val/ has no BACTERIA, VIRUS",
    )
    for image in (tmp_path / "test" / "VIRUS").iterdir():
        image.unlink()
    (tmp_path / "test" / "VIRUS").rmdir()
    with pytest.raises(DatasetError, match=r"test: expected .* two or more, found only NORMAL/"):
        find_dataset(tmp_path)


def test_side_without_classes(tmp_path: Path) -> None:
    """An empty val/ is refused: is the download complete?"""
    write_dataset(tmp_path / "train", range(1))
    (tmp_path / "val").mkdir()
    with pytest.raises(
        DatasetError, match="val: expected folders of classes, found none; add NORM"
    ):
        find_dataset(tmp_path)


@pytest.mark.parametrize("side", [".", "train", "test"])
def test_names_that_differ_only_in_case(tmp_path: Path, side: str) -> None:
    """Two folders that are one class in any case are refused."""
    if side == "test":
        write_dataset(tmp_path / "train", range(1))
    write_dataset(tmp_path / side, range(1))
    write(tmp_path / side / "normal" / "x.jpeg", noise(70, 5))
    with pytest.raises(DatasetError, match="in more than case, found NORMAL/ and normal/; join or"):
        find_dataset(tmp_path)


@pytest.mark.parametrize("name", ["x" * 101, "tab\there", "line\nbreak", "byte\udcff"])
def test_names_that_no_bundle_can_hold(tmp_path: Path, name: str) -> None:
    """A class name is up to 100 printable characters, so that the bundle can say it."""
    write_dataset(tmp_path, range(1))
    write(tmp_path / name / "x.jpeg", noise(70, 5))
    with pytest.raises(DatasetError, match="1 to 100 printable characters, found '") as caught:
        find_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_sides_that_are_not_clear(tmp_path: Path) -> None:
    """A test side alone, and two folders for one side, are refused."""
    write_dataset(tmp_path / "test", range(1))
    with pytest.raises(DatasetError, match="found test/ but no train/"):
        find_dataset(tmp_path)
    write_dataset(tmp_path / "train", range(1))
    write_dataset(tmp_path / "Test", range(1))
    with pytest.raises(DatasetError, match="one folder for a side, found Test/ and test/"):
        find_dataset(tmp_path)


def test_both_layouts_at_once(tmp_path: Path) -> None:
    """Class folders beside train/ are ambiguous, and refused."""
    write_dataset(tmp_path, range(1))
    write_dataset(tmp_path / "train", range(1))
    with pytest.raises(DatasetError, match="keep one kind"):
        find_dataset(tmp_path)


def test_what_is_no_class_folder(tmp_path: Path) -> None:
    """A bundle among the class folders, or a whole data set as one of them, is refused."""
    write_dataset(tmp_path, range(1))
    write(tmp_path / "model" / "card.json", b"{}")
    write(tmp_path / "model" / "pictures" / "roc.png", noise(70, 5))
    with pytest.raises(DatasetError, match="model: expected a class folder, found a model bundle"):
        find_dataset(tmp_path)
    write_dataset(tmp_path / "all" / "one" / "train", range(1))
    write_dataset(tmp_path / "all" / "two" / "train", range(1))
    with pytest.raises(DatasetError, match="one: expected a class folder, found train/ in it"):
        find_dataset(tmp_path / "all")
