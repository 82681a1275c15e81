"""The way of the images from the archive into the figures, as in STARD's flow diagram (2015)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from batchscan.errors import UsageError
from batchscan.report.document import (
    Block,
    Column,
    Flow,
    FlowStep,
    Section,
    Table,
    Text,
    Value,
)
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, count_texts, has_label, has_score, is_text
from batchscan.schema import FAILED, SCORED, SKIPPED
from batchscan.terminal.text import one_line

_NO_CATEGORY = "no reason given"
_NO_NUMBER = "scored, but the score is no number"


def flow_section(rows: Rows) -> Section:
    """Return how many images were found, left out and why, scored, and labelled.

    Raises `UsageError` where the counts do not add up, or are not those of the result's record.
    """
    scored, labelled = has_score(rows), has_label(rows)
    steps = _steps(rows, scored, labelled)
    _check(rows, steps)
    blocks: list[Block] = [_diagram(steps), _label_table(rows, scored)]
    blocks += _remarks(rows, scored, labelled)
    return Section("flow", "Flow of images", tuple(blocks))


def _steps(rows: Rows, scored: Mask, labelled: Mask) -> tuple[FlowStep, ...]:
    skipped, failed = is_text(rows, "status", SKIPPED), is_text(rows, "status", FAILED)
    without_number = int((is_text(rows, "status", SCORED) & ~scored).sum())
    found, left = rows.table.num_rows, int(skipped.sum())
    attempted = found - left
    lost = _reasons(rows, "failure", failed)
    if without_number:
        lost += ((_NO_NUMBER, without_number),)
    unlabelled = int((scored & ~labelled).sum())
    return (
        FlowStep("Images found", found, _reasons(rows, "skip", skipped)),
        FlowStep("Images to be scored", attempted, lost),
        FlowStep("Scored", int(scored.sum()), (("no label", unlabelled),) if unlabelled else ()),
        FlowStep("Scored and labelled: the figures rest on these", int((scored & labelled).sum())),
    )


def _reasons(rows: Rows, column: str, where: Mask) -> tuple[tuple[str, int], ...]:
    kind = {"skip": "skipped", "failure": "failed"}[column]
    counts = count_texts(rows, column, where)
    return tuple((f"{kind}: {name or _NO_CATEGORY}", count) for name, count in counts.items())


def _check(rows: Rows, steps: tuple[FlowStep, ...]) -> None:
    """Refuse counts that do not add up."""
    for step, following in pairwise(steps):
        if step.count - sum(count for _, count in step.leaves) != following.count:
            raise UsageError(
                f"{rows.result}: expected counts that add up, found {step.count:,} images "
                f"({step.title}) that do not leave {following.count:,}; scan anew"
            )
    recorded = rows.footer.get("counts")
    if not isinstance(recorded, dict):
        return
    for name, count in _counted(rows).items():
        if name in recorded and recorded[name] != count:
            raise UsageError(
                f"{rows.result}: expected the counts of its own record, {name}: "
                f"{recorded[name]}, found {count}; its rows were changed: scan anew"
            )


def _counted(rows: Rows) -> Mapping[str, Any]:
    """Count what the record of a result counts, in the same form; labels may have come later."""
    own_labels = {} if rows.labels is not None else {"labelled": int(has_label(rows).sum())}
    return own_labels | {
        "found": rows.table.num_rows,
        "scored": int(is_text(rows, "status", SCORED).sum()),
        "skipped": _categories(rows, "skip"),
        "failed": _categories(rows, "failure"),
    }


def _categories(rows: Rows, column: str) -> dict[str, int]:
    return {name: count for name, count in count_texts(rows, column).items() if name is not None}


def _diagram(steps: tuple[FlowStep, ...]) -> Flow:
    found, last = steps[0].count, steps[-1].count
    return Flow(
        key="diagram",
        caption="From the archive to the figures",
        summary=f"Of {found:,} images found, {steps[2].count:,} were scored; {last:,} of these "
        "have a label.",
        steps=steps,
    )


def _label_table(rows: Rows, scored: Mask) -> Table:
    """Cross what became of the images with what is known about them."""
    skipped, failed = is_text(rows, "status", SKIPPED), is_text(rows, "status", FAILED)
    fates = (
        ("scored", scored),
        (_NO_NUMBER, is_text(rows, "status", SCORED) & ~scored),
        ("skipped", skipped),
        ("failed", failed),
        ("all", np.ones(scored.size, dtype=bool)),
    )
    body: list[tuple[Value, ...]] = []
    for name, where in fates:
        counts = count_texts(rows, "label", where)
        total = int(where.sum())
        if total or name != _NO_NUMBER:
            known = (counts.get(label, 0) for label in rows.classes)
            body.append((name, *known, counts.get(None, 0), total))
    classes = (Column(f"label_{name}", f"labelled {name}", "count") for name in rows.classes)
    return Table(
        key="labels",
        caption="What became of the images, by their label",
        columns=(
            Column("fate", "Images"),
            *classes,
            Column("unlabelled", "no label", "count"),
            Column("all", "all", "count"),
        ),
        rows=tuple(body),
    )


def _remarks(rows: Rows, scored: Mask, labelled: Mask) -> list[Text]:
    """Say in words what is missing from the figures."""
    no_number = int((is_text(rows, "status", SCORED) & ~scored).sum())
    no_score = int((labelled & ~scored).sum())
    remarks = _not_read(rows)
    if not scored.any():
        remarks.append(Text("none_scored", _NONE_SCORED, "warning"))
    elif not (scored & labelled).any():
        remarks.append(Text("no_labels", _NO_LABELS, "warning"))
    if no_number:
        remarks.append(Text("no_number", _NO_NUMBERS.format(no_number), "warning"))
    if no_score:
        remarks.append(Text("labelled_not_scored", _LABELLED_NOT_SCORED.format(no_score), "note"))
    if rows.unmatched_labels:
        examples = ", ".join(map(one_line, rows.unmatched_examples))
        text = _UNMATCHED.format(rows.unmatched_labels, examples)
        remarks.append(Text("unmatched", text, "warning"))
    return remarks


def _not_read(rows: Rows) -> list[Text]:
    """Warn of what the scan's record says that it could not look into."""
    record = rows.footer.get("not_read")
    counts = record if isinstance(record, Mapping) else {}
    folders, containers = (counts.get(name) or 0 for name in ("folders", "containers"))
    if not folders and not containers:
        return []
    return [Text("not_read", _NOT_READ.format(folders, containers), "warning")]


_NOT_READ = (
    "The scan could not read everything. Folders: {:,}; zip and tar files without a row of their "
    "own: {:,}. Images in them may be missing here, or be as an earlier run found them."
)
_NONE_SCORED = "Not one image was scored: nothing can be computed from scores."
_NO_LABELS = (
    "No scored image has a label: whatever compares scores with labels cannot be computed. "
    "--labels takes a file of labels."
)
_NO_NUMBERS = (
    "Number of images called scored, but with a score that is no number: {:,}. They are taken as "
    "not scored."
)
_LABELLED_NOT_SCORED = (
    "Number of labelled images without a score, which are in none of the figures: {:,}. Where the "
    "reason has to do with the disease, the figures are biased by it."
)
_UNMATCHED = (
    "Number of the label file's paths that have no image in the result, and count nowhere: {:,}, "
    "such as {}"
)
