"""Statistics of two classifiers on the same images, against published examples and simulation."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from batchscan.metrics.paired import FEW, difference_interval, paired_areas, paired_proportions

# Albumin, total protein, K-G score and outcome of patients with ovarian cancer: the data of DeLong,
# DeLong and Clarke-Pearson (1988) as printed in SAS/STAT User's Guide, "Comparing Receiver
# Operating Characteristic Curves" (PROC LOGISTIC). A high K-G score is bad: it enters as 10 - it.
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1   3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1   3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0   4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1   2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1   2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""


@pytest.mark.parametrize(
    ("column", "area", "difference", "low", "high", "p_value"),
    [
        (0, 0.7366, 0.0108, -0.1761, 0.1976, 0.9102),
        (1, 0.6478, -0.0780, -0.2830, 0.1271, 0.4561),
    ],
    ids=["albumin", "total protein"],
)
def test_published_areas(
    column: int, area: float, difference: float, low: float, high: float, p_value: float
) -> None:
    """DeLong's own data give what SAS prints: each test against the K-G score (area 0.7258)."""
    data = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    score, reference = data[:, column], 10 - data[:, 2]
    found = paired_areas(data[:, 3] == 1, reference, score)
    assert found is not None
    assert (found.positives, found.negatives) == (31, 12)
    assert found.first == pytest.approx(0.7258, abs=5e-5)
    assert found.second == pytest.approx(area, abs=5e-5)
    assert found.difference == pytest.approx(difference, abs=5e-5)
    assert found.interval == pytest.approx((low, high), abs=5e-5)
    assert found.p_value == pytest.approx(p_value, abs=5e-5)


def by_the_paper(positive: NDArray[np.bool_], *scores: NDArray[Any]) -> tuple[float, float]:
    """Return difference and variance by the paper's formulas, with all pairs in a matrix."""
    kernels = [
        np.sign(score[positive][:, None] - score[~positive][None, :]).astype(float) / 2 + 0.5
        for score in scores
    ]
    v10 = [kernel.mean(axis=1) for kernel in kernels]
    v01 = [kernel.mean(axis=0) for kernel in kernels]
    areas = [kernel.mean() for kernel in kernels]
    covariance = np.cov(v10) / positive.sum() + np.cov(v01) / (~positive).sum()
    contrast = np.array([-1.0, 1.0])
    return areas[1] - areas[0], float(contrast @ covariance @ contrast)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 40), st.integers(2, 30))
def test_areas_are_those_of_the_paper(
    seed: int, positives: int, negatives: int, levels: int
) -> None:
    """With any ties, difference and variance are those of a direct computation over all pairs."""
    random = np.random.default_rng(seed)
    positive = random.permutation(np.arange(positives + negatives) < positives)
    scores = [(random.integers(0, levels, positive.size) / levels).astype(np.float32) for _ in "ab"]
    difference, variance = by_the_paper(positive, *scores)
    found = paired_areas(positive, scores[0], scores[1])
    assert found is not None
    assert found.first == pytest.approx(roc_auc_score(positive, scores[0]))
    assert found.difference == pytest.approx(difference, abs=1e-12)
    if found.interval is None:
        assert variance == pytest.approx(0, abs=1e-12)
    else:
        half = NormalDist().inv_cdf(0.975) * math.sqrt(variance)
        expected = (max(difference - half, -1), min(difference + half, 1))
        assert found.interval == pytest.approx(expected, abs=1e-6)


