"""training.pictures: every picture can be drawn, for few and many images and classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import pictures
from training.calibration import Calibration
from training.calibration_quality import report_calibration
from training.shift_report import shift_report

LABELS = np.uint8([0, 0, 1, 1])


def colours_in(path: Path) -> int:
    """Return how many different colours a PNG shows; an empty sheet has one."""
    with Image.open(path, formats=["png"]) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.parametrize("count", [1, 7])
def test_contact_sheet(tmp_path: Path, count: int) -> None:
    """Each image has its own grey on the sheet, also the last of an unfilled row; a path may be
    long, or hold what matplotlib would take for formulas."""
    levels = range(40, 40 + count * 20, 20)
    pixels = np.stack([np.full((8, 8), level, np.uint8) for level in levels])
    captions = [(f"train/{'long' * number}/$a_{number}^$.png", "NORMAL") for number in range(count)]
    pictures.draw_mistakes(pixels, captions, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = np.asarray(sheet.convert("L"))
    for level in levels:
        assert (shown == level).sum() > 10_000


@pytest.mark.parametrize("classes", [("NORMAL", "PNEUMONIA"), ("A", "B", "$C_D", "$E^")])
def test_sheets_of_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    """Samples and confusion matrices are drawn for two classes and for more, with empty rows; what
    matplotlib would take for formulas is plain text."""
    count = len(classes)
    pixels = [np.full((number % 2 + 1, 8, 8), 99, np.uint8) for number in range(count)]
    pictures.draw_samples(pixels, classes, tmp_path / "samples.png")
    matrix = np.diag(np.arange(count))
    pictures.draw_confusion({"Test": matrix}, classes, tmp_path / "confusion.png")
    assert colours_in(tmp_path / "samples.png") > 1
    assert colours_in(tmp_path / "confusion.png") > 1


def test_reliability(tmp_path: Path) -> None:
    """A diagram is drawn, also where there is one bin before and after."""
    for name, logits in (("many", np.array([-2.0, 1, -1, 2])), ("one", np.zeros(4))):
        report = report_calibration(LABELS, logits, Calibration(2, 1))
        pictures.draw_reliability(report, tmp_path / f"{name}.png")
        assert colours_in(tmp_path / f"{name}.png") > 1


@pytest.mark.parametrize("classes", [2, 3])
def test_shifts(tmp_path: Path, classes: int) -> None:
    """The chart is drawn for two classes and for more, also from an excerpt of the suite."""
    labels = np.uint8([0, 1, 2]) if classes == 3 else LABELS
    clean = np.eye(3, dtype=np.float32) if classes == 3 else np.float32([0.1, 0.6, 0.4, 0.9])
    scores = {("blur", "mild"): clean, ("noise", "strong"): clean[::-1].copy()}
    report = shift_report(labels, scores, clean, None if classes == 3 else 0.5)
    pictures.draw_shifts(report, tmp_path / "shifts.png")
    assert colours_in(tmp_path / "shifts.png") > 1
