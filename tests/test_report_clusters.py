"""Intervals of images that are correlated within patients: definitions, bootstrap, coverage."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from report_rows import make_rows
from scipy.stats import norm

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Estimate, Table
from batchscan.report.figures.agreement import kappa, matthews, resampled
from batchscan.report.figures.area import area_of
from batchscan.report.figures.average_precision import average_precision
from batchscan.report.figures.cluster_sums import sums_along
from batchscan.report.figures.clusters import Patients, confusion_of_patients, count_of
from batchscan.report.figures.curves import drawn_points, drawn_rates, thresholds_of
from batchscan.report.figures.discrimination import discrimination_section
from batchscan.report.figures.rates import Rate, rates_of
from batchscan.report.input.selection import patients_of


def correlated(
    seed: int, patients: int = 80, most: int = 8, spread: float = 1.0
) -> tuple[Outcomes, Patients]:
    """Draw images of patients: their scores share a part, and most of a patient have one label."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    ill = rng.random(patients) < 0.5
    truth = ill[patient] ^ (rng.random(patient.size) < 0.1)
    own = rng.normal(size=patients) * spread
    latent = 1.5 * truth + own[patient] + rng.normal(size=patient.size)
    score = norm.cdf(latent - 0.75).astype(np.float32)
    return Outcomes(score, truth, score >= 0.5), patient.astype(np.int32)


def samples(images: Outcomes, patient: Patients, count: int) -> list[Outcomes]:
    """Draw patients with replacement, row by row."""
    rng = np.random.default_rng(1)
    rows = [np.flatnonzero(patient == number) for number in range(count_of(patient))]
    found = []
    for _ in range(count):
        taken = np.concatenate([rows[each] for each in rng.integers(0, len(rows), len(rows))])
        found.append(Outcomes(images.score[taken], images.positive[taken], images.predicted[taken]))
    return found


def shares(patient: Patients, hits: NDArray[np.bool_], trials: NDArray[np.bool_]) -> float:
    """The variance of a ratio of sums over patients, by its definition."""
    sums = [
        (int((hits & trials & (patient == each)).sum()), int((trials & (patient == each)).sum()))
        for each in np.unique(patient)
    ]
    used = [(hit, n) for hit, n in sums if n]
    total = sum(n for _, n in used)
    share = sum(hit for hit, _ in used) / total
    squares = sum((hit - share * n) ** 2 for hit, n in used)
    return squares * len(used) / (len(used) - 1) / total**2


def test_effective_size_by_definition() -> None:
    """The effective number of images is what gives the variance of the ratio estimator."""
    images, patient = correlated(3)
    rates = rates_of(images, patient)
    everyone = np.ones(patient.size, dtype=bool)
    right = images.positive == images.predicted
    for rate, hits, trials in (
        (rates.sensitivity, images.predicted, images.positive),
        (rates.specificity, ~images.predicted, ~images.positive),
        (rates.positive_value, images.positive, images.predicted),
        (rates.negative_value, ~images.positive, ~images.predicted),
        (rates.accuracy, right, everyone),
    ):
        assert rate.share is not None
        variance = rate.share * (1 - rate.share) / rate.effective
        assert rate.effective < rate.n
        assert variance == pytest.approx(shares(patient, hits, trials))


def test_patients_with_one_image_each() -> None:
    """Where no patient has two images, clustered intervals are the plain ones."""
    images, _ = correlated(5, patients=200, most=1)
    own = np.arange(200, dtype=np.int32)[::-1].copy()
    clustered, plain = area_of(images, own), area_of(images)
    assert clustered is not None
    assert plain is not None
    assert clustered.variance == pytest.approx(plain.variance)
    for name in ("sensitivity", "specificity", "accuracy"):
        rates = [getattr(rates_of(images, patient), name) for patient in (own, None)]
        assert rates[0].effective == pytest.approx(rates[1].effective, rel=0.02)
    rows = make_rows(images.score, ["NORMAL", "PNEUMONIA"] * 100, patient=own)
    assert patients_of(rows) is None


