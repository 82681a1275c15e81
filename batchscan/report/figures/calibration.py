"""Calibration: whether a score of 0.8 means that 8 of 10 such images are positive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import (
    Axis,
    BarChart,
    Bars,
    Block,
    Column,
    Estimate,
    Line,
    LineChart,
    Section,
    Table,
    Text,
)
from batchscan.report.figures.clusters import Patients
from batchscan.report.figures.gaps import clustering, left_out, nothing_to_measure, one_class_only
from batchscan.report.figures.recalibration import CLIP, Recalibration, recalibration_of
from batchscan.report.figures.reliability import EDGES, Bin, bins_of, brier_score, calibration_error
from batchscan.report.input.rows import Rows
from batchscan.report.input.selection import outcomes_of, patients_of

FEW = 100
"""With fewer images of a class than this, calibration isn't judged (Collins et al. 2016)."""

TOLERANCE = 0.1
"""A slope this far from 1, or an intercept this far from 0 (10% of the odds), is no fault yet."""

GAP = 0.05
"""A bin this far off (5 of 100 images) is no fault yet."""


def calibration_section(rows: Rows) -> Section:
    """Return a verdict, the figures of calibration, the reliability diagram and its counts.

    For two classes. Raises `UsageError` for a label that is no class name.
    """
    return Section("calibration", "Calibration", _blocks(rows))


def _blocks(rows: Rows) -> tuple[Block, ...]:
    if len(rows.classes) > 2:
        return (Text("two_classes_only", "Calibration is computed for two classes only.", "note"),)
    outcomes = outcomes_of(rows)
    if gap := nothing_to_measure(rows, outcomes) or one_class_only(rows, outcomes):
        return (gap,)
    if gap := _no_probabilities(outcomes):
        return (gap,)
    patient = patients_of(rows)
    bins = bins_of(outcomes, patient)
    fitted = recalibration_of(outcomes, patient)
    return (
        calibration_verdict(fitted, bins),
        *left_out(outcomes),
        *clustering(patient),
        _figures_table(outcomes, bins, fitted, patient),
        _diagram(bins),
        _histogram(rows, bins),
        _bins_table(bins),
    )


def _no_probabilities(outcomes: Outcomes) -> Text | None:
    outside = int(((outcomes.score < 0) | (outcomes.score > 1)).sum())
    if not outside:
        return None
    text = f"{outside:,} scores are below 0 or above 1: they are no probabilities to be calibrated."
    return Text("no_probabilities", text, "warning")


def calibration_verdict(fitted: Recalibration, bins: Sequence[Bin]) -> Text:
    """Say in a line whether scores can be read as probabilities. The rule:

    1. With fewer than `FEW` images of a class it isn't judged; nor without a slope, unless a bin
       is off as in 3.
    2. An intercept (in the large) further than `TOLERANCE` from 0, and a slope further than that
       from 1, are faults if their intervals exclude 0 and 1.
    3. Without such a fault, two bins or more, each of at least `FEW` images, whose intervals miss
       the mean score and whose shares are further than `GAP` from it, are one.
    4. Without any fault scores are well calibrated if both intervals are within twice the
       tolerance; else it is said that a fault cannot be ruled out.
    """
    fewest = min(sum(each.positives for each in bins), sum(each.negatives for each in bins))
    if fewest < FEW:
        text = f"Too few images to judge: {fewest:,} of one class, and at least {FEW} are needed."
        return Text("verdict", text, "note")
    judged = fitted.slope.low is not None and fitted.in_the_large.low is not None
    faults = (_faults(fitted) or _faults_of_bins(bins, 2)) if judged else _faults_of_bins(bins, 1)
    if not judged and not faults:
        text = "The calibration can't be judged: its slope or its intervals cannot be computed."
        return Text("verdict", text, "note")
    if faults:
        text = f"Scores should not be read as probabilities here: they are {' and '.join(faults)}."
        return Text("verdict", text, "warning")
    if _is_narrow(fitted.slope, 1.0) and _is_narrow(fitted.in_the_large, 0.0):
        return Text("verdict", "Well calibrated: scores can be read as probabilities here.", "good")
    text = "No fault was found in the calibration, but with these images one can't be ruled out."
    return Text("verdict", text, "note")


def _faults(fitted: Recalibration) -> list[str]:
    faults = []
    if (side := _side(fitted.in_the_large, 0.0)) != 0:
        faults.append("too low on average" if side > 0 else "too high on average")
    if (side := _side(fitted.slope, 1.0)) != 0:
        faults.append("not extreme enough" if side > 0 else "too extreme")
    return faults


def _faults_of_bins(bins: Sequence[Bin], fewest: int) -> list[str]:
    """Say in how many bins scores are off, if it is so in `fewest` of them."""
    off = sum(1 for each in bins if each.n >= FEW and _is_off(each))
    points = f"{100 * GAP:g} percentage points"
    return [f"off by more than {points} in {off} of 10 ranges"] if off >= fewest else []


