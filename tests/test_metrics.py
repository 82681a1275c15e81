"""Figures and their intervals: against published examples, scikit-learn and simulation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as reference

from batchscan.errors import BatchscanError, LabelError, UsageError
from batchscan.labels.file import read_labels
from batchscan.labels.lookup import LabelTable
from batchscan.metrics.figures import AGAINST_THE_REST, class_figures
from batchscan.metrics.measure import (
    METRICS_SCHEMA,
    Metric,
    MetricsReport,
    compute_metrics,
    figures,
    measure,
    metrics_from_result,
    write_metrics,
)
from batchscan.metrics.outcomes import ClassOutcomes, Outcomes, likeliest, predicted_positive
from batchscan.metrics.statistics import (
    delong_interval,
    f1_interval,
    mean_interval,
    roc_auc,
    wilson_interval,
)
from batchscan.metrics.table import render_metrics
from batchscan.schema import RESULT_SCHEMA

CLASSES = ("NORMAL", "PNEUMONIA")

# Scores with many ties, down to denormal numbers, exact in float32.
SCORES = st.integers(0, 12).map(lambda step: step / 16) | st.floats(0, 1, width=32)
SAMPLES = st.lists(st.tuples(st.booleans(), SCORES), min_size=2, max_size=60)


def arrays(sample: list[tuple[bool, float]]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    truth, score = zip(*sample, strict=True)
    return np.array(truth, dtype=bool), np.array(score, dtype=np.float32)


def names(truth: NDArray[np.bool_]) -> list[str]:
    return [CLASSES[int(positive)] for positive in truth]


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.metric: metric for metric in metrics}


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes: int, n: int, low: float, high: float) -> None:
    """Wilson's interval is the published one."""
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**7), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.999]))
def test_wilson_as_scipy(n: int, share: float, confidence: float) -> None:
    """Wilson's interval is SciPy's, holds the estimate, and ends at exactly 0 or 1."""
    successes = round(share * n)
    interval = wilson_interval(successes, n, confidence)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert interval == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    assert interval is not None
    assert 0 <= interval[0] <= successes / n <= interval[1] <= 1
    assert (interval[0] == 0) == (successes == 0)
    assert (interval[1] == 1) == (successes == n)


def test_wilson_without_images() -> None:
    """No images, no interval; an impossible count is an error of the caller."""
    assert wilson_interval(0, 0) is None
    for successes, n in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
            wilson_interval(successes, n)


