"""The key figures of all images, and of those left when some are taken out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Block, Column, Estimate, Kind, Table, Text, Value
from batchscan.report.figures.clusters import Patients
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, has_label, has_score

_KINDS: dict[str, Kind] = {"images": "count", "auc": "figure"}
_TITLES = {"auc": "AUC", "ppv": "PPV", "npv": "NPV"}

Figures = tuple[tuple[str, Estimate], ...]


def with_and_without(rows: Rows, left_out: Sequence[tuple[str, Mask]]) -> list[Block]:
    """Return tables of key figures: of all images, without each kind (n,), without all kinds.

    Of more than two classes there is a table of each against the rest. Without labelled images, or
    where nothing is left out, a text says so.
    """
    used = has_label(rows) & has_score(rows)
    if not used.any():
        return [Text("figures_none", _NO_LABELS, "note")]
    kinds = [(name, mask[used]) for name, mask in left_out]
    kinds = [(name, mask) for name, mask in kinds if mask.any()]
    if not kinds:
        return [Text("figures_same", _NOTHING_LEFT_OUT, "note")]
    nothing = np.zeros_like(kinds[0][1])
    groups = [("all images", nothing), *((f"without {name}", mask) for name, mask in kinds)]
    if len(kinds) > 1:
        everything = np.logical_or.reduce([mask for _, mask in kinds])
        groups.append(("without all of these", everything))
    return [
        _table(groups, _figures(outcomes, patient, [~mask for _, mask in groups]), own_class)
        for outcomes, patient, own_class in _outcomes(rows)
    ]


def _outcomes(rows: Rows) -> Iterator[tuple[Outcomes, Patients | None, str | None]]:
    """Yield what was found of the images used: of two classes once, of more for each."""
    from batchscan.report.input.selection import class_outcomes_of, outcomes_of, patients_of

    patient = patients_of(rows)
    if rows.threshold is not None:
        yield outcomes_of(rows), patient, None
        return
    outcomes = class_outcomes_of(rows)
    for number, own_class in enumerate(rows.classes):
        yield outcomes.against_the_rest(number), patient, own_class


def _figures(
    outcomes: Outcomes, patient: Patients | None, groups: Sequence[Mask]
) -> Iterator[Figures]:
    """Yield the key figures of groups (n,) of images (n,), which are sorted by score only once."""
    from batchscan.report.figures.key_figures import key_figures

    order = np.argsort(outcomes.score)
    score, positive = outcomes.score[order], outcomes.positive[order]
    predicted = outcomes.predicted[order]
    patient = None if patient is None else patient[order]
    for group in groups:
        own = group[order]
        part = Outcomes(score[own], positive[own], predicted[own])
        yield key_figures(part, None if patient is None else _clustered(patient[own]))


def _clustered(patient: Patients) -> Patients | None:
    """Return the patients of some images; None where no patient has two of them."""
    return patient if np.bincount(patient).max(initial=0) > 1 else None


def _table(
    groups: Sequence[tuple[str, Mask]], figures: Iterable[Figures], own_class: str | None
) -> Table:
    body: list[tuple[Value, ...]] = []
    names: list[str] = []
    for (name, left_out), found in zip(groups, figures, strict=True):
        names = [figure for figure, _ in found]
        body.append((name, int(left_out.sum()), *(estimate for _, estimate in found)))
    columns = (Column(key, _TITLES.get(key, key), _KINDS.get(key, "percent")) for key in names)
    return Table(
        key="figures" if own_class is None else f"figures_{own_class}",
        caption="Key figures with and without these images"
        + ("" if own_class is None else f": {own_class} against the rest"),
        columns=(Column("which", "Images"), Column("left_out", "left out", "count"), *columns),
        rows=tuple(body),
        note="Only labelled images with a score count. Rates are those at the threshold.",
    )


_NO_LABELS = "No scored image has a label: figures with and without these images can't be computed."
_NOTHING_LEFT_OUT = (
    "Of the images on which the figures rest, none is known to be a further copy, to look like "
    "another or a training image, or to be unlike those: there is nothing to leave out."
)