def _is_off(each: Bin) -> bool:
    interval = each.observed.interval()
    if each.mean_score is None or each.observed.share is None or interval is None:
        return False
    missed = not interval[0] <= each.mean_score <= interval[1]
    return missed and abs(each.observed.share - each.mean_score) > GAP


def _side(estimate: Estimate, ideal: float) -> int:
    """Return 1 or -1 where an estimate is above or below its ideal by more than it may be."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None or low is None or high is None or low <= ideal <= high:
        return 0
    return int(np.sign(value - ideal)) if abs(value - ideal) > TOLERANCE else 0


def _is_narrow(estimate: Estimate, ideal: float) -> bool:
    bounds = (estimate.low, estimate.high)
    return all(bound is not None and abs(bound - ideal) <= 2 * TOLERANCE for bound in bounds)


def _figures_table(
    outcomes: Outcomes, bins: Sequence[Bin], fitted: Recalibration, patient: Patients | None
) -> Table:
    n = outcomes.score.size
    figures = (
        ("Share of images labelled positive", Estimate(float(outcomes.positive.mean()), n=n)),
        ("Mean score", Estimate(float(outcomes.score.mean(dtype=np.float64)), n=n)),
        ("Brier score", brier_score(outcomes, patient)),
        ("Expected calibration error", Estimate(calibration_error(bins), n=n)),
        ("Calibration in the large (ideal: 0)", fitted.in_the_large),
        ("Calibration intercept, with the slope (ideal: 0)", fitted.intercept),
        ("Calibration slope (ideal: 1)", fitted.slope),
    )
    variance = "clustered by patient (Liang and Zeger 1986)" if patient is not None else "Wald's"
    note = (
        "Brier score: normal interval of a mean. Calibration error: ten bins of equal width; with "
        "few images it comes out too high. In the large, intercept and slope: logistic regression "
        f"of the labels on the logit of the score, in the large with a slope of 1; intervals "
        f"{variance}. Scores within {CLIP:g} of 0 or 1 ({fitted.clipped:,}) are taken as that; "
        "where all are, these three cannot be computed. All this holds where as many images are "
        "positive as here: with another prevalence the same scores are too high or too low."
    )
    columns = (
        Column("figure", "Figure"),
        Column("estimate", "Estimate (95% interval)", "figure"),
    )
    return Table("calibration", "Figures of calibration", columns, figures, note)


def _diagram(bins: Sequence[Bin]) -> LineChart:
    points = []
    for each in bins:
        if each.mean_score is not None and each.observed.share is not None:
            bounds = each.observed.interval() or (0.0, 1.0)
            points.append((each.mean_score, each.observed.share, *bounds))
    x, y, low, high = zip(*points, strict=True)
    worst = max(points, key=lambda point: abs(point[0] - point[1]))
    return LineChart(
        "reliability",
        "Reliability diagram: the share of positive images by score, in ten bins, with Wilson's "
        "intervals. On the diagonal a score is a probability.",
        f"The largest distance from the diagonal: of the images with scores around {worst[0]:.2f}, "
        f"{worst[1]:.1%} are positive.",
        Axis("Mean score", 0, 1, "figure"),
        Axis("Share labelled positive", 0, 1, "percent"),
        (
            Line("Model", x, y, low, high),
            Line("Perfect calibration", (0.0, 1.0), (0.0, 1.0), dashed=True),
        ),
    )


def _histogram(rows: Rows, bins: Sequence[Bin]) -> BarChart:
    negatives = tuple(float(each.negatives) for each in bins)
    positives = tuple(float(each.positives) for each in bins)
    fullest = max(bins, key=lambda each: each.n)
    return BarChart(
        "reliability_counts",
        "Labelled images by score: what the reliability diagram rests on",
        f"Most images, {fullest.n:,}, have scores from {fullest.low:.1f} to {fullest.high:.1f}.",
        Axis("Score", 0, 1, "figure"),
        Axis("Images", 0, max(negatives + positives), "count"),
        EDGES,
        (Bars(rows.classes[0], negatives), Bars(rows.classes[1], positives)),
        () if rows.threshold is None else (("Threshold", rows.threshold),),
    )


def _bins_table(bins: Sequence[Bin]) -> Table:
    return Table(
        "reliability_bins",
        "The reliability diagram in numbers",
        (
            Column("scores", "Scores"),
            Column("n", "Images", "count"),
            Column("mean_score", "Mean score", "figure"),
            Column("observed", "Share labelled positive", "percent"),
        ),
        tuple(
            (
                f"{each.low:.1f} to {each.high:.1f}",
                each.n,
                each.mean_score,
                each.observed.estimate() if each.n else None,
            )
            for each in bins
        ),
    )
