"""The key figures of all images, and of those left when some are taken out."""

from __future__ import annotations

from collections.abc import Sequence

from batchscan.report.document import Block, Column, Estimate, Kind, Table, Text, Value
from batchscan.report.figures.tallies import Mask, has_label, has_score
from batchscan.report.input.rows import Rows

_KINDS: dict[str, Kind] = {"images": "count", "auc": "figure"}
_TITLES = {"auc": "AUC", "ppv": "PPV", "npv": "NPV"}

Figures = tuple[tuple[str, Estimate], ...]


def with_and_without(rows: Rows, left_out: Sequence[tuple[str, Mask]]) -> list[Block]:
    """Return tables of key figures: of all images, without each kind (n,), without all kinds.

    Of more than two classes there is a table of each against the rest. Without labelled images, or
    where nothing is left out, a text says so.
    """
    used = has_label(rows) & has_score(rows)
    if not used.any():
        return [Text("figures_none", _NO_LABELS, "note")]
    kinds = [(name, mask) for name, mask in left_out if (mask & used).any()]
    if not kinds:
        return [Text("figures_same", _NOTHING_LEFT_OUT, "note")]
    without = [(f"without {name}", ~mask) for name, mask in kinds]
    if len(kinds) > 1:
        everything = kinds[0][1].copy()
        for _, mask in kinds[1:]:
            everything |= mask
        without.append(("without all of these", ~everything))
    groups: list[tuple[str, Mask | None]] = [("all images", None), *without]
    all_figures = [_figures(rows, where) for _, where in groups]
    lost = [0, *(int((used & ~where).sum()) for _, where in without)]
    return [
        _table([name for name, _ in groups], lost, [figures[place] for figures in all_figures], own)
        for place, own in enumerate((None,) if rows.threshold is not None else rows.classes)
    ]


def _figures(rows: Rows, where: Mask | None) -> list[Figures]:
    """Return the key figures of some images: of two classes once, of more for each."""
    from batchscan.report.figures.key_figures import key_figures
    from batchscan.report.input.selection import class_outcomes_of, outcomes_of, patients_of

    patients = patients_of(rows, where)
    if rows.threshold is not None:
        return [key_figures(outcomes_of(rows, where), patients)]
    outcomes = class_outcomes_of(rows, where)
    numbers = range(len(rows.classes))
    return [key_figures(outcomes.against_the_rest(number), patients) for number in numbers]


def _table(
    names: Sequence[str], lost: Sequence[int], figures: Sequence[Figures], own_class: str | None
) -> Table:
    columns = [Column(name, _TITLES.get(name, name), _KINDS.get(name, "percent"))
               for name, _ in figures[0]]  # fmt: skip
    body: list[tuple[Value, ...]] = [
        (name, count, *(estimate for _, estimate in own))
        for name, count, own in zip(names, lost, figures, strict=True)
    ]
    return Table(
        key="figures" if own_class is None else f"figures_{own_class}",
        caption="Key figures with and without these images"
        + ("" if own_class is None else f": {own_class} against the rest"),
        columns=(Column("which", "Images"), Column("left_out", "left out", "count"), *columns),
        rows=tuple(body),
        note="Only labelled images with a score count. Rates are those at the threshold.",
    )


_NO_LABELS = "No scored image has a label: figures with and without these images can't be computed."
_NOTHING_LEFT_OUT = (
    "None of the images on which the figures rest is a copy, looks like another or a training "
    "image, or is unlike the training images: the figures need no second look for that."
)