def rating_data() -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """CT images of 109 patients, rated 1 to 5: Hanley and McNeil (1982), Radiology 143, 29-36."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    rating = np.repeat(np.tile(np.arange(1.0, 6.0), 2), normal + abnormal)
    return np.repeat([False, True], [58, 51]), rating.astype(np.float32)


def test_delong_as_published() -> None:
    """Area and DeLong's standard error of the classic rating data are those that Stata prints.

    Stata's manual, `roctab`: area 0.8932, interval 0.83295 to 0.95339 (symmetric around it).
    """
    truth, rating = rating_data()
    area, interval = roc_auc(truth, rating), delong_interval(truth, rating)
    assert area == pytest.approx(0.8932, abs=5e-5)
    assert area is not None
    assert interval is not None
    low, high = (math.log(bound / (1 - bound)) for bound in interval)
    assert (low + high) / 2 == pytest.approx(math.log(area / (1 - area)))
    half = (high - low) / 2 * area * (1 - area)
    assert (area - half, area + half) == pytest.approx((0.83295, 0.95339), abs=5e-6)


def delong_by_definition(truth: NDArray[np.bool_], score: NDArray[np.float32]) -> float:
    """The variance as in DeLong et al. (1988), pair by pair."""
    pairs = np.sign(score[truth][:, None] - score[~truth][None, :].astype(np.float64)) / 2 + 0.5
    of_positives, of_negatives = pairs.mean(axis=1), pairs.mean(axis=0)
    return float(
        of_positives.var(ddof=1) / of_positives.size + of_negatives.var(ddof=1) / of_negatives.size
    )


@given(SAMPLES)
def test_auc_and_its_interval(sample: list[tuple[bool, float]]) -> None:
    """The area is scikit-learn's, ties included; the interval is DeLong's, or honest about why not.

    It holds the estimate and stays within [0, 1].
    """
    truth, score = arrays(sample)
    if truth.all() or not truth.any():
        assert roc_auc(truth, score) is None
        assert delong_interval(truth, score) is None
        return
    area, interval = roc_auc(truth, score), delong_interval(truth, score)
    assert area == pytest.approx(reference.roc_auc_score(truth, score.astype(float)), abs=1e-12)
    assert area is not None
    smaller = min(truth.sum(), (~truth).sum())
    if area in (0, 1):
        assert interval is not None
    elif smaller < 2 or delong_by_definition(truth, score) < 1e-20:
        assert interval is None
        return
    else:
        assert interval is not None
        half = 1.959964 * math.sqrt(delong_by_definition(truth, score)) / (area * (1 - area))
        logits = [math.log(area / (1 - area)) + sign * half for sign in (-1, 1)]
        assert interval == pytest.approx([1 / (1 + math.exp(-x)) for x in logits], rel=1e-4)
    assert 0 <= interval[0] <= area <= interval[1] <= 1


@given(SAMPLES)
def test_auc_depends_on_order_alone(sample: list[tuple[bool, float]]) -> None:
    """A transformation that keeps the order of scores changes neither area nor interval."""
    truth, score = arrays(sample)
    ranks = np.unique(score, return_inverse=True)[1].astype(np.float32)
    assert roc_auc(truth, score) == roc_auc(truth, ranks)
    assert delong_interval(truth, score) == delong_interval(truth, ranks)


@given(SAMPLES)
def test_auc_of_swapped_classes(sample: list[tuple[bool, float]]) -> None:
    """Swapping the classes mirrors area and interval at one half."""
    truth, score = arrays(sample)
    area, swapped = roc_auc(truth, score), roc_auc(~truth, score)
    interval, mirror = delong_interval(truth, score), delong_interval(~truth, score)
    assert (area is None, interval is None) == (swapped is None, mirror is None)
    if area is not None:
        assert swapped == pytest.approx(1 - area)
    if interval is not None:
        assert mirror == pytest.approx((1 - interval[1], 1 - interval[0]), abs=1e-9)


def test_auc_of_separated_classes() -> None:
    """A perfect area of few images isn't certain: its lower bound is exact for the worst case.

    An area of `low` puts k independent pairs in order with a probability of `low ** k`, 2.5%.
    """
    truth = np.repeat([False, True], [12, 10])
    interval = delong_interval(truth, np.arange(22, dtype=np.float32))
    assert interval == (pytest.approx(0.025**0.1), 1.0)
    backwards = delong_interval(truth, -np.arange(22, dtype=np.float32))
    assert backwards == (0.0, pytest.approx(1 - 0.025**0.1))
    single = delong_interval(np.array([True, False]), np.array([0.9, 0.1], dtype=np.float32))
    assert single == (pytest.approx(0.025), 1.0)


def test_auc_of_what_says_nothing() -> None:
    """Scores that are all the same have an area of one half, but no interval."""
    truth = np.repeat([False, True], [5, 7])
    for value in (0.5, 1 / 3):
        score = np.full(12, value, dtype=np.float32)
        assert roc_auc(truth, score) == 0.5
        assert delong_interval(truth, score) is None
    with pytest.raises(ValueError, match="NaN"):
        roc_auc(truth, np.full(12, np.nan, dtype=np.float32))


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_f1_interval(tp: int, fp: int, fn: int) -> None:
    """The interval of F1 holds F1, stays within [0, 1], and is never a single point."""
    interval = f1_interval(tp, fp, fn)
    if tp + fp + fn == 0:
        assert interval is None
        return
    assert interval is not None
    assert 0 <= interval[0] <= 2 * tp / (2 * tp + fp + fn) <= interval[1] <= 1
    assert interval[0] < interval[1]


def test_f1_interval_as_bootstrap() -> None:
    """With plenty of images and errors, it agrees with the bootstrap of the images."""
    tp, fp, fn, tn = 780, 60, 90, 270
    draws = np.random.default_rng(3).multinomial(1200, np.array([tp, fp, fn, tn]) / 1200, 20_000)
    f1 = 2 * draws[:, 0] / (2 * draws[:, 0] + draws[:, 1] + draws[:, 2])
    assert f1_interval(tp, fp, fn) == pytest.approx(np.quantile(f1, [0.025, 0.975]), abs=0.002)


def coverage(
    interval: Callable[[np.random.Generator], tuple[float, float] | None],
    true: float,
    repeats: int = 1500,
) -> float:
    """Return the share of simulated intervals that hold the true value."""
    rng = np.random.default_rng(20)
    hits = 0
    for _ in range(repeats):
        bounds = interval(rng)
        hits += bounds is not None and bounds[0] <= true <= bounds[1]
    return hits / repeats


@pytest.mark.parametrize(("positives", "negatives", "shift"), [(40, 60, 2.0), (150, 50, 1.0)])
def test_coverage_of_auc(positives: int, negatives: int, shift: float) -> None:
    """About 95% of the intervals hold the true area: two normal distributions, `shift` apart."""
    truth = np.repeat([True, False], [positives, negatives])

    def simulate(rng: np.random.Generator) -> tuple[float, float] | None:
        return delong_interval(truth, rng.normal(size=truth.size) + shift * truth)

    assert 0.93 <= coverage(simulate, stats.norm.cdf(shift / math.sqrt(2))) <= 0.975


@pytest.mark.parametrize("chances", [(0.55, 0.06, 0.04, 0.35), (0.05, 0.02, 0.01, 0.92)])
def test_coverage_of_f1(chances: tuple[float, ...]) -> None:
    """About 95% of the intervals hold the true F1, where positives are many and where few."""
    tp, fp, fn, _ = chances

    def simulate(rng: np.random.Generator) -> tuple[float, float] | None:
        drawn = rng.multinomial(400, chances)
        return f1_interval(int(drawn[0]), int(drawn[1]), int(drawn[2]))

    assert 0.93 <= coverage(simulate, 2 * tp / (2 * tp + fp + fn)) <= 0.975


@pytest.mark.parametrize("chances", [(0.95, 0.7, 0.4), (0.99, 0.98, 0.9)])
def test_coverage_of_a_mean(chances: tuple[float, ...]) -> None:
    """About 95% of the intervals hold the true mean of three proportions, also near 1."""
    sizes = np.array([40, 100, 60])

    def simulate(rng: np.random.Generator) -> tuple[float, float] | None:
        pairs = list(zip(rng.binomial(sizes, chances).tolist(), sizes.tolist(), strict=True))
        intervals = [wilson_interval(part, n) or (0.0, 1.0) for part, n in pairs]
        return mean_interval([part / n for part, n in pairs], intervals)

    assert 0.93 <= coverage(simulate, float(np.mean(chances))) <= 0.98


def test_mean_of_one_proportion() -> None:
    """The interval of one proportion's mean is its own; of none there is none."""
    interval = wilson_interval(3, 7)
    assert interval is not None
    assert mean_interval([3 / 7], [interval]) == pytest.approx(interval)
    assert mean_interval([], []) is None


