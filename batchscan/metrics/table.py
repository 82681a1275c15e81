"""The figures of a result as a table for a terminal."""

from __future__ import annotations

from batchscan.metrics.measure import Metric, MetricsReport
from batchscan.terminal.text import ascii_text, share


def render_metrics(report: MetricsReport) -> str:
    """Lay the figures of all images out for a terminal: plain ASCII, less than 80 columns.

    More than four classes make the confusion matrix wider.
    """
    left_out = _count(report, "labelled_not_scored")
    lines = [
        f"Model {ascii_text(report.model_name, 40)} ({report.model_digest[:12]}), {_rule(report)}",
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
        lines += [f"    {ascii_text(example, 72)}" for example in report.unmatched_examples]
    lines += ["", *_confusion_lines(report), ""]
    lines += _figure_lines(report) if len(report.classes) == 2 else _class_lines(report)
    return "\n".join(lines) + "\n"


def _rule(report: MetricsReport) -> str:
    """Say how a class is predicted."""
    if report.threshold is None:
        return f"{len(report.classes)} classes"
    return f"threshold {report.threshold:.4g}"


def _count(report: MetricsReport, name: str, class_name: str | None = None) -> int:
    return int(report.find(name, class_name=class_name).value or 0)


def _confusion_lines(report: MetricsReport) -> list[str]:
    """Lay the confusion matrix out, the truth in rows."""
    names = [ascii_text(name, 18 if len(report.classes) == 2 else 10) for name in report.classes]
    heads = [f"labelled {name}" for name in names]
    cells = [[f"{count:,}" for count in row] for row in _confusion(report)]
    first = max(len(head) for head in heads)
    width = max(10, *(len(text) for row in [names, *cells] for text in row))
    lines = [
        f"{'':{first}}  {'predicted':^{(width + 2) * len(names) - 2}}".rstrip(),
        f"{'':{first}}" + "".join(f"  {name:>{width}}" for name in names),
    ]
    for head, row in zip(heads, cells, strict=True):
        lines.append(f"{head:{first}}" + "".join(f"  {cell:>{width}}" for cell in row))
    return lines


def _confusion(report: MetricsReport) -> list[list[int]]:
    if len(report.classes) > 2:
        return [
            [_count(report, f"predicted_{name}", label) for name in report.classes]
            for label in report.classes
        ]
    names = [["true_negative", "false_positive"], ["false_negative", "true_positive"]]
    return [[_count(report, name) for name in row] for row in names]


def _figure_lines(report: MetricsReport) -> list[str]:
    names = ("prevalence", "accuracy", "precision", "recall", "specificity", "f1", "auc")
    return [_heading(12), *(_figure_line(report.find(name), 12) for name in names)]


def _class_lines(report: MetricsReport) -> list[str]:
    """Lay out the figures of all classes together, then of each against the rest."""
    lines = [_heading(17)]
    for name in ("accuracy", "balanced_accuracy", "macro_auc"):
        lines.append(_figure_line(report.find(name), 17))
    for label in report.classes:
        lines += ["", f"{ascii_text(label, 50)} against the rest"]
        for name in ("prevalence", "precision", "recall", "specificity", "f1", "auc"):
            lines.append(_figure_line(report.find(name, class_name=label), 17))
    return lines


def _heading(width: int) -> str:
    return f"{'metric':<{width}}  {'value':>7}  {'95% interval':^16}  {'n':>13}"


def _figure_line(metric: Metric, width: int) -> str:
    interval = "-"
    if metric.ci_low is not None and metric.ci_high is not None:
        interval = f"{share(metric.ci_low)} to {share(metric.ci_high)}"
    value = "-" if metric.value is None else share(metric.value)
    return f"{metric.metric:<{width}}  {value:>7}  {interval:^16}  {metric.n:>13,}"
