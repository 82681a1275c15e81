"""The report's figures of discrimination, against scikit-learn, SciPy and published examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from report_rows import CLASSES, make_rows
from scipy.stats import contingency, norm
from sklearn import metrics as reference
from statsmodels.stats.inter_rater import cohens_kappa

from batchscan.errors import UsageError
from batchscan.metrics.outcomes import Outcomes
from batchscan.metrics.statistics import delong_interval, f1_interval, roc_auc, wilson_interval
from batchscan.report.document import Estimate, Section, Text
from batchscan.report.figures.agreement import (
    balanced_accuracy,
    bootstrap_estimate,
    f1_score,
    kappa,
    likelihood_ratio,
    matthews,
    resampled_images,
)
from batchscan.report.figures.area import area_of
from batchscan.report.figures.average_precision import average_precision
from batchscan.report.figures.curves import (
    drawn_rates,
    precision_recall_curve,
    roc_curve,
    thresholds_of,
)
from batchscan.report.figures.discrimination import discrimination_section
from batchscan.report.figures.key_figures import KEY_FIGURES, key_figures
from batchscan.report.figures.operating_points import operating_points
from batchscan.report.figures.prevalence import negative_value_at, positive_value_at
from batchscan.report.figures.rates import rates_of
from batchscan.report.input.selection import class_outcomes_of, outcomes_of, patients_of

SCORES = st.integers(0, 12).map(lambda step: step / 16) | st.floats(0, 1, width=32)
SAMPLES = st.lists(st.tuples(st.booleans(), SCORES), min_size=4, max_size=60).filter(
    lambda sample: len({truth for truth, _ in sample}) == 2
)


def outcomes(sample: list[tuple[bool, float]], threshold: float = 0.5) -> Outcomes:
    truth, score = zip(*sample, strict=True)
    scores = np.array(score, dtype=np.float32)
    return Outcomes(scores, np.array(truth, dtype=bool), scores >= threshold)


def drawn(n: int, seed: int = 0, gap: float = 1.5, decimals: int = 3) -> Outcomes:
    """Draw images from two normal distributions, with some ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    score = norm.cdf(rng.normal(size=n) - 0.5 + gap * truth).round(decimals).astype(np.float32)
    return Outcomes(score, truth, score >= 0.5)


def names(truth: NDArray[np.bool_]) -> list[str]:
    return [CLASSES[int(positive)] for positive in truth]


def block(section: Section, key: str) -> Any:
    (found,) = (each for each in section.blocks if each.key == key)
    return found


def keys(section: Section) -> list[str]:
    return [each.key for each in section.blocks]


