"""How well scores agree with labels: figures with their 95% intervals.

The positive class is the last of the two class names. Only images that are scored *and* labelled
enter the figures; labelled images without a score are counted beside them, never left out unsaid.

The intervals take images as independent. Where many images show the same patients, the truth is
less certain than the intervals say.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from batchscan.errors import LabelError, UsageError
from batchscan.labels import LabelLookup, LabelTable
from batchscan.schema import SCORED

CONFIDENCE = 0.95

Interval = tuple[float, float]

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
class Outcomes:
    """The labelled images of a group. The arrays hold those that are scored, one entry for each.

    `score` is float32 in [0, 1]; `positive` (the truth) and `predicted` are bool, True for the
    positive class. `not_scored` counts the labelled images that have no score.
    """

    score: NDArray[np.float32]
    positive: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    not_scored: int = 0

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Self:
        """Put several groups together."""
        empty = np.empty(0, dtype=bool)
        return cls(
            np.concatenate([np.empty(0, np.float32), *(part.score for part in parts)]),
            np.concatenate([empty, *(part.positive for part in parts)]),
            np.concatenate([empty, *(part.predicted for part in parts)]),
            sum(part.not_scored for part in parts),
        )


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


# ---------------------------------------------------------------- statistics


def wilson_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval | None:
    """Return Wilson's score interval (1927) of a proportion; None where `n` is 0."""
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n, found {successes} of {n}")
    if n == 0:
        return None
    z2 = _quantile(confidence) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At the ends the bound is exactly 0 or 1; rounding would leave it just beside.
    low = 0.0 if successes == 0 else min(centre - half, share)
    high = 1.0 if successes == n else max(centre + half, share)
    return low, high


