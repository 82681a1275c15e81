"""training.prepare: from the folders to pixels, labels and folds, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import THREE, noise, write, write_dataset

from batchscan.errors import DatasetError
from batchscan.image.decode import decode
from training.dataset import find_dataset
from training.prepare import PreparedData, prepare


def prepared(data: Path, place: Path, folds: int = 3) -> PreparedData:
    place.mkdir(exist_ok=True)
    return prepare(find_dataset(data), place, size=16, threads=2, folds=folds, seed=1)


def test_pixels_labels_and_places_belong_together(tmp_path: Path) -> None:
    """At each position lie the pixels, the label, the side and the fold of one image."""
    write_dataset(tmp_path / "data" / "train", range(6), classes=THREE)
    write_dataset(tmp_path / "data" / "test", range(20, 22), classes=THREE)
    data = prepared(tmp_path / "data", tmp_path / "place")
    assert data.classes == data.split.classes == THREE
    assert data.pixels.shape == (48, 16, 16)
    assert data.pixels.dtype == np.uint8
    for number, member in enumerate(data.split.members):
        file = tmp_path / "data" / member.image.path
        np.testing.assert_array_equal(data.pixels[number], decode(file.read_bytes(), 16).pixels)
        assert file.parent.name == THREE[data.labels[number]]
        assert file.parents[1].name == member.side
        assert (data.split.fold[number] >= 0) == (member.side == "train")


def test_second_run_decodes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run on the same files, folder and size says that all is decoded, and is the same."""
    write_dataset(tmp_path / "data", range(4))
    first = prepared(tmp_path / "data", tmp_path / "place")
    assert "decoded 16 images" in capsys.readouterr().err
    second = prepared(tmp_path / "data", tmp_path / "place")
    assert "16 images are decoded already" in capsys.readouterr().err
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.split.to_csv({}) == second.split.to_csv({})


def test_user_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that is not simply trained on is said in a line, and each class has one."""
    train = tmp_path / "data" / "train"
    write_dataset(train, range(6))
    write_dataset(tmp_path / "data" / "test", range(20, 22), images_each=1)
    write_dataset(tmp_path / "data" / "val", range(30, 31), images_each=1)
    write(train / "NORMAL" / "scan.jpeg", noise(70, 900))
    write(train / "NORMAL" / "cut.jpeg", noise(70, 901)[:300])
    write(train / "NORMAL" / "copy.jpeg", noise(70, 100))
    write(train / "NORMAL" / "notes.txt", b"no image")
    write(train / ".trash" / "x.jpeg", b"")
    prepared(tmp_path / "data", tmp_path / "place")
    _, *lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "note: the 2 images of the validation folder join training: the folds validate",
        "note: 3 file names do not tell the patient; each counts as a patient of its own, so "
        "images of one patient may stand in two folds, or on both sides",
        "ignored 1 files or folders (hidden): train/.trash; split.csv has all",
        "ignored 1 files or folders (no image): train/NORMAL/notes.txt; split.csv has all",
        "set aside 1 images (copy): train/NORMAL/copy.jpeg; split.csv has the reasons",
        "set aside 1 images (unreadable): train/NORMAL/cut.jpeg; split.csv has the reasons",
        "NORMAL: 14 images in folds of 4 5 5, and 2 to test",
        "PNEUMONIA (positive): 13 images in folds of 5 4 4, and 2 to test",
        "patients: 15 in 3 folds, 4 to test",
    ]


def test_too_few_patients_are_found_before_decoding(tmp_path: Path) -> None:
    """The long part doesn't begin where the class folders show too few patients."""
    write_dataset(tmp_path / "data", range(4))
    with pytest.raises(DatasetError, match="found 4; use --folds 4, or add images"):
        prepared(tmp_path / "data", tmp_path / "place", folds=5)
    assert list((tmp_path / "place").iterdir()) == []
