"""training.shift and training.shift_report: changed images, and what a network loses on them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from training.shift import SHIFTS, STRENGTHS, Shift, shifted
from training.shift_report import for_card, shift_report

EVERY = [(shift, strength) for shift in SHIFTS for strength in STRENGTHS]
NAMES = [f"{shift.name}-{strength}" for shift, strength in EVERY]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return six different pictures with grain, uint8 (6, 64, 64), not symmetric."""
    rows, columns = np.mgrid[0:64, 0:64]
    waves = [
        40 * np.sin(columns / 5 + seed) + 25 * np.cos(rows / 3 + columns / 9) + rows / 2 + 90
        for seed in range(6)
    ]
    grain = np.random.default_rng(0).normal(0, 6, (6, 64, 64))
    return (np.stack(waves) + grain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("shift", "strength"), EVERY, ids=NAMES)
def test_every_image_changes_the_same_way_again(
    shift: Shift, strength: str, images: np.ndarray
) -> None:
    """Each change leaves the originals alone, changes every image, and repeats bit by bit,
    in however many threads."""
    before = images.copy()
    changed = shifted(images, shift, strength)
    assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
    assert all((new != old).any() for new, old in zip(changed, images, strict=True))
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(shifted(images, shift, strength, threads=4), changed)


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_strengths_grow(shift: Shift, images: np.ndarray) -> None:
    """A stronger change moves the grey levels further from the original."""
    moved = [
        np.abs(shifted(images, shift, strength).astype(int) - images).mean()
        for strength in STRENGTHS
    ]
    assert 0 < moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_flat_images_survive(shift: Shift) -> None:
    """Black, white and read-only images, and those of one pixel, can be changed, too."""
    for size in (1, 16):
        flat = np.stack([np.zeros((size, size), np.uint8), np.full((size, size), 255, np.uint8)])
        flat.setflags(write=False)
        assert shifted(flat, shift, "strong").shape == flat.shape
    assert shifted(np.empty((0, 16, 16), np.uint8), shift, "mild").shape == (0, 16, 16)


def test_changes_have_a_direction_by_image(images: np.ndarray) -> None:
    """Among 40 images, some become darker and some brighter; each by the number in the text."""
    brightness = SHIFTS[0]
    same = np.repeat(images[:1] // 2 + 64, 40, axis=0)
    moved = shifted(same, brightness, "mild").astype(int) - same
    assert set(moved.ravel().tolist()) == {-20, 20}
    assert brightness.describe("mild") == "20 of 255 grey levels darker or brighter"


def test_names_are_told_apart() -> None:
    """Every change has a name of its own, and a text for each strength with its number."""
    assert len({shift.name for shift in SHIFTS}) == len(SHIFTS) == 12
    assert len({shift.describe(strength) for shift, strength in EVERY}) == len(EVERY)
    with pytest.raises(ValueError, match="extreme"):
        shifted(np.zeros((1, 8, 8), np.uint8), SHIFTS[0], "extreme")


def test_report_finds_mean_and_worst() -> None:
    """Mean and worst are taken over all changes, figure by figure, and the worst is named."""
    labels = np.uint8([0, 0, 1, 1])
    clean = np.float32([0.1, 0.2, 0.8, 0.9])
    scores = {
        ("blur", "mild"): clean,
        ("blur", "strong"): np.float32([0.1, 0.2, 0.3, 0.9]),
        ("noise", "strong"): np.float32([0.1, 0.6, 0.55, 0.9]),
    }
    report = shift_report(labels, scores, clean, 0.5)
    assert report.clean == {"auc": 1, "sensitivity": 1, "specificity": 1}
    assert report.worst == {"auc": 0.75, "sensitivity": 0.5, "specificity": 0.5}
    assert report.worst_at["sensitivity"] == "blur, strong"
    assert report.worst_at["auc"] == report.worst_at["specificity"] == "noise, strong"
    assert report.mean["sensitivity"] == pytest.approx(2.5 / 3)
    card = json.loads(json.dumps(for_card(report), allow_nan=False))
    assert [(row["shift"], row["strength"]) for row in card["rows"]] == list(scores)
    assert card["rows"][2]["what"] == "Gaussian of 14 of 255 grey levels"
    for kind, figures in (("clean", report.clean), ("mean", report.mean), ("worst", report.worst)):
        for name, value in figures.items():
            low, high = card["intervals"][kind][name]
            assert low <= value <= high
    assert card["rows"][1]["intervals"]["sensitivity"] == [0.09453, 0.90547]  # Wilson's of 1 of 2


def test_report_of_several_classes() -> None:
    """For three classes there are the mean AUC of one against the rest, and the accuracy."""
    labels = np.uint8([0, 1, 2])
    clean = np.eye(3, dtype=np.float32)
    wrong = np.float32([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    report = shift_report(labels, {("blur", "mild"): wrong}, clean, None)
    assert report.clean == {"auc": 1, "accuracy": 1}
    assert report.worst["accuracy"] == pytest.approx(2 / 3)
    assert report.worst["auc"] == 1


@pytest.mark.parametrize(
    ("labels", "threshold", "message"),
    [([0, 0], 0.5, "every class"), ([0, 1], None, "threshold")],
)
def test_impossible_reports_are_refused(
    labels: list[int], threshold: float | None, message: str
) -> None:
    """A class without images, and two classes without a threshold, are errors that say so."""
    scores = np.float32([0.1, 0.9])
    with pytest.raises(ValueError, match=message):
        shift_report(np.uint8(labels), {("blur", "mild"): scores}, scores, threshold)
