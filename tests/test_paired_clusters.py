"""Two results on images of the same patients: intervals and tests by patient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscan.metrics.outcomes import Outcomes
from batchscan.metrics.paired import FEW, paired_areas, paired_proportions
from batchscan.report.figures.area import area_of
from batchscan.report.figures.paired_clusters import clustered_area_error, clustered_pair

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


@given(PAIRS)
def test_one_image_a_patient_is_the_usual_test(images: list[tuple[bool, bool]]) -> None:
    """With one image of each patient, the p-value and the difference are McNemar's."""
    first, second = (np.array(side) for side in zip(*images, strict=True))
    found = clustered_pair(first, second, np.arange(first.size, dtype=np.int32))
    usual = paired_proportions(first, second)
    assert usual is not None
    assert found.exact == (usual.only_first + usual.only_second < FEW)
    assert found.p_value == pytest.approx(usual.p_value)
    assert found.difference == pytest.approx(usual.difference)
    assert (found.first.share, found.second.share) == (usual.first, usual.second)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_the_exact_test_is_that_of_all_changes_of_sign(gaps: list[int]) -> None:
    """The p-value is the share of all changes of sign by which patients differ as much."""
    images = [(patient, gap < 0, gap > 0) for patient, gap in enumerate(gaps) for _ in range(4)]
    kept = [
        (patient, one and n % 4 < abs(gaps[patient]), other and n % 4 < abs(gaps[patient]))
        for n, (patient, one, other) in enumerate(images)
    ]
    patient, first, second = (np.array(side) for side in zip(*kept, strict=True))
    found = clustered_pair(first, second, patient.astype(np.int32))
    sums = [
        sum(sign * gap for sign, gap in zip(signs, gaps, strict=True))
        for signs in itertools.product((1, -1), repeat=len(gaps))
    ]
    expected = np.mean(np.abs(sums) >= abs(sum(gaps)))
    assert found.exact
    assert found.p_value == pytest.approx(expected)


def test_images_that_are_all_alike_count_once() -> None:
    """Five copies of each image say no more than one of them."""
    random = np.random.default_rng(0)
    first, second = random.random(80) < 0.8, random.random(80) < 0.7
    patient = np.arange(80, dtype=np.int32)
    once = clustered_pair(first, second, patient)
    copied = clustered_pair(*(np.repeat(each, 5) for each in (first, second, patient)))
    assert once.interval == pytest.approx(copied.interval, abs=0.01)
    assert once.p_value == pytest.approx(copied.p_value)


def test_intervals_hold_the_truth() -> None:
    """About 95% of the intervals of simulated patients hold the true difference; of intervals that
    take images as independent clearly fewer do.
    """
    random = np.random.default_rng(1)
    covered = naive = 0
    runs = 400
    for _ in range(runs):
        skill = random.beta(3, 1, size=(60, 1)), random.beta(2, 1, size=(60, 1))
        sides = [(random.random((60, 6)) < each).ravel() for each in skill]
        patient = np.repeat(np.arange(60, dtype=np.int32), 6)
        truth = 2 / 3 - 3 / 4
        found, usual = clustered_pair(*sides, patient).interval, paired_proportions(*sides)
        assert found is not None
        assert usual is not None
        covered += found[0] <= truth <= found[1]
        naive += usual.interval[0] <= truth <= usual.interval[1]
    assert 0.92 <= covered / runs <= 0.98
    assert naive / runs < 0.9


def scores(
    random: np.random.Generator, patients: int, *, mixed: bool = True
) -> tuple[np.ndarray, ...]:
    """Draw labels, two scores and patients, who have images of both labels if they are mixed."""
    patient = np.repeat(np.arange(patients, dtype=np.int32), 5)
    positive = random.random(patient.size) < 0.4 if mixed else patient % 5 < 2
    own = random.normal(size=(2, patients))[:, patient]
    first, second = positive * 1.2 + own + random.normal(size=(2, patient.size))
    return positive, first, second, patient


@pytest.mark.parametrize("mixed", [True, False])
def test_error_of_the_difference_of_areas(mixed: bool) -> None:
    """The standard error is that of many simulated studies; where all images of a patient have one
    label, that of independent images is clearly smaller.
    """
    random = np.random.default_rng(2)
    differences, errors, naive = [], [], []
    for _ in range(300):
        positive, first, second, patient = scores(random, 60, mixed=mixed)
        areas = paired_areas(positive, first, second)
        assert areas is not None
        assert areas.interval is not None
        error = clustered_area_error(positive, areas.gain, areas.loss, patient)
        assert error is not None
        differences.append(areas.difference)
        errors.append(error)
        naive.append((areas.interval[1] - areas.interval[0]) / 2 / 1.96)
    truth = float(np.std(differences))
    assert float(np.sqrt(np.mean(np.square(errors)))) == pytest.approx(truth, rel=0.12)
    assert mixed or float(np.mean(naive)) < 0.8 * truth


def test_a_difference_from_a_constant_has_the_areas_own_error() -> None:
    """Against scores that are all alike, the error is that of the one area (Obuchowski's)."""
    positive, first, _, patient = scores(np.random.default_rng(3), 40)
    areas = paired_areas(positive, np.zeros(first.size), first)
    area = area_of(Outcomes(first.astype(np.float32), positive, positive), patient)
    assert areas is not None
    assert area is not None
    error = clustered_area_error(positive, areas.gain, areas.loss, patient)
    assert error == pytest.approx(area.variance**0.5, rel=1e-6)
