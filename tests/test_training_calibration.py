"""training.calibration: probabilities that mean what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from training.calibration import COLDEST, HOTTEST, Calibration, fit_calibration
from training.calibration_quality import (
    brier_score,
    expected_calibration_error,
    for_card,
    reliability,
    report_calibration,
)

logits_and_labels = st.lists(
    st.tuples(st.integers(0, 1), st.floats(-40, 40)), min_size=2, max_size=60
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def overconfident(
    count: int, temperature: float, intercept: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels from true logits, and return what a network says that is too sure of itself."""
    generator = np.random.default_rng(0)
    truth = generator.normal(0.5, 2, count)
    labels = (generator.random(count) < 1 / (1 + np.exp(-truth))).astype(np.uint8)
    return labels, truth * temperature + intercept


def test_the_fit_undoes_overconfidence() -> None:
    """A network whose logits are 3 times too large and shifted by 1 gets just these numbers."""
    labels, logits = overconfident(40_000, 3.0, 1.0)
    found = fit_calibration(labels, logits)
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    assert found.intercept == pytest.approx(1.0, abs=0.1)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), count=st.integers(30, 200))
def test_the_fit_is_logistic_regression_on_platts_targets(seed: int, count: int) -> None:
    """Temperature and intercept are scikit-learn's, given both targets of an image as weights."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, count)
    labels = (generator.random(count) < 1 / (1 + np.exp(1 - 2 * logits))).astype(np.uint8)
    labels[:2] = 0, 1
    found = fit_calibration(labels, logits)
    positives = int(labels.sum())
    target = np.where(labels, (positives + 1) / (positives + 2), 1 / (count - positives + 2))
    reference = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], count),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope = reference.coef_[0, 0]
    if 1 / HOTTEST < slope < 1 / COLDEST:
        assert 1 / found.temperature == pytest.approx(slope, rel=1e-3)
        assert -found.intercept / found.temperature == pytest.approx(
            reference.intercept_[0], abs=1e-3
        )


@given(rows=logits_and_labels)
def test_any_logits_can_be_calibrated(rows: list[tuple[int, float]]) -> None:
    """The fit is finite and within its bounds, whether scores separate, are tied, or mislead."""
    labels = np.array([label for label, _ in rows], dtype=np.uint8)
    logits = np.array([logit for _, logit in rows])
    found = fit_calibration(labels, logits)
    assert COLDEST <= found.temperature <= HOTTEST
    assert np.isfinite(found.intercept)
    probabilities = found.apply(logits)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    order = np.argsort(logits, kind="stable")
    assert (np.diff(probabilities[order]) >= 0).all()


def test_separable_classes_prove_no_certainty() -> None:
    """Where 20 images of each class separate, none gets more than the 21/22 that they can prove."""
    labels = np.repeat(np.uint8([0, 1]), 20)
    probabilities = fit_calibration(labels, np.where(labels, 3.0, -3.0)).apply(
        np.where(labels, 3.0, -3.0)
    )
    np.testing.assert_allclose(probabilities, np.where(labels, 21 / 22, 1 / 22), rtol=1e-6)


def test_several_classes_get_temperature_and_intercepts() -> None:
    """For three classes, logits that are 4 times too large get the temperature 4, and what was
    added to a class is taken off again."""
    generator = np.random.default_rng(1)
    truth = generator.normal(0, 1.5, (20_000, 3))
    labels = np.argmax(truth + generator.gumbel(size=truth.shape), axis=1).astype(np.uint8)
    added = np.array([1.0, -3.0, 2.0])
    found = fit_calibration(labels, truth * 4 + added)
    assert found.temperature == pytest.approx(4, rel=0.05)
    np.testing.assert_allclose(found.intercept, added, atol=0.1)
    probabilities = found.apply(truth * 4 + added)
    np.testing.assert_allclose(
        probabilities.mean(axis=0), np.bincount(labels) / len(labels), atol=1e-3
    )
    np.testing.assert_allclose(found.apply(truth).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([0, 0], [1.0, 2.0], "each of 2 classes"),
        ([0, 1], [1.0, np.inf], "finite"),
        ([0, 1], [[1.0, 2, 3], [3, 2, 1]], "each of 3 classes"),
        ([0, 2], [1.0, 2.0], "each of 2 classes"),
    ],
)
def test_impossible_input_is_refused(labels: list[int], logits: list[float], message: str) -> None:
    """A class without images, and logits that are no numbers, are errors that say so."""
    with pytest.raises(ValueError, match=message):
        fit_calibration(np.array(labels, dtype=np.uint8), np.array(logits))


@given(rows=logits_and_labels)
def test_brier_score_agrees_with_reference(rows: list[tuple[int, float]]) -> None:
    """For two classes it is scikit-learn's; as (N, 2) it is twice that."""
    labels = np.array([label for label, _ in rows], dtype=np.uint8)
    probabilities = Calibration().apply(np.array([logit for _, logit in rows]))
    expected = brier_score_loss(labels, probabilities)
    assert brier_score(labels, probabilities) == pytest.approx(expected)
    both = np.stack([1 - probabilities, probabilities], axis=1)
    assert brier_score(labels, both) == pytest.approx(2 * expected)


