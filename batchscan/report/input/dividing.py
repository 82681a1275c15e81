"""Columns by which the figures are divided: where each is found, and which can't be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from batchscan.errors import UsageError
from batchscan.labels.lookup import LabelTable
from batchscan.report.figures.groups import numbers_of
from batchscan.storage.location import Location

MOST_GROUPS = 1000
"""Distinct texts that such a column may have: more groups nobody reads."""

MOST_NUMBERS = 1_000_000
"""Distinct numbers, which are put into bands, that it may have: for the memory's sake."""

_DERIVED = frozenset({"folder", "month"})
OF_ROWS = _DERIVED | {"status", "failure", "skip"}
"""Columns of `batchscan.report.input.rows.Rows` that can be named, too."""

_TAKEN = frozenset({"path", "flags", "patient", "content", "phash", "ood_score"})
_OUTCOMES = frozenset({"prediction", "label"})
"""Groups of these differ in sensitivity or specificity by what they are, not by the model."""

PEOPLE = ("label_sex", "label_age_years")
"""What a label file may say of people; it is read whether figures are divided or not."""


@dataclass(frozen=True)
class Division:
    """The columns by which figures are divided, less those that `Rows` has anyway.

    `of_labels` also has the columns of `PEOPLE` that the label file has.
    """

    by: tuple[str, ...]
    of_labels: tuple[str, ...]
    of_result: tuple[str, ...]


def find_columns(
    by: Sequence[str],
    results: Location,
    schema: pa.Schema,
    scores: Sequence[str],
    labels: LabelTable | None,
    is_empty: Callable[[str], bool],
) -> Division:
    """Find each column in the result (`schema`) or in the label file's further ones.

    `scores` are the result's columns of scores; `is_empty` says whether one of its columns has no
    value at all. Then, or where it is not there, the label file's column of that name is taken,
    which is called `label_<name>`. Raises `UsageError` for a column that neither has, or that no
    figures can be divided by.
    """
    further = {} if labels is None else {field.name: field.type for field in labels.extra_fields}
    known = dict(zip(schema.names, schema.types, strict=True)) | further
    taken = _TAKEN.union(scores, _OUTCOMES)
    by = [_or_of_labels(name, known, is_empty) for name in by]
    choice = OF_ROWS | {name for name in known if name not in taken and _divides(known[name])}
    for name in by:
        if name not in choice:
            raise UsageError(
                f"{results}: expected a column to divide the figures by, found {name!r}, which is "
                f"none; there are: {', '.join(sorted(choice))}"
            )
        if name in _DERIVED.intersection(known) or name in OF_ROWS.intersection(further):
            raise UsageError(
                f"{labels.source if labels and name in further else results}: the column {name} "
                "has a name that the report needs for something else; rename it"
            )
    names = tuple(dict.fromkeys(by))
    of_labels = tuple(name for name in dict.fromkeys([*names, *PEOPLE]) if name in further)
    return Division(
        by=names,
        of_labels=of_labels,
        of_result=tuple(name for name in names if name not in OF_ROWS.union(of_labels)),
    )


def check_groups(name: str, results: Location, values: pa.Array) -> None:
    """Raise `UsageError` where a column, a dictionary of text, has too many distinct values."""
    count = len(values.dictionary)
    if count <= MOST_GROUPS:
        return
    numbers = numbers_of(values.dictionary) is not None
    most, kind = (MOST_NUMBERS, "numbers") if numbers else (MOST_GROUPS, "texts")
    if count > most:
        raise UsageError(
            f"{results}: expected a column of at most {most:,} distinct {kind} to divide "
            f"the figures by, found {count:,} in {name}; choose another"
        )


def _or_of_labels(name: str, known: Iterable[str], is_empty: Callable[[str], bool]) -> str:
    """Return the name of the label file's column, where the result's own says nothing."""
    twin = f"label_{name}".casefold()
    found = next((other for other in known if other.casefold() == twin), None)
    if found is None or name in OF_ROWS or name in _OUTCOMES:
        return name
    return found if name not in known or is_empty(name) else name


def _divides(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind))