def f1_interval(
    true_positive: int, false_positive: int, false_negative: int, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return an interval of the F1 score; None where F1 is not defined.

    F1 = 2J / (1 + J) rises with J = TP / (TP + FP + FN), and J is a plain proportion: the interval
    is Wilson's for J, carried over (the "indirect" method of Lam, Gopal and Qian 2024,
    arXiv:2309.14621). Unlike a bootstrap it doesn't shrink to [1, 1] where no error was seen.
    """
    errors = false_positive + false_negative
    interval = wilson_interval(true_positive, true_positive + errors, confidence)
    if interval is None:
        return None
    f1 = 2 * true_positive / (2 * true_positive + errors)
    low, high = (2 * bound / (1 + bound) for bound in interval)
    return min(low, f1), max(high, f1)


def roc_auc(positive: NDArray[np.bool_], score: NDArray[np.floating[Any]]) -> float | None:
    """Return the area under the ROC curve; None unless both classes are there.

    It is the share of pairs (one image of each class) that the scores put in order; a tied pair
    counts one half. Arrays of shape (n,); raises `ValueError` where a score is NaN.
    """
    placements = _placements(positive, score)
    return None if placements is None else float(placements[0].mean())


def delong_interval(
    positive: NDArray[np.bool_],
    score: NDArray[np.floating[Any]],
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Return an interval of the area under the ROC curve (AUC), or None where none can be stated.

    The variance is DeLong's (1988), from placements that sorting yields as in Sun and Xu (2014);
    the interval is symmetric on the logit scale, so that it stays within [0, 1].

    Where the scores separate the classes completely (AUC 1 or 0), that variance is 0 and says
    nothing. Then the other bound is exact and cautious: of k independent pairs, k the size of the
    smaller class, all k were in order, which for an AUC of a has a probability of at most a ** k.
    Otherwise a class with one image, or a variance of 0 (all scores tied), gives None.
    """
    placements = _placements(positive, score)
    if placements is None:
        return None
    of_positives, of_negatives = placements
    smaller = min(of_positives.size, of_negatives.size)
    area = float(of_positives.mean())
    if area in (0.0, 1.0):
        bound = ((1 - confidence) / 2) ** (1 / smaller)
        return (bound, 1.0) if area == 1.0 else (0.0, 1 - bound)
    # Placements are sorted; comparing their ends finds a variance of 0 without rounding errors.
    if smaller < 2 or all(side[0] == side[-1] for side in placements):
        return None
    variance = sum(float(side.var(ddof=1)) / side.size for side in placements)
    half = _quantile(confidence) * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    return min(_expit(logit - half), area), max(_expit(logit + half), area)


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def _placements(
    positive: NDArray[np.bool_], score: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return, for each positive, the share of negatives below it, and for each negative, the
    share of positives above it (ties count one half); in ascending order of score.
    """
    if np.isnan(score).any():
        raise ValueError("expected numbers as scores, found NaN")
    positives, negatives = np.sort(score[positive]), np.sort(score[~positive])
    if not positives.size or not negatives.size:
        return None
    return _share_below(positives, negatives), 1 - _share_below(negatives, positives)


def _share_below(
    values: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """For each of `values` (sorted), return the share of `others` (sorted) below it."""
    below = np.searchsorted(others, values, side="left")
    below += np.searchsorted(others, values, side="right")
    return below / (2 * others.size)


# ------------------------------------------------------------------- figures


def predicted_positive(score: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Say which scores (n,) reach the threshold, compared as float32.

    So a score that shows as 0.7 reaches a threshold of 0.7, which float32 cannot hold exactly.
    """
    return score >= np.float32(threshold)


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


def select_outcomes(
    score: pa.Array,
    label: pa.Array,
    prediction: pa.Array | None,
    threshold: float,
    classes: Sequence[str],
) -> Outcomes:
    """Pick the labelled images out of columns of equal length; see `compute_metrics`."""
    labelled = pc.is_valid(label)
    scored = pc.fill_null(pc.is_finite(score), False)
    used = pc.and_(labelled, scored)
    scores = score.filter(used).to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if prediction is None:
        predicted = predicted_positive(scores, threshold)
    else:
        predicted = _is_positive(prediction.filter(used), "prediction", classes)
    return Outcomes(
        score=scores,
        positive=_is_positive(label.filter(used), "label", classes),
        predicted=predicted,
        not_scored=(pc.sum(labelled).as_py() or 0) - len(scores),
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


def _is_positive(values: pa.Array, column: str, classes: Sequence[str]) -> NDArray[np.bool_]:
    """Turn class names into truth values; whatever is neither class is refused, not negative."""
    if pa.types.is_dictionary(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.string())
    codes = pc.index_in(values, value_set=pa.array(classes, values.type))
    if codes.null_count:
        found = values.filter(pc.is_null(codes))[0].as_py()
        raise UsageError(
            f"expected each {column} to be {' or '.join(classes)}, found {found!r}; "
            "use the labels and the results of the same model"
        )
    positive: NDArray[np.bool_] = codes.to_numpy(zero_copy_only=False) == len(classes) - 1
    return positive


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _proportion(name: str, part: int, n: int) -> tuple[str, float | None, Interval | None, int]:
    return name, _ratio(part, n), wilson_interval(part, n), n


def _metric(
    subgroup: str, name: str, value: float | None, interval: Interval | None, n: int
) -> Metric:
    low, high = interval or (None, None)
    return Metric(subgroup, name, None if value is None else float(value), low, high, n)


# --------------------------------------------------------- results and tables


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

    Raises `UsageError` if the file cannot be written.
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
        raise UsageError(
            f"{path}: the metrics cannot be written ({problem.strerror or problem}); "
            "check the folder and its free space"
        ) from problem


def render_metrics(report: MetricsReport) -> str:
    """Lay the figures of all images out for a terminal: plain ASCII, less than 80 columns."""
    left_out = _count(report, "labelled_not_scored")
    lines = [
        f"Model {_ascii(report.model_name, 40)} ({report.model_digest[:12]}), "
        f"threshold {report.threshold:.4g}",
        f"{report.images:,} images, {_count(report, 'labelled'):,} labelled",
    ]
    if left_out:
        lines.append(
            f"Labelled images without a score, left out of all figures below: {left_out:,}"
        )
    if report.unmatched_labels:
        lines.append(
            f"Paths of the label file without an image: {report.unmatched_labels:,}, such as"
        )
        lines += [f"    {_ascii(example, 72)}" for example in report.unmatched_examples]
    lines += ["", *_confusion_lines(report), "", *_figure_lines(report)]
    return "\n".join(lines) + "\n"


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


def _count(report: MetricsReport, name: str) -> int:
    return int(report.find(name).value or 0)


def _confusion_lines(report: MetricsReport) -> list[str]:
    """Lay the confusion matrix out, the truth in rows."""
    negative, positive = (_ascii(name, 18) for name in report.classes)
    heads = [f"labelled {negative}", f"labelled {positive}"]
    counts = [["true_negative", "false_positive"], ["false_negative", "true_positive"]]
    cells = [[f"{_count(report, name):,}" for name in row] for row in counts]
    first = max(len(head) for head in heads)
    width = max(10, len(negative), len(positive), *(len(cell) for row in cells for cell in row))
    lines = [
        f"{'':{first}}  {'predicted':^{2 * width + 2}}".rstrip(),
        f"{'':{first}}  {negative:>{width}}  {positive:>{width}}",
    ]
    for head, (left, right) in zip(heads, cells, strict=True):
        lines.append(f"{head:{first}}  {left:>{width}}  {right:>{width}}")
    return lines


def _figure_lines(report: MetricsReport) -> list[str]:
    lines = [f"{'metric':<12}  {'value':>7}  {'95% interval':^16}  {'n':>13}"]
    for name in ("prevalence", "accuracy", "precision", "recall", "specificity", "f1", "auc"):
        metric = report.find(name)
        interval = "-"
        if metric.ci_low is not None and metric.ci_high is not None:
            interval = f"{_share(metric.ci_low)} to {_share(metric.ci_high)}"
        value = "-" if metric.value is None else _share(metric.value)
        lines.append(f"{name:<12}  {value:>7}  {interval:^16}  {metric.n:>13,}")
    return lines


def _share(value: float) -> str:
    """Write a share with three decimals, but nothing that isn't 0 or 1 as if it were."""
    text = f"{value:.3f}"
    if text == "1.000" and value < 1:
        return ">0.999"
    return "<0.001" if text == "0.000" and value > 0 else text


def _ascii(text: str, width: int) -> str:
    text = "".join(sign if " " <= sign <= "~" else "?" for sign in text)
    return text if len(text) <= width else text[: width - 3] + "..."
