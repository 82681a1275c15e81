"""How well scores agree with labels: figures with their 95% intervals.

The positive class is the last of two class names; of more, each is taken against the rest. Only
images that are scored *and* labelled enter the figures; labelled images without a score are counted
beside them, never left out unsaid.

The intervals take images as independent. Where many images show the same patients, the truth is
less certain than the intervals say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from batchscan.errors import LabelError, UsageError
from batchscan.labels.lookup import LabelLookup, LabelTable
from batchscan.metrics.figures import Metric, class_figures, figures
from batchscan.metrics.file import METRICS_SCHEMA, remove_stale_metrics, write_metrics
from batchscan.metrics.outcomes import (
    ClassOutcomes,
    Outcomes,
    select_class_outcomes,
    select_outcomes,
)
from batchscan.results.columns import check_columns, check_predictions, check_statuses
from batchscan.results.file import checked_footer, no_result, opened_result
from batchscan.schema import SCORED, score_columns
from batchscan.storage.location import Location

__all__ = [
    "Metric",
    "MetricsReport",
    "figures",
    "compute_metrics",
    "metrics_from_result",
    "measure",
    "METRICS_SCHEMA",
    "write_metrics",
    "remove_stale_metrics",
]


@dataclass(frozen=True)
class MetricsReport:
    """The figures of a result, and what they were computed from.

    `images` counts all rows of the result. `unmatched_labels` counts the paths of a label file that
    the result has no row for, with a few `unmatched_examples`. `threshold` is None for more than
    two classes.
    """

    metrics: tuple[Metric, ...]
    classes: tuple[str, ...]
    threshold: float | None
    model_name: str
    model_digest: str
    images: int
    unmatched_labels: int = 0
    unmatched_examples: tuple[str, ...] = ()

    def find(self, name: str, subgroup: str = "all", class_name: str | None = None) -> Metric:
        """Return one figure, of a class if one is named; raises `KeyError` if it isn't there."""
        for metric in self.metrics:
            if (metric.subgroup, metric.metric, metric.class_name) == (subgroup, name, class_name):
                return metric
        raise KeyError(name)


def compute_metrics(
    score: ArrayLike | pa.Array,
    label: Sequence[str | None] | NDArray[Any] | pa.Array,
    *,
    threshold: float,
    classes: Sequence[str],
    prediction: Sequence[str | None] | NDArray[Any] | pa.Array | None = None,
    subgroup: str = "all",
) -> list[Metric]:
    """Return every figure of one group of images, for two classes.

    `score` is float32 (n,), NaN or null where an image has no score; `label` and `prediction` (n,)
    hold class names, null where unknown. Without `prediction` it is derived from the threshold.
    Raises `UsageError` for a label or prediction that is no class name.
    """
    scores = pa.array(score, pa.float32(), from_pandas=True) if _is_plain(score) else score
    labels = pa.array(label, from_pandas=True) if _is_plain(label) else label
    if prediction is not None and _is_plain(prediction):
        prediction = pa.array(prediction, from_pandas=True)
    return figures(
        select_outcomes(scores, labels, prediction, threshold, classes), threshold, subgroup
    )


def _is_plain(values: object) -> bool:
    return not isinstance(values, pa.Array | pa.ChunkedArray)


def metrics_from_result(result: Location, labels: LabelTable | None = None) -> MetricsReport:
    """Compute the figures of a result file, read in batches.

    `labels` replaces the result's own labels altogether: an image that it does not name has no
    label. Raises `UsageError` if the file is no result of batchscan, or holds other class names or
    predictions that contradict its scores, or if no image has a label.
    """
    with opened_result(result) as file:
        provenance = checked_footer(result, file.metadata.metadata)
        scores = score_columns(provenance["model"]["classes"])
        check_columns(result, file.schema_arrow, provenance["model"]["classes"])
        columns = ["status", *scores, "prediction", "label" if labels is None else "path"]
        if absent := set(columns) - set(file.schema_arrow.names):
            raise no_result(result, f"no column {min(absent)}")
        batches = _checked(result, file.iter_batches(65536, columns=columns), provenance)
        report = measure(batches, provenance, labels)
    _check_labelled(report, result, labels)
    return report


