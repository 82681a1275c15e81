"""Operating points: the thresholds at which a stated share of the positives is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from batchscan.metrics.outcomes import Outcomes, predicted_positive
from batchscan.report.document import Column, Table, Value
from batchscan.report.figures.clusters import Patients
from batchscan.report.figures.curves import Thresholds
from batchscan.report.figures.prevalence import negative_value_at, positive_value_at
from batchscan.report.figures.rates import Rates, rates_of

SENSITIVITIES = tuple(Fraction(share) for share in ("0.9", "0.95", "0.975", "0.99"))


@dataclass(frozen=True)
class OperatingPoint:
    """The highest threshold that reaches the `target` sensitivity, and the rates at it."""

    target: Fraction
    threshold: float
    rates: Rates


def operating_points(
    outcomes: Outcomes, thresholds: Thresholds, patient: Patients | None
) -> list[OperatingPoint]:
    """Return a point for each of `SENSITIVITIES`, of images of both classes."""
    points = []
    for target in SENSITIVITIES:
        needed = -(-target.numerator * thresholds.positives // target.denominator)
        number = int(np.searchsorted(thresholds.true_positive, needed))
        threshold = float(thresholds.score[number])
        moved = replace(outcomes, predicted=predicted_positive(outcomes.score, threshold))
        points.append(OperatingPoint(target, threshold, rates_of(moved, patient)))
    return points


def operating_table(points: list[OperatingPoint], prevalence: float | None) -> Table:
    """Lay the points out, with predictive values at `prevalence` too where one is given."""
    columns = [
        Column("target", "Sensitivity of at least"),
        Column("threshold", "Threshold", "score"),
        Column("sensitivity", "Sensitivity", "percent"),
        Column("specificity", "Specificity", "percent"),
        Column("ppv", "PPV", "percent"),
        Column("npv", "NPV", "percent"),
    ]
    if prevalence is not None:
        at = f"at a prevalence of {prevalence:.4g}"
        columns.append(Column("ppv_at_prevalence", f"PPV {at}", "percent"))
        columns.append(Column("npv_at_prevalence", f"NPV {at}", "percent"))
    return Table(
        "operating_points",
        "Operating points: the highest threshold that reaches a sensitivity",
        tuple(columns),
        tuple(_row(point, prevalence) for point in points),
        "These thresholds were chosen on these very images: on others the sensitivity may "
        "well be lower. Intervals are Wilson's, as if the threshold had been known before. "
        "Thresholds are rounded here; the JSON file has them in full.",
    )


def _row(point: OperatingPoint, prevalence: float | None) -> tuple[Value, ...]:
    rates = point.rates
    shown: tuple[Value, ...] = (
        f"{float(100 * point.target):g}%",
        point.threshold,
        rates.sensitivity.estimate(),
        rates.specificity.estimate(),
        rates.positive_value.estimate(),
        rates.negative_value.estimate(),
    )
    if prevalence is None:
        return shown
    return (*shown, positive_value_at(rates, prevalence), negative_value_at(rates, prevalence))
