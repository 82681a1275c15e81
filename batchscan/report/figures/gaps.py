"""What is missing for figures of labelled images, in words."""

from __future__ import annotations

from batchscan.metrics.outcomes import ClassOutcomes, Outcomes
from batchscan.report.document import Text
from batchscan.report.figures.clusters import Patients, count_of
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import has_label


def nothing_to_measure(rows: Rows, outcomes: Outcomes | ClassOutcomes) -> Text | None:
    """Say why no figure at all can be computed; None where images have labels and scores."""
    if len(outcomes.score):
        return None
    if count := int(has_label(rows).sum()):
        text = f"None of the {count:,} labelled images has a score: no figure can be computed."
    else:
        text = (
            "No image has a label: no figure can be computed. Give a label file (CSV or Parquet "
            "with path and label) with --labels."
        )
    return Text("nothing_to_measure", text, "warning")


def one_class_only(rows: Rows, outcomes: Outcomes) -> Text | None:
    """Say what cannot be computed from images of one class; None where both are there."""
    positives = int(outcomes.positive.sum())
    if 0 < positives < outcomes.positive.size:
        return None
    name = rows.classes[1 if positives else 0]
    text = (
        f"All images with a label and a score ({outcomes.positive.size:,}) are labelled {name}. "
        "What compares the two classes (areas under curves, predictive values, likelihood ratios, "
        "agreement, calibration) cannot be computed."
    )
    return Text("one_class", text, "warning")


def left_out(outcomes: Outcomes | ClassOutcomes) -> tuple[Text, ...]:
    """Say how many labelled images have no score, where there are any."""
    if not (count := outcomes.not_scored):
        return ()
    have = "images have" if count > 1 else "image has"
    text = (
        f"{count:,} labelled {have} no score (failed, skipped, or no number) and no part in these "
        "figures."
    )
    return (Text("left_out", text, "warning"),)


def clustering(patient: Patients | None) -> tuple[Text, ...]:
    """Say whether the intervals take into account that patients have several images."""
    if patient is None:
        text = (
            "Intervals are 95% and take images as independent: no two of them are known to be of "
            "the same patient."
        )
        return (Text("clustering", text, "note"),)
    patients = count_of(patient)
    if patients == 1:
        text = "All images have the same patient key: intervals for other patients can't be stated."
        return (Text("clustering", text, "warning"),)
    text = (
        f"Intervals are 95% and clustered by patient: {patient.size:,} images of {patients:,} "
        "patients, an image without a patient key taken as a patient of its own."
    )
    return (Text("clustering", text, "note"),)
