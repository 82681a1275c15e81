"""The short list of figures that groups of images are compared by."""

from __future__ import annotations

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Estimate
from batchscan.report.figures.area import Area, area_of
from batchscan.report.figures.clusters import Patients
from batchscan.report.figures.rates import Rate, Rates, rates_of

KEY_FIGURES = ("images", "auc", "sensitivity", "specificity", "ppv", "npv")
"""The names of the figures, in their order."""


def key_figures(
    outcomes: Outcomes, patient: Patients | None = None
) -> tuple[tuple[str, Estimate], ...]:
    """Return `KEY_FIGURES` of a group: the number of images, the AUC, and rates at the threshold.

    Intervals are DeLong's and Wilson's; where `patient` (n,) is given (`selection.patients_of`),
    they are clustered by patient. Of images of one class alone, neither the AUC nor predictive
    values are defined; a figure without images is not defined either.
    """
    area = area_of(outcomes, patient)
    return figures_from(area, rates_of(outcomes, patient), outcomes.score.size)


def figures_from(area: Area | None, rates: Rates, n: int) -> tuple[tuple[str, Estimate], ...]:
    """Return `KEY_FIGURES` of `n` images; `area` is None where they are of one class."""

    def value(rate: Rate) -> Estimate:
        return rate.estimate() if area is not None else Estimate(None, n=rate.n)

    estimates = (
        Estimate(n, n=n),
        Estimate(None, n=n) if area is None else area.estimate(),
        rates.sensitivity.estimate(),
        rates.specificity.estimate(),
        value(rates.positive_value),
        value(rates.negative_value),
    )
    return tuple(zip(KEY_FIGURES, estimates, strict=True))