# ------------------------------------------------------------------- figures


@given(SAMPLES, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_figures_as_scikit_learn(sample: list[tuple[bool, float]], threshold: float) -> None:
    """Every figure is scikit-learn's where that is defined, and null where it isn't."""
    truth, score = arrays(sample)
    found = by_name(compute_metrics(score, names(truth), threshold=threshold, classes=CLASSES))
    predicted = score >= threshold
    tn, fp, fn, tp = reference.confusion_matrix(truth, predicted, labels=[False, True]).ravel()
    counts = ("true_negative", "false_positive", "false_negative", "true_positive")
    assert [found[name].value for name in counts] == [tn, fp, fn, tp]
    expected: dict[str, tuple[Callable[..., float], int]] = {
        "accuracy": (reference.accuracy_score, truth.size),
        "precision": (reference.precision_score, tp + fp),
        "recall": (reference.recall_score, tp + fn),
        "f1": (reference.f1_score, tp + fp + fn),
    }
    for name, (function, n) in expected.items():
        assert found[name].n == n
        value = float(function(truth, predicted)) if n else None
        assert found[name].value == (None if value is None else pytest.approx(value))
    assert found["specificity"].value == (pytest.approx(tn / (tn + fp)) if tn + fp else None)
    assert found["prevalence"].value == pytest.approx(truth.mean())
    assert found["threshold"].value == threshold


@given(SAMPLES)
def test_nothing_is_nan(sample: list[tuple[bool, float]]) -> None:
    """A figure is a number or null; an interval is whole, holds its value and stays in [0, 1]."""
    truth, score = arrays(sample)
    for metric in compute_metrics(score, names(truth), threshold=0.5, classes=CLASSES):
        assert metric.value is None or math.isfinite(metric.value)
        assert (metric.ci_low is None) == (metric.ci_high is None)
        if metric.ci_low is not None:
            assert metric.value is not None
            assert metric.ci_high is not None
            assert 0 <= metric.ci_low <= metric.value <= metric.ci_high <= 1


def test_one_class_only() -> None:
    """With one class, what compares classes is null, and what doesn't is there."""
    scores = np.array([0.9, 0.2], dtype=np.float32)
    found = by_name(compute_metrics(scores, ["PNEUMONIA"] * 2, threshold=0.5, classes=CLASSES))
    assert found["recall"].value == 0.5
    assert found["precision"].value == 1.0
    assert found["specificity"] == Metric("all", "specificity", None, None, None, 0)
    assert found["auc"] == Metric("all", "auc", None, None, None, 2)


def test_no_rows() -> None:
    """Without images every figure is null, and counts are 0."""
    found = by_name(compute_metrics([], [], threshold=0.5, classes=CLASSES))
    for name in ("prevalence", "accuracy", "precision", "recall", "specificity", "f1", "auc"):
        assert found[name] == Metric("all", name, None, None, None, 0)
    assert found["labelled"].value == found["true_positive"].value == 0


def test_failed_images_stay_visible() -> None:
    """Labelled images without a score are counted, and in no figure; unlabelled ones in none."""
    score = pa.array([0.9, None, math.nan, 0.1, 0.8], pa.float32())
    label = ["PNEUMONIA", "PNEUMONIA", "NORMAL", "NORMAL", None]
    for column in (score, score.to_numpy(zero_copy_only=False)):
        found = by_name(compute_metrics(column, label, threshold=0.5, classes=CLASSES))
        assert found["labelled"].value == 4
        assert found["labelled_not_scored"].value == 2
        assert found["accuracy"] == Metric("all", "accuracy", 1.0, *wilson_interval(2, 2), 2)  # type: ignore[misc]


def test_given_predictions() -> None:
    """Predictions that are given count, whatever the scores; each row names its subgroup."""
    rows = compute_metrics(
        np.array([0.9, 0.1], dtype=np.float32),
        np.array(["PNEUMONIA", "NORMAL"], dtype=object),
        prediction=pa.array(["NORMAL", "NORMAL"]).dictionary_encode(),
        threshold=0.5,
        classes=CLASSES,
        subgroup="site-a",
    )
    assert by_name(rows)["false_negative"].value == 1
    assert {row.subgroup for row in rows} == {"site-a"}


@pytest.mark.parametrize("column", ["label", "prediction"])
def test_foreign_classes(column: str) -> None:
    """A label that is neither class is refused, not counted as negative."""
    columns: dict[str, Any] = {"label": ["NORMAL"], "prediction": ["NORMAL"]}
    columns[column] = ["COVID"]
    with pytest.raises(UsageError, match=f"expected each {column} .* found 'COVID'"):
        compute_metrics(np.zeros(1, np.float32), threshold=0.5, classes=CLASSES, **columns)


def test_threshold_is_inclusive() -> None:
    """A score that equals the threshold is predicted positive; scores are compared unrounded."""
    scores = np.array([0.25, 0.7], dtype=np.float32)
    assert predicted_positive(scores, 0.25).tolist() == [True, True]
    assert predicted_positive(scores, float(scores[1])).tolist() == [False, True]
    assert predicted_positive(scores, 0.7).tolist() == [False, True]


# ------------------------------------------------- more than two classes

SEVERAL = ("NORMAL", "BACTERIA", "VIRUS", "COVID")
CLASS_SAMPLES = st.lists(
    st.tuples(st.integers(0, 3), st.tuples(SCORES, SCORES, SCORES, SCORES)), min_size=1, max_size=40
)


def of_classes(sample: list[tuple[int, tuple[float, ...]]], not_scored: int = 0) -> ClassOutcomes:
    truth, score = zip(*sample, strict=True)
    scores = np.array(score, dtype=np.float32)
    return ClassOutcomes(scores, np.array(truth, dtype=np.int64), likeliest(scores), not_scored)


def by_class(metrics: list[Metric]) -> dict[tuple[str, str | None], Metric]:
    return {(metric.metric, metric.class_name): metric for metric in metrics}


@given(CLASS_SAMPLES)
def test_class_figures_as_scikit_learn(sample: list[tuple[int, tuple[float, ...]]]) -> None:
    """Every figure is scikit-learn's where that is defined, and null where it isn't."""
    outcomes = of_classes(sample)
    found = by_class(class_figures(outcomes, SEVERAL))
    truth, predicted = outcomes.truth, outcomes.predicted
    confusion = reference.confusion_matrix(truth, predicted, labels=range(4))
    for number, label in enumerate(SEVERAL):
        counts = [found[f"predicted_{name}", label].value for name in SEVERAL]
        assert counts == confusion[number].tolist()
    assert found["accuracy", None].value == pytest.approx(np.mean(truth == predicted))
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        truth, predicted, labels=range(4), zero_division=np.nan
    )
    areas = []
    for number, label in enumerate(SEVERAL):
        own = truth == number
        both = own.any() and not own.all()
        areas.append(reference.roc_auc_score(own, outcomes.score[:, number]) if both else math.nan)
        rest = {
            "precision": precision[number],
            "recall": recall[number],
            "specificity": np.mean(predicted[~own] != number) if not own.all() else math.nan,
            "f1": f1[number],
            "auc": areas[number],
            "prevalence": np.mean(own),
        }
        for name, value in rest.items():
            expected = None if math.isnan(value) else pytest.approx(value)
            assert found[name, label].value == expected
    for name, values in (("balanced_accuracy", recall), ("macro_auc", areas)):
        mean = np.mean(values)
        assert found[name, None].value == (None if math.isnan(mean) else pytest.approx(mean))


