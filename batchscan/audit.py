"""Measuring a result after the scan, with labels that may have come later."""

from __future__ import annotations

from batchscan.label_file import read_labels
from batchscan.location import Location, location
from batchscan.metrics import MetricsReport, metrics_from_result, write_metrics
from batchscan.pipeline import metrics_path
from batchscan.results import read_footer


def measure_result(
    results: Location, labels: Location | None = None
) -> tuple[MetricsReport, Location]:
    """Compute and write the metrics of a result; returns them and where they were written."""
    footer = read_footer(results)
    table = None
    if labels is not None:
        table = read_labels(
            labels, footer["model"]["classes"], archive_root=location(footer["archive"])
        )
    report = metrics_from_result(results, table)
    path = metrics_path(results)
    write_metrics(report.metrics, path, footer | {"labels": str(labels) if labels else None})
    return report, path
