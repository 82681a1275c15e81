"""How well scores agree with labels: figures with their 95% intervals.

The positive class is the last of the two class names. Only images that are scored *and* labelled
enter the figures; labelled images without a score are counted beside them, never left out unsaid.

The intervals take images as independent. Where many images show the same patients, the truth is
less certain than the intervals say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from batchscan.errors import BatchscanError, LabelError, UsageError
from batchscan.labels import LabelLookup, LabelTable
from batchscan.outcomes import Outcomes, select_outcomes
from batchscan.schema import SCORED
from batchscan.statistics import Interval, delong_interval, f1_interval, roc_auc, wilson_interval

METRICS_SCHEMA = pa.schema(
    [
        pa.field("subgroup", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),
    ]
)
"""The columns of `results.metrics.parquet`: one row for each figure of each subgroup."""


@dataclass(frozen=True)
class Metric:
    """One figure. `value` is None where it is not defined; `n` images are what it rests on.

    For a proportion, `n` is its denominator; for `f1`, the images that are positive by label or
    prediction. An interval is None where none can be stated.
    """

    subgroup: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True)
class MetricsReport:
    """The figures of a result, and what they were computed from.

    `images` counts all rows of the result. `unmatched_labels` counts the paths of a label file that
    the result has no row for, with a few `unmatched_examples`.
    """

    metrics: tuple[Metric, ...]
    classes: tuple[str, str]
    threshold: float
    model_name: str
    model_digest: str
    images: int
    unmatched_labels: int = 0
    unmatched_examples: tuple[str, ...] = ()

    def find(self, name: str, subgroup: str = "all") -> Metric:
        """Return one figure; raises `KeyError` for a name that isn't there."""
        for metric in self.metrics:
            if (metric.subgroup, metric.metric) == (subgroup, name):
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
    """Return every figure of one group of images.

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


def figures(outcomes: Outcomes, threshold: float, subgroup: str = "all") -> list[Metric]:
    """Return every figure of one group, in the order of the file."""
    truth, predicted = outcomes.positive, outcomes.predicted
    n = truth.size
    tp, fp = int((truth & predicted).sum()), int((~truth & predicted).sum())
    fn, tn = int((truth & ~predicted).sum()), int((~truth & ~predicted).sum())
    labelled = n + outcomes.not_scored
    rows: list[tuple[str, float | None, Interval | None, int]] = [
        ("labelled", labelled, None, labelled),
        ("labelled_not_scored", outcomes.not_scored, None, labelled),
        ("true_positive", tp, None, n),
        ("false_positive", fp, None, n),
        ("true_negative", tn, None, n),
        ("false_negative", fn, None, n),
        ("threshold", threshold, None, n),
        _proportion("prevalence", tp + fn, n),
        _proportion("accuracy", tp + tn, n),
        _proportion("precision", tp, tp + fp),
        _proportion("recall", tp, tp + fn),
        _proportion("specificity", tn, tn + fp),
        ("f1", _ratio(2 * tp, 2 * tp + fp + fn), f1_interval(tp, fp, fn), tp + fp + fn),
        ("auc", roc_auc(truth, outcomes.score), delong_interval(truth, outcomes.score), n),
    ]
    return [_metric(subgroup, *row) for row in rows]


def _is_plain(values: object) -> bool:
    return not isinstance(values, pa.Array | pa.ChunkedArray)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _proportion(name: str, part: int, n: int) -> tuple[str, float | None, Interval | None, int]:
    return name, _ratio(part, n), wilson_interval(part, n), n


def _metric(
    subgroup: str, name: str, value: float | None, interval: Interval | None, n: int
) -> Metric:
    low, high = interval or (None, None)
    return Metric(subgroup, name, None if value is None else float(value), low, high, n)


def metrics_from_result(result: Path, labels: LabelTable | None = None) -> MetricsReport:
    """Compute the figures of a result file, read in batches.

    `labels` replaces the result's own labels altogether: an image that it does not name has no
    label. Raises `UsageError` if the file is no result of batchscan, or holds other class names,
    or if no image has a label.
    """
    try:
        with result.open("rb") as stream, pq.ParquetFile(stream) as file:
            provenance = _provenance(result, file)
            columns = ["status", "score", "prediction", "label" if labels is None else "path"]
            if absent := set(columns) - set(file.schema_arrow.names):
                raise _no_result(result, f"no column {min(absent)}")
            report = measure(file.iter_batches(65536, columns=columns), provenance, labels)
    except OSError as problem:
        raise UsageError(f"{result}: cannot be read ({problem.strerror or problem})") from problem
    except pa.ArrowException as problem:
        reason = str(problem).splitlines()[0][:200]
        raise _no_result(result, f"something else ({reason})") from problem
    _check_labelled(report, result, labels)
    return report


def measure(
    batches: Iterable[pa.RecordBatch],
    provenance: Mapping[str, Any],
    labels: LabelTable | None = None,
) -> MetricsReport:
    """Compute the figures of result rows, whose paths ascend; see `metrics_from_result`.

    `provenance` holds `threshold` and `model` (with `name`, `digest` and `classes`), as the footer
    of a result does.
    """
    model, threshold = provenance["model"], float(provenance["threshold"])
    lookup = LabelLookup(labels) if labels is not None else None
    parts, images = [], 0
    for batch in batches:
        images += batch.num_rows
        own = batch.column("label") if lookup is None else None
        label = own if lookup is None else _flat(lookup.find(batch.column("path")).column("label"))
        status = batch.column("status")
        if pa.types.is_dictionary(status.type):
            status = status.cast(pa.string())
        score = pc.if_else(pc.equal(status, SCORED), batch.column("score"), None)
        prediction = batch.column("prediction")
        parts.append(select_outcomes(score, label, prediction, threshold, model["classes"]))
    unmatched, examples = lookup.unmatched() if lookup is not None else (0, ())
    return MetricsReport(
        metrics=tuple(figures(Outcomes.joined(parts), threshold)),
        classes=(model["classes"][0], model["classes"][-1]),
        threshold=threshold,
        model_name=model["name"],
        model_digest=model["digest"],
        images=images,
        unmatched_labels=unmatched,
        unmatched_examples=examples,
    )


def write_metrics(
    metrics: Iterable[Metric], path: Path, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write figures as Parquet, whole or not at all; `provenance` becomes the footer `batchscan`.

    Raises `BatchscanError` if the file cannot be written.
    """
    rows = list(metrics)
    columns = {name: [getattr(row, name) for row in rows] for name in METRICS_SCHEMA.names}
    footer = {"batchscan": json.dumps(provenance or {}, ensure_ascii=False, allow_nan=False)}
    table = pa.table(columns, schema=METRICS_SCHEMA.with_metadata(footer))
    partial = path.with_name(f".{path.name}.partial")  # One name: a killed run leaves one at most.
    try:
        try:
            with partial.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as problem:
        raise BatchscanError(
            f"{path}: the metrics cannot be written ({problem.strerror or problem}); make room "
            "there, then run the same command again"
        ) from problem