def interval(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


# ------------------------------------------------------------------- areas


@given(SAMPLES)
def test_area_as_in_the_metrics(sample: list[tuple[bool, float]]) -> None:
    """The area and its DeLong interval are those of `batchscan metrics`, which are published ones.

    Sorted or not: the order of the images changes nothing.
    """
    images = outcomes(sample)
    area = area_of(images)
    assert area is not None
    assert area.value == pytest.approx(roc_auc(images.positive, images.score), abs=1e-12)
    expected = delong_interval(images.positive, images.score)
    if expected is None:
        assert area.estimate().low is None
    else:
        assert interval(area.estimate()) == pytest.approx(expected, abs=1e-9)
    turned = Outcomes(images.score[::-1], images.positive[::-1], images.predicted[::-1])
    assert area_of(turned) == area


def test_area_as_published() -> None:
    """Area and DeLong's error of Hanley and McNeil's rating data (1982) are those Stata prints.

    Stata's manual, `roctab`: area 0.8932, interval 0.83295 to 0.95339 (symmetric around it).
    """
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    rating = np.repeat(np.tile(np.arange(1.0, 6.0), 2), normal + abnormal).astype(np.float32)
    truth = np.repeat([False, True], [58, 51])
    area = area_of(Outcomes(rating, truth, truth))
    assert area is not None
    half = 1.959964 * math.sqrt(area.variance)
    assert area.value == pytest.approx(0.8932, abs=5e-5)
    assert (area.value - half, area.value + half) == pytest.approx((0.83295, 0.95339), abs=5e-6)


@given(SAMPLES)
def test_average_precision_as_scikit_learn(sample: list[tuple[bool, float]]) -> None:
    """Average precision is scikit-learn's, ties included; its interval holds it."""
    images = outcomes(sample)
    found = average_precision(thresholds_of(images))
    expected = reference.average_precision_score(images.positive, images.score.astype(float))
    assert found.value == pytest.approx(expected, abs=1e-12)
    if found.low is not None:
        assert found.value is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_average_precision_as_jackknife() -> None:
    """The interval's variance is what leaving out one image after the other gives."""
    images = drawn(300)
    left_out = []
    for number in range(300):
        kept = np.arange(300) != number
        left_out.append(
            reference.average_precision_score(images.positive[kept], images.score[kept])
        )
    error = math.sqrt(299 / 300 * float(np.square(np.array(left_out) - np.mean(left_out)).sum()))
    found = average_precision(thresholds_of(images))
    low, high = (math.log(bound / (1 - bound)) for bound in interval(found))
    value = found.value or 0.0
    assert (high - low) / 2 * value * (1 - value) == pytest.approx(1.96 * error, rel=0.03)


def test_coverage_of_average_precision() -> None:
    """About 95% of the intervals hold the true average precision."""
    truth = reference.average_precision_score(
        *(getattr(drawn(400_000, 99, decimals=9), name) for name in ("positive", "score"))
    )
    hits = 0
    for seed in range(400):
        low, high = interval(average_precision(thresholds_of(drawn(300, seed, decimals=9))))
        hits += low <= truth <= high
    assert 0.92 <= hits / 400 <= 0.98


# ------------------------------------------------------------------ curves


@given(SAMPLES)
@settings(max_examples=60)
def test_curves_as_scikit_learn(sample: list[tuple[bool, float]]) -> None:
    """Every point of both curves is one of scikit-learn's; few enough points are all there."""
    images = outcomes(sample)
    rates = drawn_rates(thresholds_of(images))
    score = images.score.astype(float)
    x, y, _ = reference.roc_curve(images.positive, score, drop_intermediate=False)
    curve = roc_curve(rates)
    assert curve.x == pytest.approx(x, abs=1e-12)
    assert curve.y == pytest.approx(y, abs=1e-12)
    precision, recall, _ = reference.precision_recall_curve(images.positive, score)
    curve = precision_recall_curve(rates)
    assert curve.x == pytest.approx(recall[:-1][::-1], abs=1e-12)
    assert curve.y == pytest.approx(precision[:-1][::-1], abs=1e-12)


def test_thinned_curves() -> None:
    """Of many thresholds a few hundred are drawn, which leave the area as it is; bands hold it."""
    images = drawn(20_000, decimals=9)
    rates = drawn_rates(thresholds_of(images))
    roc = roc_curve(rates)
    assert 100 < roc.x.size < 400
    area = roc_auc(images.positive, images.score)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(area, abs=1e-3)
    for curve in (roc, precision_recall_curve(rates)):
        assert (np.diff(curve.x) >= 0).all()
        assert (curve.low <= curve.y).all()
        assert (curve.y <= curve.high).all()
        assert curve.low.min() >= 0
        assert curve.high.max() <= 1


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_coverage_of_the_band(share: float) -> None:
    """About 95% of the ROC's bands hold the true sensitivity at a specificity."""
    truth = norm.cdf(norm.ppf(share) + 1.5)
    hits = 0
    for seed in range(300):
        curve = roc_curve(drawn_rates(thresholds_of(drawn(400, seed, decimals=9))))
        low, high = (np.interp(share, curve.x, bound) for bound in (curve.low, curve.high))
        hits += low <= truth <= high
    assert 0.92 <= hits / 300 <= 0.995


# -------------------------------------------------------- at the threshold


@given(SAMPLES)
def test_rates_as_scikit_learn(sample: list[tuple[bool, float]]) -> None:
    """Every figure at the threshold is scikit-learn's; proportions have Wilson's interval."""
    images = outcomes(sample)
    rates, truth, predicted = rates_of(images), images.positive, images.predicted
    tn, fp, fn, tp = (int(count) for count in reference.confusion_matrix(truth, predicted).ravel())
    counts = rates.true_negative, rates.false_positive, rates.false_negative, rates.true_positive
    assert counts == (tn, fp, fn, tp)
    for rate, hits, n in (
        (rates.sensitivity, tp, tp + fn),
        (rates.specificity, tn, tn + fp),
        (rates.positive_value, tp, tp + fp),
        (rates.negative_value, tn, tn + fn),
        (rates.accuracy, tp + tn, truth.size),
    ):
        estimate = rate.estimate()
        assert (rate.successes, estimate.n) == (hits, n)
        assert estimate.value == (hits / n if n else None)
        if n:
            assert interval(estimate) == pytest.approx(wilson_interval(hits, n))
    if tp + fp + fn:
        assert f1_score(rates).value == pytest.approx(reference.f1_score(truth, predicted))
        assert interval(f1_score(rates)) == pytest.approx(f1_interval(tp, fp, fn))
    balanced = balanced_accuracy(rates)
    expected = reference.balanced_accuracy_score(truth, predicted)
    assert balanced.value == pytest.approx(expected)
    samples = resampled_images(rates)
    for figure, function in ((kappa, "cohen_kappa_score"), (matthews, "matthews_corrcoef")):
        found = bootstrap_estimate(figure, rates, samples)
        if found.value is None:
            assert min(tp + fp, tn + fn) == 0
        else:
            assert found.value == pytest.approx(
                getattr(reference, function)(truth, predicted), abs=1e-9
            )


def test_likelihood_ratios_as_scipy() -> None:
    """Likelihood ratios and their intervals are SciPy's relative risks, which are the same."""
    rates = rates_of(drawn(500))
    for above, below in (
        (rates.sensitivity, rates.specificity.complement),
        (rates.sensitivity.complement, rates.specificity),
    ):
        expected = contingency.relative_risk(above.successes, above.n, below.successes, below.n)
        found = likelihood_ratio(above, below)
        assert found.value == pytest.approx(expected.relative_risk)
        assert interval(found) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_likelihood_ratios_without_errors() -> None:
    """A perfect specificity leaves the positive likelihood ratio undefined, not infinite."""
    rates = rates_of(outcomes([(False, 0.1), (False, 0.2), (True, 0.9), (True, 0.3)]))
    above = likelihood_ratio(rates.sensitivity, rates.specificity.complement)
    assert above == Estimate(None, n=4)
    none_missed = rates_of(outcomes([(False, 0.1), (False, 0.7), (True, 0.9)]))
    below = likelihood_ratio(none_missed.sensitivity.complement, none_missed.specificity)
    assert below == Estimate(0.0, n=3)


def test_kappa_as_statsmodels() -> None:
    """With plenty of images kappa's bootstrap interval is the asymptotic one of Fleiss et al."""
    rates = rates_of(drawn(4000))
    table = [
        [rates.true_negative, rates.false_positive],
        [rates.false_negative, rates.true_positive],
    ]
    expected = cohens_kappa(table)
    found = bootstrap_estimate(kappa, rates, resampled_images(rates))
    assert found.value == pytest.approx(expected.kappa)
    assert interval(found) == pytest.approx((expected.kappa_low, expected.kappa_upp), abs=0.004)


def test_operating_points() -> None:
    """Each threshold is the highest of all scores that reaches the sensitivity."""
    images = drawn(700)
    points = operating_points(images, thresholds_of(images), None)
    assert [float(point.target) for point in points] == [0.9, 0.95, 0.975, 0.99]
    for point in points:
        reaching = [
            score
            for score in np.unique(images.score)
            if (images.score[images.positive] >= score).mean() >= float(point.target)
        ]
        assert point.threshold == max(reaching)
        specificity = (images.score[~images.positive] < point.threshold).mean()
        assert point.rates.specificity.share == pytest.approx(specificity)


# -------------------------------------------------------------- prevalence


def test_predictive_values_by_bayes() -> None:
    """At the prevalence of the images themselves, predictive values are the observed ones."""
    images = drawn(900)
    rates = rates_of(images)
    share = float(images.positive.mean())
    assert positive_value_at(rates, share).value == pytest.approx(rates.positive_value.share)
    assert negative_value_at(rates, share).value == pytest.approx(rates.negative_value.share)
    low, high = interval(positive_value_at(rates, 0.01))
    assert low < (positive_value_at(rates, 0.01).value or 0) < high < 0.2


def test_predictive_values_without_errors() -> None:
    """A specificity of 1 gives a predictive value of 1, and an interval that doesn't claim it."""
    rates = rates_of(outcomes([(False, 0.1)] * 20 + [(True, 0.9)] * 15))
    found = positive_value_at(rates, 0.05)
    assert found.value == 1.0
    assert found.high == 1.0
    assert 0 < (found.low or 0) < 0.9


def test_coverage_of_predictive_values() -> None:
    """About 95% of the intervals hold the true predictive value at another prevalence."""
    rng, sensitivity, specificity, prevalence = np.random.default_rng(4), 0.85, 0.9, 0.05
    hit, miss = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    hits = 0
    for _ in range(600):
        tp, tn = int(rng.binomial(120, sensitivity)), int(rng.binomial(200, specificity))
        truth = np.repeat([True, False], [120, 200])
        predicted = np.repeat([True, False, True, False], [tp, 120 - tp, 200 - tn, tn])
        rates = rates_of(Outcomes(predicted.astype(np.float32), truth, predicted))
        low, high = interval(positive_value_at(rates, prevalence))
        hits += low <= hit / (hit + miss) <= high
    assert 0.93 <= hits / 600 <= 0.975


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_prevalence(prevalence: float) -> None:
    """A prevalence outside of 0 to 1 is refused."""
    with pytest.raises(UsageError, match="prevalence"):
        discrimination_section(make_rows([0.2], ["NORMAL"]), prevalence)


# ----------------------------------------------------------------- section


def test_section() -> None:
    """The section holds curves, areas, all figures, the confusion matrix and operating points."""
    images = drawn(400)
    section = discrimination_section(make_rows(images.score, names(images.positive)), 0.02)
    for key in ("areas", "roc", "precision_recall", "confusion", "rates", "operating_points"):
        assert key in keys(section)
    rows = {row[0]: row[1] for row in block(section, "rates").rows}
    assert rows["Sensitivity"] == rates_of(images).sensitivity.estimate()
    assert rows["PPV at a prevalence of 0.02"] == positive_value_at(rates_of(images), 0.02)
    confusion = block(section, "confusion").rows
    assert sum(row[3] for row in confusion) == 400
    assert block(section, "roc").marks[0].y == rates_of(images).sensitivity.share
    assert len(set(keys(section))) == len(section.blocks)


def test_key_figures() -> None:
    """The short list has the names that others show, with intervals."""
    images = drawn(400)
    found = dict(key_figures(images))
    assert tuple(found) == KEY_FIGURES
    assert found["images"] == Estimate(400, n=400)
    assert found["auc"].value == pytest.approx(roc_auc(images.positive, images.score))
    assert found["npv"] == rates_of(images).negative_value.estimate()


def test_key_figures_of_one_class() -> None:
    """Images of one class have no area and no predictive values; no images have no figures."""
    negatives = outcomes([(False, 0.1), (False, 0.8)])
    found = {name: estimate.value for name, estimate in key_figures(negatives)}
    assert found == {
        **dict.fromkeys(("auc", "sensitivity", "ppv", "npv")),
        "images": 2,
        "specificity": 0.5,
    }
    nothing = key_figures(Outcomes.joined([]))
    assert [estimate.value for _, estimate in nothing] == [0, *([None] * 5)]


@pytest.mark.parametrize(
    ("score", "label", "status", "text"),
    [
        ([0.1, 0.9], [None, None], None, "No image has a label"),
        ([], [], None, "No image has a label"),
        ([np.nan, np.nan], ["NORMAL", "PNEUMONIA"], ["failed"] * 2, "None of the 2 labelled"),
        ([np.nan, np.inf], ["NORMAL", "PNEUMONIA"], None, "None of the 2 labelled"),
    ],
)
def test_nothing_to_measure(
    score: list[float], label: list[str | None], status: list[str] | None, text: str
) -> None:
    """Without labels or without scores the section says so, and holds no number."""
    (found,) = discrimination_section(make_rows(score, label, status=status)).blocks
    assert isinstance(found, Text)
    assert found.tone == "warning"
    assert found.text.startswith(text)


def test_one_class_only() -> None:
    """With one class the section says what can't be computed, and gives the rate that can."""
    section = discrimination_section(make_rows([0.2, 0.7, 0.1], ["NORMAL"] * 3))
    assert keys(section) == ["one_class", "clustering", "confusion", "rates"]
    assert [row[0] for row in block(section, "rates").rows] == ["Specificity"]
    assert block(section, "rates").rows[0][1].value == pytest.approx(2 / 3)


def test_not_scored_and_not_a_number() -> None:
    """Failed images and NaN take no part, and are counted as left out."""
    score = [0.1, 0.9, np.nan, 0.8, 0.3]
    label = ["NORMAL", "PNEUMONIA", "NORMAL", "NORMAL", None]
    rows = make_rows(score, label, status=["scored"] * 3 + ["failed", "scored"])
    images = outcomes_of(rows)
    assert (images.score.size, images.not_scored) == (2, 2)
    assert block(discrimination_section(rows), "left_out").text.startswith("2 labelled images")


def test_part_of_the_rows() -> None:
    """Outcomes and patients can be those of some rows only, in their order."""
    rows = make_rows([0.1, 0.9, 0.4], ["NORMAL", "PNEUMONIA", "PNEUMONIA"], patient=[7, 9, 9])
    where = np.array([False, True, True])
    assert outcomes_of(rows, where).score.tolist() == [np.float32(0.9), np.float32(0.4)]
    patient = patients_of(rows, where)
    assert patient is not None
    assert patient.tolist() == [0, 0]
    assert patients_of(rows, ~where) is None


def test_foreign_label() -> None:
    """A label that is no class is refused, not left out."""
    rows = make_rows([0.1, 0.9], ["NORMAL", "COVID"])
    with pytest.raises(UsageError, match="COVID"):
        discrimination_section(rows)


def test_three_classes() -> None:
    """Of three classes each is measured against the rest; what needs two is said to."""
    rng = np.random.default_rng(2)
    classes = ("A", "B", "C")
    truth = rng.integers(0, 3, 300)
    score = rng.dirichlet([1, 1, 1], 300)
    score[np.arange(300), truth] += 0.5
    rows = make_rows(score, [classes[each] for each in truth], classes=classes, threshold=None)
    section = discrimination_section(rows)
    table = block(section, "classes")
    own = class_outcomes_of(rows)
    for number, row in enumerate(table.rows):
        assert row[:2] == (classes[number], int((truth == number).sum()))
        expected = reference.roc_auc_score(truth == number, own.score[:, number])
        assert row[2].value == pytest.approx(expected)
    assert block(section, "two_classes_only").tone == "note"
