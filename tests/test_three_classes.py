"""benchmarks.three_classes: the data set's own names tell three classes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tiny_dataset import noise, write, write_dataset

from training.dataset import find_dataset

REPOSITORY = Path(__file__).parents[1]


def three_classes(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.three_classes", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def source(folder: Path) -> Path:
    write_dataset(folder, range(3), images_each=1)
    write(folder / "PNEUMONIA" / "deep" / "person7_virus_1.jpeg", noise(150, 9))
    write(folder / "PNEUMONIA" / "scan_virus", noise(150, 10))
    return folder


def test_links_to_three_classes(tmp_path: Path) -> None:
    """Each image lies in the folder that its name says; one that says nothing is listed."""
    data = source(tmp_path / "data")
    done = three_classes(data, tmp_path / "three")
    assert done.returncode == 0, done.stderr
    assert "left out 1 images" in done.stdout
    assert "PNEUMONIA/scan_virus" in done.stdout
    found = find_dataset(tmp_path / "three")
    assert found.classes == ("NORMAL", "BACTERIA", "VIRUS")
    assert [found.classes[image.label] for image in found.images].count("BACTERIA") == 3
    link = tmp_path / "three" / "train" / "VIRUS" / "deep" / "person7_virus_1.jpeg"
    assert link.resolve() == data / "PNEUMONIA" / "deep" / "person7_virus_1.jpeg"


def test_copies_and_sides(tmp_path: Path) -> None:
    """With --copy the output stands alone; given sides are kept."""
    source(tmp_path / "data" / "train")
    source(tmp_path / "data" / "test")
    done = three_classes(tmp_path / "data", tmp_path / "three", "--copy")
    assert done.returncode == 0, done.stderr
    copy = tmp_path / "three" / "test" / "BACTERIA" / "person1_bacteria_0.jpeg"
    assert not copy.is_symlink()
    original = tmp_path / "data" / "test" / "PNEUMONIA" / copy.name
    assert copy.read_bytes() == original.read_bytes()


def test_refuses_in_one_line(tmp_path: Path) -> None:
    """Another data set, or an output that is there, is one line and exit code 2."""
    (tmp_path / "three").mkdir()
    write_dataset(tmp_path / "other", range(1), classes=("BACTERIA", "VIRUS"))
    for data in (tmp_path / "other", source(tmp_path / "data")):
        done = three_classes(data, tmp_path / "three")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "expected" in done.stderr