@given(CLASS_SAMPLES)
def test_a_class_against_the_rest(sample: list[tuple[int, tuple[float, ...]]]) -> None:
    """A class's figures and intervals are those of two classes: that one, and all the others."""
    outcomes = of_classes(sample, not_scored=3)
    found = by_class(class_figures(outcomes, SEVERAL))
    for number, label in enumerate(SEVERAL):
        own = Outcomes(
            outcomes.score[:, number], outcomes.truth == number, outcomes.predicted == number
        )
        for metric in figures(own, 0.5):
            if metric.metric in AGAINST_THE_REST:
                assert found[metric.metric, label] == replace(metric, class_name=label)
    assert found["labelled", None].value == len(sample) + 3
    for metric in found.values():
        if metric.ci_low is not None and metric.ci_high is not None and metric.value is not None:
            assert 0 <= metric.ci_low <= metric.value <= metric.ci_high <= 1


def class_result(sample: list[tuple[int, tuple[float, ...]]]) -> pa.Table:
    outcomes = of_classes(sample)
    names = pa.array(SEVERAL)
    columns = {
        "status": ["scored"] * len(sample),
        "label": names.take(pa.array(outcomes.truth)),
        "prediction": names.take(pa.array(outcomes.predicted)).dictionary_encode(),
    }
    return pa.table(
        columns | {f"score_{name}": outcomes.score[:, n] for n, name in enumerate(SEVERAL)}
    )


