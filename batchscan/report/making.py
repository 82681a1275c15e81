"""From a result on disk to its report on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchscan.errors import UsageError
from batchscan.model.bundle import Bundle, load_bundle
from batchscan.report.build import build_document
from batchscan.report.input.rows import Rows
from batchscan.report.page.report_files import (
    Written,
    check_report_place,
    numbers_place,
    write_report,
)
from batchscan.storage.location import Location


def make_report(
    results: Location,
    out: Location,
    *,
    labels: Location | None = None,
    by: Sequence[str] = (),
    archive: Location | None = None,
    model: Path | None = None,
    prevalence: float | None = None,
    worklist: Location | None = None,
    id_key: bytes | None = None,
) -> Written:
    """Write the report of a result to `out`, its numbers beside it, and a worklist if one is asked.

    `archive` holds the images; without it none is shown. `model` is the bundle that made the
    scores; without it, the one in the package, if that made them. `prevalence` lies between 0 and
    1. Raises an error of `batchscan.errors`, and then writes nothing of the report.
    """
    from batchscan.report.input.reading import read_rows
    from batchscan.report.sheets.worklist import check_worklist_place, write_worklist

    inputs = [results] if labels is None else [results, labels]
    check_report_place(out, "--out", *inputs)
    if worklist is not None:
        check_worklist_place(worklist, *inputs, out, numbers_place(out))
    rows = read_rows(results, labels=labels, by=by)
    document = build_document(
        rows,
        bundle=bundle_of(rows, model),
        prevalence=prevalence,
        archive=archive,
        id_key=id_key,
    )
    if worklist is not None:
        write_worklist(rows, worklist)
    return write_report(document, out)


def bundle_of(rows: Rows, model: Path | None) -> Bundle | None:
    """Return the bundle that made a result's scores; None where it is not at hand.

    Raises `UsageError` where `model` is another one, or knows other classes than the result's
    record says it does, and `BundleError` as `load_bundle` does.
    """
    bundle = load_bundle(model)
    record = rows.footer.get("model")
    expected = str(record.get("digest")) if isinstance(record, dict) else ""
    if (made := bundle.of_digest(expected)) is not None:
        if bundle.classes == rows.classes:
            return made
        raise UsageError(
            f"{rows.result}: expected the classes of its model ({', '.join(bundle.classes)}), "
            f"found {', '.join(rows.classes)} in its record, which was changed; scan anew"
        )
    if model is None:
        return None
    raise UsageError(
        f"--model {model}: expected the model that made {rows.result} ({expected[:16]}...), found "
        f"another ({bundle.digest[:16]}...); give that one, or leave --model out"
    )