def test_copied_images() -> None:
    """If each image is there three times, as of one patient, intervals stay as wide as of one."""
    images, _ = correlated(5, patients=300, most=1)
    copied = Outcomes(
        *(np.repeat(each, 3) for each in (images.score, images.positive, images.predicted))
    )
    patient = np.repeat(np.arange(300, dtype=np.int32), 3)
    once, thrice = area_of(images), area_of(copied, patient)
    assert once is not None
    assert thrice is not None
    assert thrice.variance == pytest.approx(once.variance, rel=0.02)
    rate = rates_of(copied, patient).sensitivity
    assert rate.effective == pytest.approx(rate.n / 3, rel=0.02)
    plain = average_precision(thresholds_of(images))
    found = average_precision(thresholds_of(copied, patient))
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.02)


def test_area_by_definition() -> None:
    """The variance of the area is Obuchowski's, worked out pair by pair and patient by patient."""
    images, patient = correlated(7, patients=40, most=5)
    score, truth = images.score.astype(float), images.positive
    pairs = np.sign(score[truth][:, None] - score[~truth][None, :]) / 2 + 0.5
    area = pairs.mean()
    m, n = pairs.shape
    ill = [pairs.mean(axis=1)[patient[truth] == each] - area for each in range(40)]
    well = [pairs.mean(axis=0)[patient[~truth] == each] - area for each in range(40)]
    with_ill = sum(1 for each in ill if each.size)
    with_well = sum(1 for each in well if each.size)
    s10 = with_ill / (with_ill - 1) / m * sum(each.sum() ** 2 for each in ill)
    s01 = with_well / (with_well - 1) / n * sum(each.sum() ** 2 for each in well)
    both = zip(ill, well, strict=True)
    s11 = 40 / 39 * sum(one.sum() * other.sum() for one, other in both)
    found = area_of(images, patient)
    assert found is not None
    assert found.variance == pytest.approx(s10 / m + s01 / n + 2 * s11 / (m * n))


def test_as_bootstrap_over_patients() -> None:
    """Area, average precision and rates have the errors that a bootstrap over patients finds."""
    images, patient = correlated(11, patients=300)
    drawn = samples(images, patient, 600)
    area = area_of(images, patient)
    assert area is not None
    areas = [found.value for each in drawn if (found := area_of(each))]
    assert math.sqrt(area.variance) == pytest.approx(np.std(areas), rel=0.1)
    precision = average_precision(thresholds_of(images, patient))
    found = [average_precision(thresholds_of(each)).value or 0.0 for each in drawn]
    assert precision.low is not None
    assert precision.high is not None
    assert (precision.high - precision.low) / 3.92 == pytest.approx(np.std(found), rel=0.1)
    rate = rates_of(images, patient).positive_value
    assert rate.share is not None
    error = math.sqrt(rate.share * (1 - rate.share) / rate.effective)
    found = [rates_of(each).positive_value.share or 0.0 for each in drawn]
    assert error == pytest.approx(np.std(found), rel=0.1)


def test_drawing_patients_by_their_matrices() -> None:
    """Drawing kinds of patients gives the distribution that drawing patients gives."""
    images, patient = correlated(13, patients=200)
    quick = resampled(confusion_of_patients(images, patient))
    slow = [rates_of(each) for each in samples(images, patient, 600)]
    cells = np.array(
        [[r.true_negative, r.false_positive, r.false_negative, r.true_positive] for r in slow],
        dtype=np.float64,
    )
    for figure in (kappa, matthews):
        one, other = (np.quantile(figure(each), [0.025, 0.975]) for each in (quick, cells))
        assert one == pytest.approx(other, abs=0.015)
    again = resampled(confusion_of_patients(images, patient))
    assert np.array_equal(quick, again)


