"""Discrimination: how well the scores tell positive images from negative ones."""

from __future__ import annotations

from batchscan.errors import UsageError
from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import (
    Axis,
    Block,
    Column,
    Estimate,
    Line,
    LineChart,
    Mark,
    Section,
    Table,
    Text,
    Value,
)
from batchscan.report.figures.agreement import f1_score
from batchscan.report.figures.area import area_of
from batchscan.report.figures.average_precision import average_precision
from batchscan.report.figures.clusters import Patients, confusion_of_patients
from batchscan.report.figures.curves import (
    Curve,
    Thresholds,
    drawn_rates,
    precision_recall_curve,
    roc_curve,
    thresholds_of,
)
from batchscan.report.figures.gaps import clustering, left_out, nothing_to_measure, one_class_only
from batchscan.report.figures.operating_points import operating_points, operating_table
from batchscan.report.figures.rates import Rates, rates_of, rates_of_cells
from batchscan.report.figures.threshold_tables import (
    agreement_table,
    confusion_table,
    one_class_table,
    rates_table,
)
from batchscan.report.figures.worst_case import worst_case_table
from batchscan.report.input.rows import Rows
from batchscan.report.input.selection import class_outcomes_of, outcomes_of, patients_of


def discrimination_section(rows: Rows, prevalence: float | None = None) -> Section:
    """Return curves, areas, the figures at the threshold, and operating points.

    `prevalence`, above 0 and below 1, is that of the people who will be screened: predictive values
    are also given for it. For more than two classes there is a table of each against the rest.
    Raises `UsageError` for an impossible prevalence, or a label that is no class name.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(f"expected a prevalence above 0 and below 1, found {prevalence}")
    blocks = _of_two(rows, prevalence) if len(rows.classes) == 2 else _of_more(rows)
    return Section("discrimination", "Discrimination", blocks)


def _of_two(rows: Rows, prevalence: float | None) -> tuple[Block, ...]:
    outcomes = outcomes_of(rows)
    if gap := nothing_to_measure(rows, outcomes):
        return (gap,)
    patient = patients_of(rows)
    cells = None if patient is None else confusion_of_patients(outcomes, patient)
    rates = rates_of(outcomes) if cells is None else rates_of_cells(cells)
    notes = (*left_out(outcomes), *clustering(patient))
    confusion = confusion_table(rates, rows.classes)
    clustered = patient is not None
    if gap := one_class_only(rows, outcomes):
        worst = worst_case_table(rows, rates)
        return (gap, *notes, confusion, one_class_table(rates, clustered), *worst)
    return (
        *notes,
        *_curve_blocks(rows, outcomes, rates, prevalence, patient),
        confusion,
        rates_table(rates, prevalence, clustered),
        *worst_case_table(rows, rates),
        agreement_table(rates, cells),
    )


def _curve_blocks(
    rows: Rows,
    outcomes: Outcomes,
    rates: Rates,
    prevalence: float | None,
    patient: Patients | None,
) -> tuple[Block, ...]:
    """Return what is made of all thresholds: areas, both curves, operating points."""
    thresholds = thresholds_of(outcomes, patient)
    drawn = drawn_rates(thresholds)
    area = area_of(outcomes, patient)
    assert area is not None  # Both classes are there.
    auc, precision = area.estimate(), average_precision(thresholds)
    points = operating_points(outcomes, thresholds, patient)
    return (
        *_worse_than_chance(auc),
        _areas_table(auc, precision, patient is not None),
        _roc_chart(rows, roc_curve(drawn), rates, auc, patient is not None),
        _precision_chart(rows, thresholds, precision_recall_curve(drawn), rates, precision),
        operating_table(points, prevalence),
    )


def _worse_than_chance(auc: Estimate) -> tuple[Text, ...]:
    """Warn of scores that order the images the wrong way round."""
    if auc.high is None or auc.high >= 0.5:
        return ()
    text = (
        "The scores order the images worse than chance would (AUC below 0.5): the labels may be "
        "swapped, or of other images."
    )
    return (Text("worse_than_chance", text, "warning"),)


def _areas_table(auc: Estimate, precision: Estimate, clustered: bool) -> Table:
    area_method = "Obuchowski 1997 (DeLong's for clusters)" if clustered else "DeLong 1988"
    units = "patients" if clustered else "images"
    return Table(
        "areas",
        "Areas under the curves",
        (
            Column("figure", "Figure"),
            Column("estimate", "Estimate (95% interval)", "figure"),
            Column("n", "Images", "count"),
        ),
        (
            ("Area under the ROC curve (AUC)", auc, auc.n),
            ("Average precision", precision, precision.n),
        ),
        f"Computed over all images, ties counting one half. Intervals, on the logit scale: AUC: "
        f"{area_method}; average precision: infinitesimal jackknife over {units}.",
    )


def _roc_chart(rows: Rows, curve: Curve, rates: Rates, auc: Estimate, clustered: bool) -> LineChart:
    sensitivity, specificity = rates.sensitivity.share or 0.0, rates.specificity.share or 0.0
    return LineChart(
        "roc",
        "ROC curve. The band is pointwise, 95%: at each threshold Wilson's intervals of both "
        f"rates{', clustered by patient' * clustered}, put together (MOVER).",
        f"The area under the curve is {auc.value:.3f}. At the threshold of {rows.threshold:.4g}, "
        f"{sensitivity:.1%} of the positive images are found, and {1 - specificity:.1%} of the "
        "negative ones are taken for positive.",
        Axis("1 - specificity", 0, 1, "percent"),
        Axis("Sensitivity", 0, 1, "percent"),
        (
            _line("Model", curve),
            Line("Chance", (0.0, 1.0), (0.0, 1.0), dashed=True),
        ),
        (Mark(f"Threshold {rows.threshold:.4g}", 1 - specificity, sensitivity),),
    )


def _precision_chart(
    rows: Rows, thresholds: Thresholds, curve: Curve, rates: Rates, precision: Estimate
) -> LineChart:
    share = thresholds.positives / thresholds.positive.size
    marks: tuple[Mark, ...] = ()
    if rates.positive_value.share is not None:
        found = rates.sensitivity.share or 0.0
        marks = (Mark(f"Threshold {rows.threshold:.4g}", found, rates.positive_value.share),)
    return LineChart(
        "precision_recall",
        "Precision-recall curve. The band is pointwise, 95%: Wilson's interval of the positive "
        "predictive value at each threshold.",
        f"The average precision is {precision.value:.3f}; that of chance is the share of positive "
        f"images, {share:.1%}.",
        Axis("Sensitivity (recall)", 0, 1, "percent"),
        Axis("Positive predictive value (precision)", 0, 1, "percent"),
        (
            _line("Model", curve),
            Line("Chance", (0.0, 1.0), (share, share), dashed=True),
        ),
        marks,
    )


def _line(label: str, curve: Curve) -> Line:
    x, y, low, high = (tuple(each.tolist()) for each in (curve.x, curve.y, curve.low, curve.high))
    return Line(label, x, y, low, high)


def _of_more(rows: Rows) -> tuple[Block, ...]:
    """Return the figures of each class against the rest, of three or more."""
    outcomes = class_outcomes_of(rows)
    if gap := nothing_to_measure(rows, outcomes):
        return (gap,)
    patient = patients_of(rows)
    table = tuple(
        _class_row(name, outcomes.against_the_rest(number), patient)
        for number, name in enumerate(rows.classes)
    )
    titles = ("AUC", "Average precision", "Sensitivity", "Specificity", "PPV", "NPV", "F1")
    keys = ("auc", "average_precision", "sensitivity", "specificity", "ppv", "npv", "f1")
    columns = tuple(
        Column(key, title, "figure" if title in ("AUC", "Average precision", "F1") else "percent")
        for key, title in zip(keys, titles, strict=True)
    )
    first = (Column("class", "Class"), Column("labelled", "Labelled", "count"))
    note = (
        "Each class against all others together; the likeliest class is the predicted one. "
        "Intervals: DeLong (AUC), infinitesimal jackknife (average precision), Wilson (the others)."
    )
    caption = "Each class against the rest"
    text = "Curves and operating points are drawn for two classes only."
    return (
        *left_out(outcomes),
        *clustering(patient),
        Table("classes", caption, (*first, *columns), table, note),
        Text("two_classes_only", text, "note"),
    )


def _class_row(name: str, outcomes: Outcomes, patient: Patients | None) -> tuple[Value, ...]:
    """Return the row of a class; of its figures only those that its images allow."""
    rates, area = rates_of(outcomes, patient), area_of(outcomes, patient)
    labelled = int(outcomes.positive.sum())
    if area is None:
        both = rates.sensitivity.estimate(), rates.specificity.estimate()
        return (name, labelled, None, None, *both, None, None, None)
    return (
        name,
        labelled,
        area.estimate(),
        average_precision(thresholds_of(outcomes, patient)),
        rates.sensitivity.estimate(),
        rates.specificity.estimate(),
        rates.positive_value.estimate(),
        rates.negative_value.estimate(),
        f1_score(rates),
    )
