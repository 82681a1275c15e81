"""training.operating_point: thresholds by rule, and the curve of all others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.operating_point import (
    SENSITIVITY_95,
    YOUDEN,
    OperatingPoint,
    ThresholdRule,
    choose_threshold,
    for_card,
    operating_curve,
)

# Some neighbours in float32, whose middle is one of them.
levels = st.integers(0, 40).map(lambda n: np.float32(n / 40)) | st.integers(0, 3).map(
    lambda n: np.float32(0.5) + np.float32(n * 2**-24)
)
pairs = st.lists(st.tuples(st.integers(0, 1), levels), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def arrays(rows: list[tuple[int, np.float32]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, dtype=np.uint8), np.array(scores, dtype=np.float32)


def sensitivity(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return float((scores[labels == 1] >= np.float32(threshold)).mean())


def youden(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    predicted = scores >= np.float32(threshold)
    return predicted[labels == 1].mean() - predicted[labels == 0].mean()


@given(rows=pairs)
def test_threshold_is_the_best(rows: list[tuple[int, np.float32]]) -> None:
    """No other threshold between two scores has a higher Youden's J; float32 holds it exactly."""
    labels, scores = arrays(rows)
    threshold = choose_threshold(labels, scores)
    levels = np.unique(scores)
    others = (levels[1:] + levels[:-1]) / 2 if len(levels) > 1 else [threshold]
    best = max(youden(labels, scores, other) for other in others)
    assert youden(labels, scores, threshold) >= best - 1e-9
    assert 0 <= threshold <= 1
    assert float(np.float32(threshold)) == threshold


def test_threshold_lies_in_the_middle_of_the_gap() -> None:
    """Between classes that separate, it keeps the same distance to both."""
    labels = np.array([0, 0, 1, 1], dtype=np.uint8)
    assert choose_threshold(labels, np.float32([0.0, 0.25, 0.75, 1.0])) == 0.5


@given(rows=pairs, target=st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_sensitivity_is_reached_and_no_more(
    rows: list[tuple[int, np.float32]], target: float
) -> None:
    """The threshold reaches the sensitivity; one that parts the scores higher up does not."""
    labels, scores = arrays(rows)
    threshold = choose_threshold(labels, scores, ThresholdRule(target))
    assert sensitivity(labels, scores, threshold) >= target
    assert 0 <= threshold <= 1
    assert float(np.float32(threshold)) == threshold
    reached = scores[scores >= np.float32(threshold)]
    above = np.nextafter(reached.min(), np.float32(2))
    assert sensitivity(labels, scores, float(above)) < target


@pytest.mark.parametrize(("found", "expected"), [(19, 0.25), (18, 0.15)])
def test_sensitivity_is_exact(found: int, expected: float) -> None:
    """19 of 20 are 0.95, and 18 are not: the threshold is the middle below the image needed."""
    labels = np.uint8([1] * 20 + [0, 0])
    scores = np.float32([0.3] * found + [0.2] * (20 - found) + [0.1, 0.0])
    assert choose_threshold(labels, scores, SENSITIVITY_95) == np.float32(expected)


def test_lowest_score_is_needed() -> None:
    """Where even the lowest of all scores has to count, the threshold lies half way to 0."""
    labels, scores = np.uint8([1, 1, 0]), np.float32([0.5, 0.9, 0.7])
    assert choose_threshold(labels, scores, ThresholdRule(1.0)) == 0.25


def test_rules_in_words() -> None:
    """The card says which rule, and on what."""
    assert "Youden" in YOUDEN.words("the validation images")
    text = SENSITIVITY_95.words("the out-of-fold scores")
    assert "at least 0.95" in text
    assert "the out-of-fold scores" in text


@given(rows=pairs)
def test_curve_is_true(rows: list[tuple[int, np.float32]]) -> None:
    """Each point has the rates that counting gives, within its intervals; thresholds ascend, and
    those that are asked for are there."""
    labels, scores = arrays(rows)
    curve = operating_curve(labels, scores, also=[0.625])
    assert 0.625 in [point.threshold for point in curve]
    for point in curve:
        predicted = scores >= np.float32(point.threshold)
        assert point.sensitivity == pytest.approx(predicted[labels == 1].mean())
        assert point.specificity == pytest.approx(1 - predicted[labels == 0].mean())
        assert point.sensitivity_low <= point.sensitivity <= point.sensitivity_high
        assert point.specificity_low <= point.specificity <= point.specificity_high
    assert (np.diff([point.threshold for point in curve]) > 0).all()
    assert curve[0].sensitivity == 1
    assert curve[-1].specificity == 1


def overlapping(count: int) -> tuple[OperatingPoint, ...]:
    generator = np.random.default_rng(0)
    labels = (np.arange(count) % 2).astype(np.uint8)
    scores = 1 / (1 + np.exp(-generator.normal(labels * 4.0 - 2, 1.5, count)))
    return operating_curve(labels, scores.astype(np.float32))


def test_curve_is_dense_at_its_ends() -> None:
    """About 100 points, a third of them where at most 5% are missed, a third at 5% false alarms."""
    curve = overlapping(20_000)
    assert 80 <= len(curve) <= 102
    assert sum(point.sensitivity >= 0.95 for point in curve) > 30
    assert sum(point.specificity >= 0.95 for point in curve) > 30


def test_curve_is_json() -> None:
    """The card's values are JSON; thresholds survive it exactly."""
    curve = overlapping(200)
    card = json.loads(json.dumps(for_card(curve), allow_nan=False))
    assert [row["threshold"] for row in card] == [point.threshold for point in curve]
    assert all(row["sensitivity_low"] <= row["sensitivity"] for row in card)