@given(st.integers(0, 10_000), st.sampled_from([1, 3, 30]))
def test_sums_along_a_curve(seed: int, decimals: int) -> None:
    """At every threshold the rates are as if computed for that threshold alone."""
    images, patient = correlated(seed, patients=12, most=4)
    score = images.score.round(decimals % 10)
    images = Outcomes(score, images.positive, images.predicted)
    if images.positive.all() or not images.positive.any():
        return
    thresholds = thresholds_of(images, patient)
    rates = drawn_rates(thresholds)
    for number, point in enumerate(drawn_points(thresholds)):
        alone = rates_of(
            Outcomes(score, images.positive, score >= thresholds.score[point]), patient
        )
        same(rates.sensitivity[number], alone.sensitivity)
        same(rates.fall_out[number], alone.specificity.complement)
        same(rates.precision[number], alone.positive_value)


def same(one: Rate, other: Rate) -> None:
    assert (one.successes, one.n) == (other.successes, other.n)
    assert one.effective == pytest.approx(other.effective)


def test_sums_of_one_patient() -> None:
    """The squares of a patient's counts grow as its images come."""
    positive = np.array([True, False, True])
    found = sums_along(positive, np.zeros(3, dtype=np.int32), np.array([1, 2, 3]))
    assert found.tp_tp.tolist() == [1, 1, 4]
    assert found.tp_fp.tolist() == [0, 1, 2]
    assert found.fp_fp.tolist() == [0, 1, 1]
    assert found.with_any.tolist() == [1, 1, 1]


# ---------------------------------------------------------------- coverage


def truth_of(figure: Callable[[Outcomes, Patients], Estimate]) -> float:
    images, patient = correlated(99, patients=100_000)
    value = figure(images, patient).value
    assert value is not None
    return value


def area_estimate(images: Outcomes, patient: Patients) -> Estimate:
    area = area_of(images, patient)
    assert area is not None
    return area.estimate()


def precision_estimate(images: Outcomes, patient: Patients) -> Estimate:
    return average_precision(thresholds_of(images, patient))


def sensitivity_estimate(images: Outcomes, patient: Patients) -> Estimate:
    return rates_of(images, patient).sensitivity.estimate()


def ppv_estimate(images: Outcomes, patient: Patients) -> Estimate:
    return rates_of(images, patient).positive_value.estimate()


@pytest.mark.parametrize(
    "figure", [area_estimate, precision_estimate, sensitivity_estimate, ppv_estimate]
)
def test_coverage(figure: Callable[[Outcomes, Patients], Estimate]) -> None:
    """About 95% of the intervals hold the true figure; of those that ignore patients, fewer do."""
    truth = truth_of(figure)
    hits, naive = 0, 0
    for seed in range(500):
        images, patient = correlated(seed)
        alone = np.arange(patient.size, dtype=np.int32)
        for number, key in enumerate((patient, alone)):
            found = figure(images, key)
            assert found.low is not None
            assert found.high is not None
            hit = found.low <= truth <= found.high
            hits, naive = (hits + hit, naive) if number == 0 else (hits, naive + hit)
    assert 0.925 <= hits / 500 <= 0.98
    assert naive / 500 < 0.9


def test_one_patient() -> None:
    """Images of a single patient have figures but no intervals, and the section says why."""
    images, _ = correlated(1)
    label = np.where(images.positive, "PNEUMONIA", "NORMAL")
    rows = make_rows(images.score, label, patient=np.zeros(label.size, dtype=int))
    section = discrimination_section(rows)
    (note,) = (each for each in section.blocks if each.key == "clustering")
    assert "same patient key" in getattr(note, "text", "")
    tables = [each for each in section.blocks if isinstance(each, Table)]
    estimates = [
        cell for t in tables for row in t.rows for cell in row if isinstance(cell, Estimate)
    ]
    assert estimates
    assert all(estimate.low is None for estimate in estimates if estimate.value is not None)


def test_unknown_patients() -> None:
    """An image without a patient key is a patient of its own."""
    rows = make_rows([0.1, 0.2, 0.3, 0.4], ["NORMAL"] * 4, patient=[5, None, 5, None])
    patient = patients_of(rows)
    assert patient is not None
    assert patient.tolist() == [0, 1, 0, 2]