def test_coverage_of_the_areas() -> None:
    """The interval holds the true difference in about 95% of simulated comparisons."""
    random = np.random.default_rng(5)
    inside = rejected = 0
    runs, normal = 1000, NormalDist()
    truth = normal.cdf(1.0 / math.sqrt(2)) - normal.cdf(1.4 / math.sqrt(2))
    for _ in range(runs):
        positive = np.arange(120) < 50
        shared = random.standard_normal(120)
        first, second, third = (
            0.7 * shared + math.sqrt(0.51) * random.standard_normal(120) + shift * positive
            for shift in (1.4, 1.0, 1.4)
        )
        found, same = paired_areas(positive, first, second), paired_areas(positive, first, third)
        assert found is not None
        assert same is not None
        assert found.interval is not None
        assert same.p_value is not None
        inside += found.interval[0] <= truth <= found.interval[1]
        rejected += same.p_value < 0.05
    assert 0.93 <= inside / runs <= 0.97
    assert 0.03 <= rejected / runs <= 0.07


def test_areas_that_cannot_differ() -> None:
    """The same order twice gives a difference of 0 and no interval; one class gives nothing."""
    positive = np.array([True, True, False, False, False])
    score = np.array([0.9, 0.3, 0.5, 0.2, 0.1])
    found = paired_areas(positive, score, score**2)
    assert found is not None
    assert (found.difference, found.interval, found.p_value) == (0.0, None, None)
    assert paired_areas(positive | True, score, score) is None
    one = paired_areas(np.arange(5) == 1, score, score[::-1])
    assert one is not None
    assert one.interval is None
    with pytest.raises(ValueError, match="NaN"):
        paired_areas(positive, score, score * np.nan)


def test_published_proportions() -> None:
    """Airway hyper-responsiveness before and after transplantation (Bentur 2009): 1, 1, 7, 12.

    p-values and the interval are those of Fagerland, Lydersen and Laake (2013, 2014).
    """
    assert difference_interval(1, 1, 7, 12) == pytest.approx((-0.507, -0.026), abs=5e-4)
    before = np.repeat([True, True, False, False], [1, 1, 7, 12])
    after = np.repeat([True, False, True, False], [1, 1, 7, 12])
    found = paired_proportions(before, after)
    assert found is not None
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 1, 7, 12)
    assert found.exact
    assert found.p_value == pytest.approx(0.070, abs=5e-4)
    assert found.difference == pytest.approx(6 / 21)
    assert found.interval == pytest.approx((0.026, 0.507), abs=5e-4)


def test_mcnemar_of_many() -> None:
    """With 25 discordant pairs and more, p is that of (b - c)^2 / (b + c), chi-squared."""
    first = np.repeat([True, False, True], [15, 10, 30])
    second = np.repeat([False, True, True], [15, 10, 30])
    found = paired_proportions(first, second)
    assert found is not None
    assert not found.exact
    assert found.only_first + found.only_second == FEW
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(25 / 25 / 2)))


def test_no_discordant_pair() -> None:
    """Where the two always agree the difference is 0, p is 1, and the interval has a width."""
    right = np.arange(40) < 30
    found = paired_proportions(right, right)
    assert found is not None
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert found.interval[0] <= 0 <= found.interval[1]
    assert paired_proportions(right[:0], right[:0]) is None


def test_coverage_of_the_proportions() -> None:
    """The interval of a difference holds the true one in about 95% of simulated comparisons."""
    random = np.random.default_rng(7)
    runs, inside = 2000, 0
    for _ in range(runs):
        both, first, second, neither = random.multinomial(150, [0.78, 0.12, 0.05, 0.05])
        low, high = difference_interval(int(both), int(first), int(second), int(neither))
        inside += low <= 0.07 <= high
    assert 0.93 <= inside / runs <= 0.975


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4).filter(any))
def test_intervals_of_differences(counts: list[int]) -> None:
    """The interval holds the difference, lies within [-1, 1], and turns round with its order."""
    both, first, second, neither = counts
    low, high = difference_interval(both, first, second, neither)
    difference = (first - second) / sum(counts)
    assert -1 - 1e-9 <= low <= difference + 1e-12
    assert difference - 1e-12 <= high <= 1 + 1e-9
    turned = difference_interval(both, second, first, neither)
    assert turned == pytest.approx((-high, -low), abs=1e-12)