def test_reliability_of_known_rates() -> None:
    """Bins have equal counts, the mean that was predicted, and the rate that was observed."""
    probabilities = np.repeat([0.1, 0.4, 0.9], 10)
    labels = np.uint8([1] + [0] * 9 + [1] * 4 + [0] * 6 + [1] * 5 + [0] * 5)
    bins = reliability(labels, probabilities, bins=3)
    assert [each.count for each in bins] == [10, 10, 10]
    assert [each.predicted for each in bins] == pytest.approx([0.1, 0.4, 0.9])
    assert [each.observed for each in bins] == [0.1, 0.4, 0.5]
    assert all(each.ci_low < each.observed < each.ci_high for each in bins)
    assert expected_calibration_error(labels, probabilities, bins=3) == pytest.approx(0.4 / 3)


def test_ties_stay_in_one_bin() -> None:
    """Images with one probability are one bin, however labels are ordered: the error is none."""
    labels = np.repeat(np.uint8([0, 1]), 50)
    (only,) = reliability(labels, np.full(100, 0.5))
    assert (only.count, only.observed) == (100, 0.5)
    assert expected_calibration_error(labels, np.full(100, 0.5)) == 0


@given(rows=logits_and_labels, bins=st.integers(1, 20))
def test_every_image_is_in_a_bin(rows: list[tuple[int, float]], bins: int) -> None:
    """No more bins than asked for, none empty, every image in one, probabilities ascending."""
    labels = np.array([label for label, _ in rows], dtype=np.uint8)
    found = reliability(labels, Calibration().apply(np.array([x for _, x in rows])), bins)
    assert 1 <= len(found) <= bins
    assert sum(each.count for each in found) == len(rows)
    assert all(each.count for each in found)
    assert (np.diff([each.predicted for each in found]) > 0).all()


def test_top_class_of_several() -> None:
    """For three classes, a bin compares the top probability with how often that class is right."""
    probabilities = np.array([[0.8, 0.1, 0.1]] * 4)
    (only,) = reliability(np.uint8([0, 0, 0, 2]), probabilities)
    assert (only.predicted, only.observed) == (pytest.approx(0.8), 0.75)


def test_report_says_what_was_gained() -> None:
    """Calibrating overconfident logits lowers both errors, and the card's values are JSON."""
    labels, logits = overconfident(5000, 3.0, 1.0)
    report = report_calibration(labels, logits, fit_calibration(labels, logits))
    assert report.after.brier < report.before.brier
    assert report.after.expected_calibration_error < report.before.expected_calibration_error / 3
    card = json.loads(json.dumps(for_card(report), allow_nan=False))
    assert card["images"] == 5000
    assert card["temperature"] == report.calibration.temperature
    assert len(card["after"]["bins"]) == 15
    for side, quality in (("before", report.before), ("after", report.after)):
        low, high = card[side]["intervals"]["brier"]
        assert low < quality.brier < high
        low, high = card[side]["intervals"]["expected_calibration_error"]
        assert low < high