CLASS_FOOTER = {
    "threshold": None,
    "model": {"name": "tiny", "digest": "0123456789abcdef", "classes": list(SEVERAL)},
}


@given(CLASS_SAMPLES)
def test_class_figures_of_batches(sample: list[tuple[int, tuple[float, ...]]]) -> None:
    """Figures of a result read in batches are those of all its rows; the table shows them."""
    report = measure(class_result(sample).to_batches(max_chunksize=3), CLASS_FOOTER)
    assert list(report.metrics) == class_figures(of_classes(sample), SEVERAL)
    assert (report.classes, report.threshold) == (SEVERAL, None)
    lines = render_metrics(report).splitlines()
    assert all(line.isascii() and len(line) < 80 for line in lines)
    assert [line.count(" against the rest") for line in lines].count(1) == len(SEVERAL)


def test_metrics_file_of_classes(tmp_path: Path) -> None:
    """With more than two classes the metrics file has one more column, `class`."""
    rows = class_figures(
        of_classes([(0, (0.7, 0.1, 0.1, 0.1)), (1, (0.2, 0.6, 0.1, 0.1))]), SEVERAL
    )
    write_metrics(rows, tmp_path / "m.parquet")
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.schema.names == ["subgroup", "class", *METRICS_SCHEMA.names[1:]]
    assert table["class"].to_pylist() == [row.class_name for row in rows]
    assert table["value"].to_pylist() == [row.value for row in rows]


