"""The facts below a report's title: what was audited."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from batchscan.report.input.rows import Rows
from batchscan.version import VERSION

UNKNOWN = "not recorded"


def facts_of(rows: Rows, prevalence: float | None) -> tuple[tuple[str, str], ...]:
    """Return names and values. Names of files are left out where the result hides paths."""
    footer = rows.footer
    model = _mapping(footer.get("model"))
    threshold = "none: the likeliest class" if rows.threshold is None else f"{rows.threshold:.4g}"
    facts = [
        ("Result", rows.result.name),
        ("Archive", str(footer.get("archive") or UNKNOWN)),
        ("Scanned", f"{_moment(footer.get('started'))} to {_moment(footer.get('finished'))}"),
        ("Model", f"{model.get('name') or UNKNOWN}, digest {str(model.get('digest'))[:16]}"),
        ("Classes", ", ".join(rows.classes)),
        ("Threshold", threshold),
        ("Labels", _labels(rows)),
    ]
    if prevalence is not None:
        facts.append(("Prevalence assumed", f"{prevalence:.4g}"))
    made = datetime.now(UTC).isoformat(timespec="minutes")
    facts.append(("Report made", f"{_moment(made)}, by batchscan {VERSION}"))
    return tuple(facts)


def _labels(rows: Rows) -> str:
    options = _mapping(rows.footer.get("options"))
    given = options.get("labels")
    if rows.labels is not None:
        hidden = options.get("hide_paths") is True
        return "of a label file" if hidden else f"of {rows.labels.name}"
    return "as the scan took them" + (f" from {given}" if given else " from names of folders")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _moment(value: Any) -> str:
    """Return a time of the record in UTC and to the minute, or as it stands there."""
    try:
        moment = datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError:
        return UNKNOWN
    return f"{moment:%Y-%m-%d %H:%M} UTC"
