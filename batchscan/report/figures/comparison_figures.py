"""Which of two results is better, and where their decisions part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batchscan.compare.pairing import Pairs
from batchscan.metrics.outcomes import Outcomes
from batchscan.metrics.paired import paired_areas, paired_proportions
from batchscan.metrics.statistics import delong_interval
from batchscan.report.document import Block, Column, Section, Table, Text, Value
from batchscan.report.figures.area import area_of
from batchscan.report.figures.clusters import Patients, count_of
from batchscan.report.figures.paired_clusters import (
    Truths,
    clustered_area_error,
    clustered_pair,
    normal_interval,
)
from batchscan.report.figures.rates import Rate, estimate_of

_FIGURES = (
    Column("figure", "Figure"),
    Column("n", "Images", "count"),
    Column("a", "A", "percent"),
    Column("b", "B", "percent"),
    Column("difference", "B - A", "percent"),
    Column("only_a", "Only A", "count"),
    Column("only_b", "Only B", "count"),
    Column("p", "p", "p_value"),
    Column("test", "McNemar's test"),
)
_AREAS = (
    Column("figure", "Class"),
    Column("n", "Images", "count"),
    Column("a", "A", "figure"),
    Column("b", "B", "figure"),
    Column("difference", "B - A", "figure"),
    Column("p", "p", "p_value"),
)
_NOTE = (
    "Intervals are 95%: DeLong's for areas, Wilson's for proportions, Newcombe's (1998) for "
    "differences of paired proportions. They take images as independent: no two are known to be of "
    "the same patient. The p-values are two-sided, and not corrected for their number; those of "
    "areas are DeLong's, the others McNemar's."
)
_CLUSTERED_NOTE = (
    "Intervals and p-values are clustered by patient: {:,} compared images of {:,} patients, an "
    "image without a patient key taken as a patient of its own. Intervals are 95%: Obuchowski's "
    "(1997) for areas; for proportions Wilson's, of effective numbers of images (Rao and Scott "
    "1992), put together for differences (MOVER). The p-values are two-sided, and not corrected "
    "for their number: Obuchowski's for areas, else McNemar's test by patient (Yang, Sun and "
    "Hardin 2010)."
)


def accuracy_section(pairs: Pairs) -> Section:
    """Return the decisions of both, and with labels how right they are."""
    blocks: list[Block] = [_reclassified("all", "All compared images", pairs, pairs.label >= -1)]
    blocks += _shares(pairs)
    if pairs.counts.other_label:
        text = (
            f"{pairs.counts.other_label:,} images have one label in A and another in B: they count "
            "as not labelled. Give the right labels with --labels."
        )
        blocks.append(Text("other_label", text, "warning"))
    labelled = pairs.label >= 0
    if not labelled.any():
        text = "No compared image has a label: nobody can tell which of the two results is right."
        blocks.append(Text("no_labels", text, "warning"))
    elif pairs.scores is not None:
        blocks += _labelled(pairs, labelled)
    else:
        text = "With other classes in A and B there are no figures that both have."
        blocks.append(Text("no_figures", text, "warning"))
    return Section("accuracy", "Decisions", tuple(blocks))


def _labelled(pairs: Pairs, labelled: NDArray[np.bool_]) -> list[Block]:
    classes = pairs.first.classes
    blocks: list[Block] = [
        _reclassified(f"label_{name}", f"Images with the label {name}", pairs, pairs.label == place)
        for place, name in enumerate(classes)
        if (pairs.label == place).any()
    ]
    present = {int(number) for number in np.unique(pairs.label[labelled])}
    if len(present) < len(classes):
        missing = ", ".join(name for place, name in enumerate(classes) if place not in present)
        text = f"No compared image has the label {missing}: figures that need one are left out."
        blocks.append(Text("missing_classes", text, "warning"))
    blocks.append(_areas(pairs, labelled))
    blocks.append(_proportions(pairs, labelled))
    return [*blocks, _methods(pairs)]


def _methods(pairs: Pairs) -> Text:
    if pairs.patient is None:
        return Text("methods", _NOTE, "note")
    if (patients := count_of(pairs.patient)) == 1:
        text = "All images have the same patient key: intervals for other patients can't be stated."
        return Text("methods", text, "warning")
    return Text("methods", _CLUSTERED_NOTE.format(pairs.patient.size, patients), "note")


def _reclassified(key: str, caption: str, pairs: Pairs, where: NDArray[np.bool_]) -> Table:
    """Cross the decisions of A and B."""
    first, second = pairs.first.classes, pairs.second.classes
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=np.int64)
    codes = [decisions[where].astype(np.int64) for decisions in pairs.decisions]
    np.add.at(table, (codes[0], codes[1]), 1)  # -1, no decision, is the last row and column.
    columns = [Column(name, f"B: {name}", "count") for name in second]
    rows = [
        (f"A: {name}", *table[place, : len(second)].tolist()) for place, name in enumerate(first)
    ]
    agree = float((codes[0] == codes[1]).mean()) if where.any() and pairs.same_classes else None
    note = "" if agree is None else f"Decisions agree on {agree:.2%} of {int(where.sum()):,}."
    return Table(f"decisions_{key}", caption, (Column("a", ""), *columns), tuple(rows), note)


def _shares(pairs: Pairs) -> list[Block]:
    """Compare how many images are decided to be of each class, labelled or not."""
    if not pairs.same_classes or not pairs.n:
        return []
    rows = []
    for place in _classes_of_interest(pairs.first.classes):
        decided = [side == place for side in pairs.decisions]
        rows.append(_row(f"predicted {pairs.first.classes[place]}", decided, pairs.patient))
    return [Table("shares", "Share of the compared images", _FIGURES, tuple(rows))]


def _classes_of_interest(classes: Sequence[str]) -> range:
    """Of two classes the last one, else each against the rest."""
    return range(1, 2) if len(classes) == 2 else range(len(classes))


def _areas(pairs: Pairs, labelled: NDArray[np.bool_]) -> Table:
    rows = []
    patient = None if pairs.patient is None else pairs.patient[labelled]
    assert pairs.scores is not None
    for column, place in enumerate(_classes_of_interest(pairs.first.classes)):
        positive = pairs.label[labelled] == place
        scores = [side[labelled, column] for side in pairs.scores]
        rows.append(_area_row(pairs.first.classes[place], positive, scores, patient))
    caption = "Area under the ROC curve"
    return Table("areas", caption, _AREAS, tuple(rows))


def _area_row(
    name: str,
    positive: NDArray[np.bool_],
    scores: Sequence[NDArray[np.float32]],
    patient: Patients | None,
) -> tuple[Value, ...]:
    areas = paired_areas(positive, scores[0], scores[1])
    if areas is None:
        return (name, positive.size, None, None, None, None)
    if patient is None:
        each = [
            estimate_of(area, delong_interval(positive, score), positive.size)
            for area, score in zip((areas.first, areas.second), scores, strict=True)
        ]
        difference = estimate_of(areas.difference, areas.interval, positive.size)
        return (name, positive.size, *each, difference, areas.p_value)
    clustered = [_clustered_area(positive, score, patient) for score in scores]
    error = clustered_area_error(positive, areas.gain, areas.loss, patient)
    interval = None if error is None else normal_interval(areas.difference, error)
    difference = estimate_of(areas.difference, interval, positive.size)
    p_value = None if error is None else math.erfc(abs(areas.difference) / error / math.sqrt(2))
    return (name, positive.size, *clustered, difference, p_value)


def _clustered_area(
    positive: NDArray[np.bool_], score: NDArray[np.float32], patient: Patients
) -> Value:
    area = area_of(Outcomes(score, positive, positive), patient)
    return None if area is None else area.estimate()


def _proportions(pairs: Pairs, labelled: NDArray[np.bool_]) -> Table:
    """Compare sensitivity and specificity, for more classes of each, and accuracy."""
    label, patient = pairs.label, pairs.patient
    first, second = pairs.decisions
    rows = []
    for place in _classes_of_interest(pairs.first.classes):
        of = "" if len(pairs.first.classes) == 2 else f" for {pairs.first.classes[place]}"
        has, others = label == place, labelled & (label != place)
        for name, where in ((f"sensitivity{of}", has), (f"specificity{of}", others)):
            right = [(side[where] == place) == (label[where] == place) for side in (first, second)]
            rows.append(_row(name, right, _of(patient, where)))
    right = [side[labelled] == label[labelled] for side in (first, second)]
    rows.append(_row("accuracy", right, _of(patient, labelled)))
    return Table("figures", "Right decisions", _FIGURES, tuple(rows))


def _of(patient: Patients | None, where: NDArray[np.bool_]) -> Patients | None:
    return None if patient is None else patient[where]


def _row(name: str, sides: Sequence[Truths], patient: Patients | None) -> tuple[Value, ...]:
    first, second = sides
    found = paired_proportions(first, second)
    if found is None:
        return (name, 0, *[None] * (len(_FIGURES) - 2))
    if patient is None:
        counts = (found.both + found.only_first, found.both + found.only_second)
        each = [Rate(count, found.n, found.n).estimate() for count in counts]
        difference = estimate_of(found.difference, found.interval, found.n)
        p_value, exact = found.p_value, found.exact
    else:
        pair = clustered_pair(first, second, patient)
        each = [pair.first.estimate(), pair.second.estimate()]
        difference = estimate_of(found.difference, pair.interval, found.n)
        p_value, exact = pair.p_value, pair.exact
    test = "exact" if exact else "chi-squared"
    return (name, found.n, *each, difference, found.only_first, found.only_second, p_value, test)