def _checked(
    result: Location, batches: Iterable[pa.RecordBatch], provenance: Mapping[str, Any]
) -> Iterator[pa.RecordBatch]:
    """Pass batches on whose statuses are known and whose predictions are what their scores say."""
    classes, threshold = provenance["model"]["classes"], provenance["threshold"]
    for batch in batches:
        check_statuses(result, batch.column("status"))
        check_predictions(result, pa.Table.from_batches([batch]), classes, threshold)
        yield batch


def measure(
    batches: Iterable[pa.RecordBatch],
    provenance: Mapping[str, Any],
    labels: LabelTable | None = None,
) -> MetricsReport:
    """Compute the figures of result rows, whose paths ascend; see `metrics_from_result`.

    `provenance` holds `threshold` and `model` (with `name`, `digest` and `classes`), as the footer
    of a result does.
    """
    model, threshold = provenance["model"], provenance["threshold"]
    group = _Group(tuple(model["classes"]), None if threshold is None else float(threshold))
    lookup = LabelLookup(labels) if labels is not None else None
    images = 0
    for batch in batches:
        images += batch.num_rows
        own = batch.column("label") if lookup is None else None
        label = own if lookup is None else _flat(lookup.find(batch.column("path")).column("label"))
        group.add(batch, label)
    unmatched, examples = lookup.unmatched() if lookup is not None else (0, ())
    return MetricsReport(
        metrics=tuple(group.figures()),
        classes=group.classes,
        threshold=group.threshold,
        model_name=model["name"],
        model_digest=model["digest"],
        images=images,
        unmatched_labels=unmatched,
        unmatched_examples=examples,
    )


class _Group:
    """Collects outcomes batch by batch; `threshold` is None for more than two classes."""

    def __init__(self, classes: tuple[str, ...], threshold: float | None) -> None:
        self.classes = classes
        self.threshold = threshold
        self._pairs: list[Outcomes] = []
        self._of_classes: list[ClassOutcomes] = []

    def add(self, batch: pa.RecordBatch, label: pa.Array) -> None:
        """Take the labelled images of a batch of result rows."""
        status = batch.column("status")
        if pa.types.is_dictionary(status.type):
            status = status.cast(pa.string())
        is_scored = pc.equal(status, SCORED)
        scores = [
            pc.if_else(is_scored, batch.column(name), None) for name in score_columns(self.classes)
        ]
        prediction = batch.column("prediction")
        if self.threshold is None:
            outcomes = select_class_outcomes(scores, label, prediction, self.classes)
            self._of_classes.append(outcomes)
        else:
            self._pairs.append(
                select_outcomes(scores[0], label, prediction, self.threshold, self.classes)
            )

    def figures(self) -> list[Metric]:
        """Return the figures of all that was added."""
        if self.threshold is None:
            joined = ClassOutcomes.joined(self._of_classes, len(self.classes))
            return class_figures(joined, self.classes)
        return figures(Outcomes.joined(self._pairs), self.threshold)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    flat = column.combine_chunks()
    return pa.concat_arrays(flat.chunks) if isinstance(flat, pa.ChunkedArray) else flat


def _check_labelled(report: MetricsReport, result: Location, labels: LabelTable | None) -> None:
    if report.find("labelled").value:
        return
    if labels is None or report.unmatched_labels < len(labels) or not report.unmatched_examples:
        source = result if labels is None else labels.source
        raise UsageError(
            f"{source}: expected labels for the images of {result.name}, found none; "
            "give a label file (CSV or Parquet with path and label) with --labels"
        )
    raise LabelError(
        f"{labels.source}: expected paths as in {result.name}, found none of them there: the first "
        f"is {report.unmatched_examples[0]!r}; write paths relative to the archive"
    )
