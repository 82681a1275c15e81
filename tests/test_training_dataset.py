"""training.dataset and training.cache: which images there are, and their pixels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import noise, write, write_class, write_dataset

from batchscan.errors import DatasetError
from batchscan.image import decode
from training.cache import decode_files
from training.dataset import find_dataset, patient_of


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
    """Class folders are found in any case and any depth; the given side is open."""
    write(tmp_path / "normal" / "2024" / "IM-0001-0001.jpeg", noise(70, 1))
    write(tmp_path / "Pneumonia" / "no_extension", noise(150, 1))
    found = find_dataset(tmp_path)
    assert [(i.path, i.label, i.patient, i.given_side) for i in found.images] == [
        ("Pneumonia/no_extension", 1, "Pneumonia/no_extension", None),
        ("normal/2024/IM-0001-0001.jpeg", 0, "IM-0001", None),
    ]
    assert found.unnamed == 1


def test_layout_with_sides(tmp_path: Path) -> None:
    """Folders train, val and test, in any case, give the sides."""
    for number, side in enumerate(("Train", "val", "TEST")):
        write_dataset(tmp_path / side, range(number, number + 1), images_each=1)
    found = find_dataset(tmp_path)
    sides = {image.path.split("/")[0]: image.given_side for image in found.images}
    assert sides == {"Train": "train", "val": "validation", "TEST": "test"}
    assert len(found.images) == 6


def test_other_files(tmp_path: Path) -> None:
    """Files that are no images are listed, hidden ones passed over, and links not followed."""
    write_dataset(tmp_path, range(1))
    write(tmp_path / "NORMAL" / "Thumbs.db", b"something else")
    write(tmp_path / "NORMAL" / "._IM-0001-0001.jpeg", noise(70, 9))
    (tmp_path / "NORMAL" / "again").symlink_to(tmp_path / "NORMAL")
    found = find_dataset(tmp_path)
    assert found.ignored == ("NORMAL/Thumbs.db",)
    assert len(found.images) == 4


def test_what_a_name_promises(tmp_path: Path) -> None:
    """A file that only its name calls an image is one of the images; a pipe is never opened."""
    write_dataset(tmp_path, range(1))
    write(tmp_path / "NORMAL" / "empty.jpeg", b"")
    write(tmp_path / "NORMAL" / "letter.PNG", b"Dear colleague")
    (tmp_path / "NORMAL" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "NORMAL" / "pipe.jpeg")
    found = find_dataset(tmp_path)
    assert found.ignored == ("NORMAL/pipe.jpeg",)
    promised = {image.path for image in found.images if "IM-" not in image.path}
    assert promised >= {"NORMAL/empty.jpeg", "NORMAL/letter.PNG", "NORMAL/gone.jpg"}
    files = [found.root / image.path for image in found.images]
    decoded = decode_files(files, tmp_path / "cache", size=8, workers=1, progress=lambda: None)
    failed = {found.images[number].path: reason for number, reason in decoded.failures.items()}
    assert failed["NORMAL/empty.jpeg"] == "the file has no content (0 bytes)"
    assert "expected JPEG or PNG content" in failed["NORMAL/letter.PNG"]
    assert "No such file" in failed["NORMAL/gone.jpg"]


def test_missing_folders(tmp_path: Path) -> None:
    """What is missing is named, and what was found instead."""
    with pytest.raises(DatasetError, match="found no folder there"):
        find_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="found no folder; add NORMAL/"):
        find_dataset(tmp_path)
    write_class(tmp_path, "NORMAL", range(1))
    with pytest.raises(DatasetError, match="found NORMAL/; add PNEUMONIA/"):
        find_dataset(tmp_path)
    (tmp_path / "PNEUMONIA").mkdir()
    with pytest.raises(DatasetError, match="PNEUMONIA: expected JPEG or PNG images, found none"):
        find_dataset(tmp_path)


def test_missing_train_folder(tmp_path: Path) -> None:
    """A data set with a test side alone cannot be trained on."""
    write_dataset(tmp_path / "test", range(1))
    with pytest.raises(DatasetError, match="found test/ but no train/"):
        find_dataset(tmp_path)


def test_both_layouts_at_once(tmp_path: Path) -> None:
    """Class folders beside train/ are ambiguous, and refused."""
    write_dataset(tmp_path, range(1))
    write_dataset(tmp_path / "train", range(1))
    with pytest.raises(DatasetError, match="keep one kind"):
        find_dataset(tmp_path)


def test_decodes_as_a_scan_does(tmp_path: Path) -> None:
    """The cache holds what `batchscan.image.decode` gives, in order, for any number of threads."""
    files = [write(tmp_path / f"{n}.jpeg", noise(100, n, size=50)) for n in range(9)]
    seen: list[None] = []
    decoded = decode_files(
        files, tmp_path / "cache", size=16, workers=3, progress=lambda: seen.append(None)
    )
    expected = [decode(path.read_bytes(), 16).pixels for path in files]
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.pixels.dtype == np.uint8
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert list(decoded.digests) == digests
    assert decoded.failures == {}
    assert len(seen) == len(files)


def test_pixels_stay_on_disk(tmp_path: Path) -> None:
    """The pixels are mapped from a file of exactly their size, not held in memory."""
    files = [write(tmp_path / f"{n}.jpeg", noise(100, n)) for n in range(3)]
    target = tmp_path / "cache"
    decoded = decode_files(files, target, size=16, workers=1, progress=lambda: None)
    assert isinstance(decoded.pixels, np.memmap)
    assert target.stat().st_size == 3 * 16 * 16
    assert not decoded.pixels.flags.writeable


def test_unreadable_files_have_reasons(tmp_path: Path) -> None:
    """A damaged or vanished file costs itself alone, and says why."""
    whole = noise(100, 0)
    good = write(tmp_path / "good.jpeg", whole)
    damaged = write(tmp_path / "damaged.jpeg", whole[: len(whole) // 2])
    files = [damaged, tmp_path / "vanished.jpeg", good]
    decoded = decode_files(files, tmp_path / "cache", size=16, workers=2, progress=lambda: None)
    assert set(decoded.failures) == {0, 1}
    assert "ends before the image" in decoded.failures[0]
    assert "No such file" in decoded.failures[1]
    np.testing.assert_array_equal(decoded.pixels[2], decode(whole, 16).pixels)


def test_no_room_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is found before decoding, not as a crash in the middle."""

    def full(*_arguments: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"expected room for .* MB .* No space left on device"):
        decode_files([], tmp_path / "cache", size=16, workers=1, progress=lambda: None)
