"""The summary at the top: how many images, the key figures, and all warnings together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscan.metrics.outcomes import likeliest, predicted_positive
from batchscan.model.bundle import Bundle
from batchscan.report.document import Block, Column, Estimate, Kind, Section, Table, Text, Value
from batchscan.report.input.rows import Rows
from batchscan.report.input.tallies import Mask, has_label, has_score, score_of
from batchscan.schema import SCORED, score_columns

_FIGURES: dict[str, tuple[str, Kind]] = {
    "images": ("Images", "count"),
    "auc": ("AUC", "figure"),
    "sensitivity": ("Sensitivity", "percent"),
    "specificity": ("Specificity", "percent"),
    "ppv": ("PPV", "percent"),
    "npv": ("NPV", "percent"),
}


def summary_section(rows: Rows, sections: Sequence[Section], bundle: Bundle | None) -> Section:
    """Return the key figures of two classes, all other sections' warnings, and counts."""
    blocks: list[Block] = [*_figures(rows)]
    if bundle is None:
        text = (
            "The model that made the scores is not at hand, so nothing is compared with its "
            "training images. --model DIR gives it."
        )
        blocks.append(Text("no_model", text, "warning"))
    warnings = list(_warnings(sections))
    blocks += warnings or [Text("no_warnings", "No section of this report warns of anything.")]
    return Section("summary", "Summary", (*blocks, _counts(rows)))


def _counts(rows: Rows) -> Table:
    """Count the images by status, by prediction, and those that have a label."""
    found = rows.table.num_rows
    labelled = found - rows.table["label"].null_count
    statuses, scored = _tally(rows.table["status"]), has_score(rows)
    counts = [("Images found", found), ("Scored", int(scored.sum()))]
    if without_number := statuses.pop(SCORED, 0) - counts[-1][1]:
        counts.append(("Scored, but the score is no number", without_number))
    counts += [(status.capitalize(), count) for status, count in sorted(statuses.items())]
    counts += [("With a label", labelled)]
    counts += [("Scored and labelled", int((scored & has_label(rows)).sum()))]
    predicted = _predicted(rows, scored)
    counts += [(f"Predicted {name}", n) for name, n in zip(rows.classes, predicted, strict=True)]
    table: list[tuple[Value, ...]] = [
        (name, count, count / found if found else None) for name, count in counts
    ]
    columns = (
        Column("what", "Images"),
        Column("count", "Number", "count"),
        Column("share", "Share of all", "percent"),
    )
    return Table("counts", "Images", columns, tuple(table))


def _predicted(rows: Rows, scored: Mask) -> list[int]:
    """Count the scored images (n,) by the class that their scores say, as all figures do."""
    scores = [score_of(rows, name)[scored] for name in score_columns(rows.classes)]
    if rows.threshold is None:
        number = likeliest(np.stack(scores, axis=1))
    else:
        number = predicted_positive(scores[0], rows.threshold).astype(np.int64)
    return [int(count) for count in np.bincount(number, minlength=len(rows.classes))]


def _figures(rows: Rows) -> Iterator[Block]:
    """Yield the key figures, where the images have labels of two classes."""
    if len(rows.classes) != 2 or rows.table["label"].null_count == rows.table.num_rows:
        return
    from batchscan.report.figures.key_figures import key_figures
    from batchscan.report.input.selection import outcomes_of, patients_of

    outcomes = outcomes_of(rows)
    if not outcomes.score.size:
        return
    figures = dict(key_figures(outcomes, patients_of(rows)))
    columns = [Column("group", "Group")]
    columns += [Column(name, *_FIGURES.get(name, (name, "figure"))) for name in figures]
    row = ("All with label and score", *(_cell(name, each) for name, each in figures.items()))
    yield Table(
        "key_figures",
        f"Key figures, {rows.classes[-1]} as positive",
        tuple(columns),
        (row,),
        f"95% intervals. Rates are those at the threshold of {rows.threshold:.4g}.",
    )


def _cell(name: str, estimate: Estimate) -> Value:
    """Return a number of images as such."""
    return estimate.n if name == "images" else estimate


def _warnings(sections: Sequence[Section]) -> Iterator[Text]:
    """Yield each warning with the sections that it stands in; one that several have, once."""
    places: dict[str, list[tuple[str, str]]] = {}
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Text) and block.tone == "warning":
                key = f"{section.key}_{block.key}"
                places.setdefault(block.text, []).append((key, section.title))
    for text, found in places.items():
        titles = ", ".join(dict.fromkeys(title for _, title in found))
        stop = "" if titles.endswith("?") else ":"
        yield Text(found[0][0], f"{titles}{stop} {text}", "warning")


def _tally(column: pa.ChunkedArray) -> dict[str, int]:
    counts = pc.value_counts(column.drop_null()).to_pylist()
    return {str(each["values"]): int(each["counts"]) for each in counts}