def test_other_names_in_a_result_of_classes() -> None:
    """A label that is none of the model's classes is refused, with their names."""
    table = class_result([(0, (0.7, 0.1, 0.1, 0.1))])
    table = table.set_column(1, "label", pa.array(["PNEUMONIA"]))
    with pytest.raises(UsageError, match="NORMAL or BACTERIA or VIRUS or COVID, found 'PNEUMONIA'"):
        measure(table.to_batches(), CLASS_FOOTER)


# ------------------------------------------------------------------- results

FOOTER = {
    "threshold": 0.5,
    "model": {"name": "tiny", "digest": "0123456789abcdef", "classes": list(CLASSES)},
}


def result_table(label: list[str | None]) -> pa.Table:
    """Six images, the last one failed."""
    score = [0.1, 0.6, 0.4, 0.8, 0.9, None]
    columns: dict[str, Any] = {
        "path": [f"{letter}.jpeg" for letter in "abcdef"],
        "status": ["scored"] * 5 + ["failed"],
        "score": score,
        "prediction": [None if p is None else CLASSES[p >= 0.5] for p in score],
        "label": label,
    }
    nothing = [None] * 6
    return pa.table(
        {name: columns.get(name, nothing) for name in RESULT_SCHEMA.names}, schema=RESULT_SCHEMA
    )


LABELS = ["NORMAL", "NORMAL", "PNEUMONIA", "PNEUMONIA", None, "PNEUMONIA"]


def write_result(
    folder: Path, table: pa.Table, footer: object = FOOTER, key: str = "batchscan"
) -> Path:
    path = folder / "results.parquet"
    text = footer if isinstance(footer, str) else json.dumps(footer)
    pq.write_table(table.replace_schema_metadata({key: text}), path)
    return path


def label_file(folder: Path, content: str) -> LabelTable:
    (folder / "truth.csv").write_text(content)
    return read_labels(folder / "truth.csv", CLASSES)