def remove_stale_metrics(path: Path) -> None:
    """Remove the figures of an earlier scan, but none from a label file that came later."""
    try:
        footer = json.loads((pq.read_schema(path).metadata or {})[b"batchscan"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return  # There is none, or it is not ours.
    if not footer.get("labels"):
        path.unlink()


def _flat(column: pa.ChunkedArray) -> pa.Array:
    flat = column.combine_chunks()
    return pa.concat_arrays(flat.chunks) if isinstance(flat, pa.ChunkedArray) else flat


def _no_result(path: Path, found: str) -> UsageError:
    return UsageError(
        f"{path}: expected a result that `batchscan run --out` wrote, found {found}; check the path"
    )


def _provenance(path: Path, file: pq.ParquetFile) -> dict[str, Any]:
    """Return the footer `batchscan`, checked as far as the figures depend on it."""
    text = (file.metadata.metadata or {}).get(b"batchscan")
    if text is None:
        raise _no_result(path, "Parquet from elsewhere")
    try:
        footer = json.loads(text)
        model = footer["model"]
        names = [model["name"], model["digest"], *model["classes"]]
        usable = len(names) == 4 and all(isinstance(name, str) for name in names)
        usable = usable and 0 <= float(footer["threshold"]) <= 1
    except (ValueError, KeyError, TypeError):
        usable = False
    if not usable:
        raise _no_result(path, "a footer that is damaged or of another version")
    return dict(footer)


def _check_labelled(report: MetricsReport, result: Path, labels: LabelTable | None) -> None:
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
