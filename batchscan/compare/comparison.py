"""Comparing two results: from two files to a document, and the document to files."""

from __future__ import annotations

import json
from pathlib import Path

from batchscan.compare.pairing import Pairs, pair
from batchscan.compare.side_by_side import Side, read_side
from batchscan.errors import LabelError, UsageError
from batchscan.labels.file import read_labels
from batchscan.labels.lookup import LabelTable
from batchscan.report.document import Document
from batchscan.report.figures.comparison import comparison_document
from batchscan.run.provenance import identity_of
from batchscan.storage.location import Location, location


def compare_results(first: Location, second: Location, labels: Location | None = None) -> Document:
    """Compare two results of the same images; A is the first one, B the second.

    Labels are those of the results, or those of the file `labels`. Raises `UsageError` for files
    that are no results or have no path in common, and `LabelError` for a label file that cannot be
    used.
    """
    sides = read_side(first), read_side(second)
    _check_pseudonyms(*sides)
    table = None if labels is None else _read_labels(labels, sides[0])
    pairs = pair(*sides, table)
    if table is not None:
        _check_labels(pairs, table)
    return comparison_document(pairs, labels)


def write_comparison(document: Document, out: Path) -> list[Path]:
    """Write a document as HTML, and as JSON beside that; for a name in `.json` only that.

    Returns the files. Raises `OSError` where one cannot be written.
    """
    from batchscan.report.page.json_file import as_json

    written = []
    if out.suffix.lower() != ".json":
        from batchscan.report.page.html import render_html

        out.write_text(render_html(document), encoding="utf-8")
        written.append(out)
    beside = out.with_suffix(".json")
    text = json.dumps(as_json(document), indent=2, ensure_ascii=False, allow_nan=False)
    beside.write_text(text + "\n", encoding="utf-8")
    return [*written, beside]


def _check_pseudonyms(first: Side, second: Side) -> None:
    """Refuse to match hidden paths with others; pseudonyms of patients alone don't matter."""
    kinds = [_kind_of_paths(side) for side in (first, second)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"{second.result}: expected paths like those of {first.result} ({kinds[0]}), found "
            f"others ({kinds[1]}): hidden paths can only be matched by the same key"
        )


def _kind_of_paths(side: Side) -> str:
    identity = identity_of(side.footer)
    return f"hidden by the key {identity.id_key}" if identity.hide_paths else "as they are"


def _read_labels(labels: Location, side: Side) -> LabelTable:
    archive = side.footer.get("archive")
    root = location(archive) if isinstance(archive, str) else None
    return read_labels(labels, side.classes, archive_root=root)


def _check_labels(pairs: Pairs, labels: LabelTable) -> None:
    if pairs.unmatched_labels == len(labels):
        example = f": the first is {pairs.unmatched_examples[0]!r}" if len(labels) else ""
        raise LabelError(
            f"{labels.source}: expected paths as in {pairs.first.result.name}, found none of them "
            f"there{example}; write paths relative to the archive"
        )