def values(report: MetricsReport) -> list[float | None]:
    counts = ("true_positive", "false_positive", "true_negative", "false_negative")
    return [report.find(name).value for name in (*counts, "labelled", "labelled_not_scored")]


def test_metrics_of_a_result(tmp_path: Path) -> None:
    """A result file is all that is needed: classes and threshold come from its footer."""
    report = metrics_from_result(write_result(tmp_path, result_table(LABELS)))
    assert values(report) == [1, 1, 1, 1, 5, 1]
    assert report.find("auc").value == 0.75
    assert (report.classes, report.threshold, report.images) == (CLASSES, 0.5, 6)
    assert (report.model_name, report.model_digest) == ("tiny", "0123456789abcdef")
    with pytest.raises(KeyError):
        report.find("auk")


def test_dictionary_columns() -> None:
    """Columns stored as dictionaries, in any number of batches, give the same figures."""
    table = result_table(LABELS)
    plain = measure(table.to_batches(), FOOTER)
    for name in ("status", "prediction", "label"):
        position = table.column_names.index(name)
        table = table.set_column(position, name, table.column(name).dictionary_encode())
    assert measure(table.to_batches(max_chunksize=2), FOOTER) == plain


def test_labels_of_a_file_replace(tmp_path: Path) -> None:
    """With a label file, its labels alone count, and those without an image are counted."""
    path = write_result(tmp_path, result_table(LABELS))
    labels = label_file(tmp_path, "path,label\ne.jpeg,normal\nx/y.jpeg,normal\na.jpeg,normal\n")
    report = metrics_from_result(path, labels)
    assert values(report) == [0, 1, 1, 0, 2, 0]
    assert (report.unmatched_labels, report.unmatched_examples) == (1, ("x/y.jpeg",))
    assert "Paths of the label file without an image: 1, such as\n    x/y.jpeg\n" in render_metrics(
        report
    )


def test_nothing_labelled(tmp_path: Path) -> None:
    """Without labels there are no figures, but an error that says how to get them."""
    path = write_result(tmp_path, result_table([None] * 6))
    with pytest.raises(UsageError, match=r"results.parquet: expected labels .* --labels"):
        metrics_from_result(path)
    with pytest.raises(LabelError, match=r"truth.csv: expected paths .* 'z/a.jpeg'; write"):
        metrics_from_result(path, label_file(tmp_path, "path,label\nz/a.jpeg,normal\n"))
    for content in ("path,label\n", "path,label\na.jpeg,\n"):
        with pytest.raises(UsageError, match=r"truth.csv: expected labels"):
            metrics_from_result(path, label_file(tmp_path, content))


@pytest.mark.parametrize(
    ("footer", "key", "found"),
    [
        (FOOTER, "other", "Parquet from elsewhere"),
        ("{", "batchscan", "a footer that is damaged"),
        ("[]", "batchscan", "a footer that is damaged"),
        ({**FOOTER, "threshold": 50}, "batchscan", "a footer that is damaged"),
        ({**FOOTER, "threshold": None}, "batchscan", "a footer that is damaged"),
        ({**CLASS_FOOTER, "threshold": 0.5}, "batchscan", "a footer that is damaged"),
        ({**FOOTER, "model": {"name": "x", "digest": "x"}}, "batchscan", "a footer that is"),
        ({**FOOTER, "model": {**FOOTER["model"], "classes": ["x"]}}, "batchscan", "a footer"),  # type: ignore[dict-item]
    ],
)
def test_foreign_footers(tmp_path: Path, footer: object, key: str, found: str) -> None:
    """A file that isn't a result, by its footer, is refused in one line."""
    path = write_result(tmp_path, result_table(LABELS), footer, key)
    with pytest.raises(UsageError, match=f"results.parquet: expected a result .* found {found}"):
        metrics_from_result(path)


