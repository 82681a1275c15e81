"""Measuring a result after the scan, with labels that may have come later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchscan.errors import UsageError
from batchscan.labels.file import read_labels
from batchscan.metrics.measure import MetricsReport, metrics_from_result, write_metrics
from batchscan.privacy.pseudonym import key_check, read_key, shown_path
from batchscan.results.result import read_footer
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.run.pipeline import metrics_path
from batchscan.run.provenance import identity_of
from batchscan.storage.location import Location, location


def measure_result(
    results: Location, labels: Location | None = None, id_key: Path | None = None
) -> tuple[MetricsReport, Location]:
    """Compute and write the metrics of a result; returns them and where they were written.

    Where the result's paths are hidden, `id_key` is the file with the key that they were hidden
    with: the label file holds real ones.
    """
    footer = read_footer(results)
    rules = _rules(results, footer, id_key) if labels is not None else DEFAULT_RULES
    table = None
    if labels is not None:
        table = read_labels(
            labels,
            footer["model"]["classes"],
            archive_root=None if rules.hide_paths else location(footer["archive"]),
            quote=not rules.hide_paths,
        )
        if rules.hide_paths:
            table = table.with_paths(lambda path: shown_path(path, rules))
    report = metrics_from_result(results, table)
    path = metrics_path(results)
    source = shown_path(str(labels), rules) if labels is not None else None
    write_metrics(report.metrics, path, footer | {"labels": source})
    return report, path


def _rules(results: Location, footer: Mapping[str, Any], id_key: Path | None) -> Rules:
    """Return how the paths of a result were written; raises `UsageError` without their key."""
    if not identity_of(footer).hide_paths:
        return DEFAULT_RULES
    if id_key is None:
        raise UsageError(
            f"{results}: its paths are hidden: expected --id-key FILE with --labels, found none; "
            "give the key that it was made with"
        )
    key = read_key(id_key)
    if key_check(key) != footer.get("id_key_check"):
        raise UsageError(
            f"--id-key {id_key}: expected the key that {results} was made with, whose check value "
            f"is {footer.get('id_key_check')}, found one with {key_check(key)}; use that key"
        )
    return Rules(id_key=key, hide_paths=True)
