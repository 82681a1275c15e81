"""The report's figures of calibration, against scikit-learn, statsmodels and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from report_rows import CLASSES, make_rows
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Section, Text
from batchscan.report.figures.calibration import calibration_section, calibration_verdict
from batchscan.report.figures.clusters import Patients
from batchscan.report.figures.recalibration import recalibration_of
from batchscan.report.figures.reliability import bins_of, brier_score, calibration_error
from batchscan.report.input.rows import Rows


def drawn(n: int, seed: int = 0, intercept: float = 0.0, slope: float = 1.0) -> Outcomes:
    """Draw scores and labels: logit(chance) = intercept + slope * logit(score)."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.5, 1.5, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-intercept - slope * logit))
    score = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return Outcomes(score, truth, score >= 0.5)


def families(images: Outcomes, most: int = 6) -> Patients:
    """Put images with similar scores into one patient's hands."""
    rng = np.random.default_rng(0)
    order = np.argsort(images.score)
    sizes = rng.integers(1, most, images.score.size)
    patient = np.empty(images.score.size, dtype=np.int32)
    patient[order] = np.repeat(np.arange(sizes.size), sizes)[: images.score.size]
    return patient


def rows_of(images: Outcomes, **more: Any) -> Rows:
    return make_rows(images.score, [CLASSES[int(each)] for each in images.positive], **more)


def verdict(images: Outcomes) -> Text:
    return calibration_verdict(recalibration_of(images), bins_of(images))


def block(section: Section, key: str) -> Any:
    (found,) = (each for each in section.blocks if each.key == key)
    return found


@given(st.integers(0, 1000), st.integers(20, 400))
@settings(max_examples=40)
def test_bins_as_scikit_learn(seed: int, n: int) -> None:
    """The reliability diagram is scikit-learn's, and all images are in a bin."""
    images = drawn(n, seed)
    bins = bins_of(images)
    observed, mean = calibration_curve(images.positive, images.score.astype(float), n_bins=10)
    filled = [each for each in bins if each.n]
    assert [each.observed.share for each in filled] == pytest.approx(observed.tolist())
    assert [each.mean_score for each in filled] == pytest.approx(mean.tolist(), rel=1e-6)
    assert sum(each.n for each in bins) == n
    off = sum(
        each.n * abs(one - other) for each, one, other in zip(filled, observed, mean, strict=True)
    )
    assert calibration_error(bins) == pytest.approx(off / n, abs=1e-6)


def test_edges_of_bins() -> None:
    """A score that shows as an edge is in the bin above it; 1 is in the last."""
    score = np.array([0, 0.1, 0.3, 0.7, 0.9, 1.0], dtype=np.float32)
    images = Outcomes(score, score > 0.5, score > 0.5)
    assert [each.n for each in bins_of(images)] == [1, 1, 0, 1, 0, 0, 0, 1, 0, 2]


def test_brier_as_scikit_learn() -> None:
    """The Brier score is scikit-learn's; its interval is that of a mean."""
    images = drawn(500)
    found = brier_score(images)
    score = images.score.astype(float)
    assert found.value == pytest.approx(reference.brier_score_loss(images.positive, score))
    squares = np.square(score - images.positive)
    error = 1.959964 * squares.std(ddof=1) / np.sqrt(500)
    assert (found.low, found.high) == pytest.approx(
        (squares.mean() - error, squares.mean() + error)
    )


def test_brier_by_patients() -> None:
    """Copies of an image, as of one patient, don't make the Brier score's interval narrower."""
    images = drawn(400)
    columns = (images.score, images.positive, images.predicted)
    copied = Outcomes(*(np.repeat(column, 3) for column in columns))
    patient = np.repeat(np.arange(400, dtype=np.int32), 3)
    once, thrice = brier_score(images), brier_score(copied, patient)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=1e-6)
    assert brier_score(images, np.zeros(400, dtype=np.int32)).low is None


@pytest.mark.parametrize("clustered", [False, True])
def test_recalibration_as_statsmodels(clustered: bool) -> None:
    """Slope and intercepts are those of statsmodels' binomial models, clustered or not."""
    images = drawn(800, intercept=0.4, slope=0.7)
    patient = families(images) if clustered else None
    score = images.score.astype(float)
    logit = np.log(score / (1 - score))
    family = sm.families.Binomial()
    robust = {"cov_type": "cluster", "cov_kwds": {"groups": patient}} if clustered else {}
    truth = images.positive.astype(float)
    both = sm.GLM(truth, sm.add_constant(logit), family=family).fit(**robust)
    large = sm.GLM(truth, np.ones(800), family=family, offset=logit).fit(**robust)
    found = recalibration_of(images, patient)
    for estimate, fit, number in (
        (found.intercept, both, 0),
        (found.slope, both, 1),
        (found.in_the_large, large, 0),
    ):
        assert estimate.value == pytest.approx(fit.params[number], abs=1e-6)
        low, high = fit.conf_int()[number]
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-5)


def test_coverage_of_slope() -> None:
    """About 95% of the intervals hold the true slope."""
    hits = 0
    for seed in range(300):
        slope = recalibration_of(drawn(300, seed, slope=0.8)).slope
        assert slope.low is not None
        assert slope.high is not None
        hits += slope.low <= 0.8 <= slope.high
    assert 0.92 <= hits / 300 <= 0.98


@pytest.mark.parametrize("score", [[0.1] * 3 + [0.9] * 3, [0.9] * 3 + [0.1] * 3, [0.4] * 6])
def test_no_slope(score: list[float]) -> None:
    """Scores that separate the classes, or are all the same, have no slope."""
    truth = np.repeat([False, True], 3)
    images = Outcomes(np.array(score, dtype=np.float32), truth, truth)
    found = recalibration_of(images)
    assert found.slope.value is None
    assert found.intercept.value is None