def test_foreign_files(tmp_path: Path) -> None:
    """A file that isn't Parquet, lacks a column or isn't there at all is refused in one line."""
    path = write_result(tmp_path, result_table(LABELS).drop_columns(["prediction"]))
    with pytest.raises(UsageError, match="found no column prediction"):
        metrics_from_result(path)
    (tmp_path / "text").write_text("path,label\n")
    with pytest.raises(UsageError, match=r"text: expected a result .* found something else"):
        metrics_from_result(tmp_path / "text")
    with pytest.raises(UsageError, match=r"absent: cannot be read \(No such file"):
        metrics_from_result(tmp_path / "absent")


def test_metrics_file(tmp_path: Path) -> None:
    """The metrics file is tidy, has its provenance, and no temporary file stays beside it."""
    report = measure(result_table(LABELS).to_batches(), FOOTER)
    path = tmp_path / "results.metrics.parquet"
    for _ in range(2):
        write_metrics(report.metrics, path, FOOTER)
    table = pq.read_table(path)
    assert table.schema.equals(METRICS_SCHEMA)
    assert [Metric(**row) for row in table.to_pylist()] == list(report.metrics)
    assert json.loads(table.schema.metadata[b"batchscan"]) == FOOTER
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_metrics_file_that_cannot_be_written(tmp_path: Path) -> None:
    """If the metrics can't be written, an older file stays as it was, and nothing half-written."""
    (tmp_path / "folder.parquet").mkdir()
    for path in (tmp_path / "absent" / "m.parquet", tmp_path / "folder.parquet"):
        with pytest.raises(BatchscanError, match="the metrics cannot be written"):
            write_metrics([], path)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.parquet"]


def test_table_for_the_terminal(tmp_path: Path) -> None:
    """The printed table: truth in rows, every figure with interval and n, failures said."""
    report = metrics_from_result(write_result(tmp_path, result_table(LABELS)))
    text = render_metrics(report)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "6 images, 5 labelled" in lines
    assert "Labelled images without a score, left out of all figures below: 1" in lines
    assert lines[lines.index("predicted") + 1 :][:3] == [
        "NORMAL PNEUMONIA",
        "labelled NORMAL 1 1",
        "labelled PNEUMONIA 1 1",
    ]
    assert "recall 0.500 0.095 to 0.905 2" in lines


def test_table_of_awkward_values() -> None:
    """Whatever names and numbers, the table is ASCII, narrow, and rounds nothing to 0 or 1."""
    classes = ["Übergröße " * 5, "PNEUMONIA\n" * 6]
    model = {"name": "läng" * 30, "digest": "f" * 64, "classes": classes}
    count = 30_000
    label = pa.array([classes[0]] * count + [classes[1]] * count).dictionary_encode()
    score = np.repeat(np.array([0.1, 0.9], np.float32), count)
    score[0] = 0.9
    columns = {"status": ["scored"] * 2 * count, "score": score, "label": label}
    codes = pa.array(score > 0.5).cast(pa.int32())
    columns["prediction"] = pa.DictionaryArray.from_arrays(codes, pa.array(classes))
    text = render_metrics(measure(pa.table(columns).to_batches(), {**FOOTER, "model": model}))
    assert text.isascii()
    assert max(map(len, text.splitlines())) < 80
    assert ">0.999" in text
    accuracy = next(line for line in text.splitlines() if line.startswith("accuracy"))
    assert "1.000" not in accuracy


@given(SAMPLES)
def test_figures_of_batches(sample: list[tuple[bool, float]]) -> None:
    """Figures of a result read in batches are those of its columns."""
    assume(len(sample) > 2)
    truth, score = arrays(sample)
    table = pa.table(
        {
            "status": ["scored"] * len(score),
            "score": score,
            "prediction": names(score >= 0.5),
            "label": names(truth),
        }
    )
    report = measure(table.to_batches(max_chunksize=3), FOOTER)
    assert list(report.metrics) == compute_metrics(
        score, names(truth), threshold=0.5, classes=CLASSES
    )
