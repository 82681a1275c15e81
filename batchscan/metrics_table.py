"""The figures of a result as a table for a terminal."""

from __future__ import annotations

from batchscan.metrics import MetricsReport


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