def test_scores_of_0_and_1() -> None:
    """Scores of exactly 0 and 1 have a figure, and are counted."""
    images = drawn(300)
    score = images.score.copy()
    score[:4] = [0, 1, 0, 1]
    found = recalibration_of(Outcomes(score, images.positive, images.predicted))
    assert found.clipped == 4
    assert np.isfinite(found.slope.value or np.nan)


@pytest.mark.parametrize("patients", [None, 100])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_only_scores_of_0_and_1(share: float, patients: int | None) -> None:
    """Of scores that are all 0 or 1, wrong ones among them, no slope or intercept is made up."""
    rng = np.random.default_rng(0)
    truth = np.repeat([False, True], 150)
    images = Outcomes((rng.random(300) < share).astype(np.float32), truth, truth)
    patient = None if patients is None else np.arange(300, dtype=np.int32) % patients
    found = recalibration_of(images, patient)
    assert found.clipped == 300
    assert (found.in_the_large.value, found.intercept.value, found.slope.value) == (None,) * 3
    text = calibration_verdict(found, bins_of(images, patient))
    assert text.tone == "warning"
    assert "off by more than 5 percentage points" in text.text


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_mostly_scores_of_0(share: float) -> None:
    """The likeliest intercept is also found where most scores are 0, far from where it starts."""
    rng = np.random.default_rng(0)
    truth = rng.random(2000) < 0.4
    score = np.where(rng.random(2000) < share, 0, rng.random(2000)).astype(np.float32)
    found = recalibration_of(Outcomes(score, truth, truth)).in_the_large
    clipped = score.astype(float).clip(1e-6, 1 - 1e-6)
    assert found.value is not None
    shifted = 1 / (1 + np.exp(-np.log(clipped / (1 - clipped)) - found.value))
    assert shifted.mean() == pytest.approx(truth.mean(), abs=1e-9)
    error = 1 / np.sqrt((shifted * (1 - shifted)).sum())
    assert found.high == pytest.approx(found.value + 1.959964 * error, rel=1e-6)


@pytest.mark.parametrize(
    ("intercept", "slope", "tone", "words"),
    [
        (0.0, 1.0, "good", ["Well calibrated"]),
        (0.6, 1.0, "warning", ["too low on average"]),
        (-0.6, 1.0, "warning", ["too high on average"]),
        (-0.2, 0.6, "warning", ["too extreme"]),
        (0.2, 1.6, "warning", ["not extreme enough"]),
        (1.0, 0.5, "warning", ["too low on average and too extreme"]),
    ],
)
def test_verdict(intercept: float, slope: float, tone: str, words: list[str]) -> None:
    """The verdict names what is wrong with scores that were made wrong in a known way."""
    found = verdict(drawn(20_000, intercept=intercept, slope=slope))
    assert found.tone == tone
    assert all(word in found.text for word in words)


def test_verdict_of_few_images() -> None:
    """Few images are not judged; some more can't rule a fault out."""
    assert verdict(drawn(150)).text.startswith("Too few images")
    some = verdict(drawn(450, 3))
    assert some.tone == "note"
    assert "can't be ruled out" in some.text


def test_verdict_of_a_bend() -> None:
    """Scores that are right on average but off in several ranges are found out."""
    rng = np.random.default_rng(0)
    score = rng.random(40_000).astype(np.float32)
    bent = score + 0.12 * np.sin(4 * np.pi * score)
    images = Outcomes(score, rng.random(40_000) < bent, score >= 0.5)
    found = verdict(images)
    assert found.tone == "warning"


def test_section() -> None:
    """The section begins with the verdict, and its diagram, counts and table agree."""
    images = drawn(3000)
    section = calibration_section(rows_of(images, patient=families(images)))
    keys = [each.key for each in section.blocks]
    assert keys[0] == "verdict"
    assert len(set(keys)) == len(keys)
    table, chart = block(section, "reliability_bins"), block(section, "reliability")
    assert chart.lines[0].y == tuple(row[3].value for row in table.rows if row[1])
    counts = block(section, "reliability_counts")
    assert sum(sum(bars.heights) for bars in counts.series) == 3000
    assert len(counts.edges) == len(counts.series[0].heights) + 1


@pytest.mark.parametrize(
    ("score", "label", "key"),
    [
        ([0.1, 0.9], [None, None], "nothing_to_measure"),
        ([0.1, 0.9], ["NORMAL", "NORMAL"], "one_class"),
        ([0.1, 1.5], ["NORMAL", "PNEUMONIA"], "no_probabilities"),
        ([np.nan, np.nan], ["NORMAL", "PNEUMONIA"], "nothing_to_measure"),
    ],
)
def test_what_cannot_be_computed(score: list[float], label: list[str | None], key: str) -> None:
    """Where calibration can't be computed, the section is one warning that says why."""
    (found,) = calibration_section(make_rows(score, label)).blocks
    assert (found.key, getattr(found, "tone", "")) == (key, "warning")


def test_two_images() -> None:
    """The smallest set of images has a section, and no verdict."""
    section = calibration_section(make_rows([0.2, 0.6], ["NORMAL", "PNEUMONIA"]))
    assert block(section, "verdict").text.startswith("Too few images")


def test_three_classes() -> None:
    """For three classes the section says that it is for two."""
    rows = make_rows([[0.2, 0.3, 0.5]], ["A"], classes=("A", "B", "C"), threshold=None)
    (found,) = calibration_section(rows).blocks
    assert found.key == "two_classes_only"
