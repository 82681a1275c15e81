"""The figures at the result's threshold, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from batchscan.report.document import Column, Estimate, Table
from batchscan.report.figures.agreement import (
    RESAMPLES,
    balanced_accuracy,
    bootstrap_estimate,
    f1_score,
    kappa,
    likelihood_ratio,
    matthews,
    resampled,
    resampled_images,
)
from batchscan.report.figures.clusters import Cells
from batchscan.report.figures.prevalence import negative_value_at, positive_value_at
from batchscan.report.figures.rates import Rates

_CLUSTERED = (
    " Images of one patient are correlated: the number of images is divided by the design effect "
    "(Rao and Scott 1992)."
)


def confusion_table(rates: Rates, classes: Sequence[str]) -> Table:
    """Lay the confusion matrix out, the labels in rows."""
    negative, positive = classes
    rows = (
        (negative, rates.true_negative, rates.false_positive),
        (positive, rates.false_negative, rates.true_positive),
    )
    return Table(
        "confusion",
        "Labels and predictions at the threshold",
        (
            Column("label", "Labelled"),
            Column("predicted_negative", f"Predicted {negative}", "count"),
            Column("predicted_positive", f"Predicted {positive}", "count"),
            Column("total", "Total", "count"),
        ),
        tuple((name, left, right, left + right) for name, left, right in rows),
    )


def rates_table(rates: Rates, prevalence: float | None, clustered: bool) -> Table:
    """List the proportions, and predictive values at `prevalence` too where one is given."""
    figures = [
        ("Sensitivity", rates.sensitivity.estimate()),
        ("Specificity", rates.specificity.estimate()),
        ("Positive predictive value (PPV)", rates.positive_value.estimate()),
        ("Negative predictive value (NPV)", rates.negative_value.estimate()),
        ("Accuracy", rates.accuracy.estimate()),
        ("Balanced accuracy", balanced_accuracy(rates)),
    ]
    note = (
        "Intervals: Wilson (1927); balanced accuracy: those of sensitivity and specificity put "
        "together (MOVER, Zou and Donner 2008)."
    )
    if prevalence is not None:
        at = f"at a prevalence of {prevalence:.4g}"
        figures.append((f"PPV {at}", positive_value_at(rates, prevalence)))
        figures.append((f"NPV {at}", negative_value_at(rates, prevalence)))
        note += f" Predictive values {at}: Bayes' theorem, logit (Mercaldo, Lau and Zhou 2007)."
    return _table("rates", "Rates at the threshold", "percent", figures, note, clustered)


def one_class_table(rates: Rates, clustered: bool) -> Table:
    """List the only rate that images of one class have."""
    both = (("Sensitivity", rates.sensitivity), ("Specificity", rates.specificity))
    figures = [(name, rate.estimate()) for name, rate in both if rate.n]
    return _table(
        "rates", "Rate at the threshold", "percent", figures, "Interval: Wilson (1927).", clustered
    )


def agreement_table(rates: Rates, cells: Cells | None) -> Table:
    """List the figures that are no proportions; `cells` (4, patients) where they are clustered."""
    samples = resampled_images(rates) if cells is None else resampled(cells)
    units = "images" if cells is None else "patients"
    figures = [
        (
            "Positive likelihood ratio",
            likelihood_ratio(rates.sensitivity, rates.specificity.complement),
        ),
        (
            "Negative likelihood ratio",
            likelihood_ratio(rates.sensitivity.complement, rates.specificity),
        ),
        ("F1", f1_score(rates)),
        ("Cohen's kappa", bootstrap_estimate(kappa, rates, samples)),
        ("Matthews correlation", bootstrap_estimate(matthews, rates, samples)),
    ]
    note = (
        "Intervals: likelihood ratios: log method (Simel 1991); F1: Wilson's of TP / (TP + FP + "
        "FN), carried over (Lam, Gopal and Qian 2024); kappa and Matthews: bootstrap over "
        f"{units}, percentiles of {RESAMPLES:,} samples, seed 0."
    )
    title = "Other figures at the threshold"
    return _table("agreement", title, "figure", figures, note, cells is not None)


def _table(
    key: str,
    caption: str,
    kind: str,
    figures: Sequence[tuple[str, Estimate]],
    note: str,
    clustered: bool,
) -> Table:
    columns = (
        Column("figure", "Figure"),
        Column("estimate", "Estimate (95% interval)", "percent" if kind == "percent" else "figure"),
        Column("n", "Images", "count"),
    )
    rows = tuple((name, estimate, estimate.n) for name, estimate in figures)
    return Table(key, caption, columns, rows, note + _CLUSTERED * clustered)
