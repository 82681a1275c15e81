"""Two results of the same images, side by side: matched by path, in one pass through both files.

Both ascend by path, so that never more than a batch of each is held. What stays of an image is its
scores, decisions and label: about a dozen bytes with two classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.compare.side_by_side import Side, rows_of, side_by_side
from batchscan.errors import UsageError
from batchscan.labels.lookup import LabelLookup, LabelTable
from batchscan.report.input.columns import digest_numbers, ordinals
from batchscan.results.file import no_result
from batchscan.run.provenance import identity_of
from batchscan.schema import SCORED, score_columns

MOST_CHANGED = 20
"""How many of the images whose scores differ most are named."""

_UNKNOWN = -1


@dataclass(frozen=True)
class Change:
    """An image and what the two results say of it; `score` has a number for each score column."""

    path: str
    label: str | None
    scores: tuple[tuple[float, ...], tuple[float, ...]]
    predictions: tuple[str | None, str | None]
    distance: float


@dataclass
class Counts:
    """How the rows of the two results go together.

    `statuses` counts the images of both by what they are in the first and in the second. Of these
    images, `other_content` have another SHA-256, and of those scored in both `no_number` have a
    score that is no number; the rest with a score in both are the pairs. Of the pairs, for
    `unknown_content` nobody knows whether they are the same images, and `other_label` have two
    labels.
    """

    only_first: int = 0
    only_second: int = 0
    other_content: int = 0
    no_number: int = 0
    unknown_content: int = 0
    other_label: int = 0
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Pairs:
    """The images that have a score in both results, and the same content as far as is known.

    `scores` are float32 (n, C), with one column for two classes; None if the classes of the two
    results differ. `decisions` are int8 (n,), numbers of each result's own classes; `label` is int8
    (n,), numbers of the first one's. -1 stands for none. `patient` is int32 (n,), a number for each
    patient, of whom one at least has two images; None where nobody is known to.
    """

    first: Side
    second: Side
    counts: Counts
    scores: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    decisions: tuple[NDArray[np.int8], NDArray[np.int8]]
    label: NDArray[np.int8]
    most_changed: tuple[Change, ...]
    patient: NDArray[np.int32] | None = None
    unmatched_labels: int = 0
    unmatched_examples: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """The number of images."""
        return int(self.label.size)

    @property
    def same_classes(self) -> bool:
        """Whether scores mean the same in both."""
        return self.first.classes == self.second.classes


def pair(first: Side, second: Side, labels: LabelTable | None = None) -> Pairs:
    """Match the images of two results by path.

    `labels` replaces the results' own labels. Raises `UsageError` where a file cannot be read or
    does not ascend by path, or where no path is in both.
    """
    collector = _Collector(first, second, labels)
    try:
        for one, other in side_by_side(rows_of(first), rows_of(second)):
            collector.add(one, other)
    except (OSError, pa.ArrowException) as problem:
        reason = getattr(problem, "strerror", None) or str(problem).splitlines()[0][:200]
        raise UsageError(f"{first.result}, {second.result}: cannot be read: {reason}") from problem
    if not collector.counts.statuses:
        raise UsageError(
            f"{second.result}: expected images of {first.result}, found no path that is in both; "
            "compare results of the same archive (and, where paths are hidden, of the same key)"
        )
    return collector.pairs()


class _Collector:
    """Takes rows of the same stretch of paths from both results, and keeps what pairs need."""

    def __init__(self, first: Side, second: Side, labels: LabelTable | None) -> None:
        self.counts = Counts()
        self._sides = first, second
        same = first.classes == second.classes
        self._columns = score_columns(first.classes) if same else ()
        self._lookup = LabelLookup(labels) if labels is not None else None
        self._scores: tuple[list[Any], list[Any]] = ([], [])
        self._decisions: tuple[list[Any], list[Any]] = ([], [])
        self._labels: list[Any] = []
        self._patients: list[pa.Array] = []
        self._keyed = 0 if identity_of(first.footer).id_key else 1
        self._most_changed: list[Change] = []

    def add(self, first: pa.Table, second: pa.Table) -> None:
        """Take all rows of both whose paths lie in one stretch."""
        if self._lookup is not None and len(first):
            label = self._lookup.find(first["path"])["label"]
            first = first.set_column(first.column_names.index("label"), "label", label)
        place = pc.index_in(first["path"], value_set=second["path"])
        matched = pc.is_valid(place)
        both = (first.filter(matched), second.take(place.filter(matched)))
        self.counts.only_first += len(first) - len(both[0])
        self.counts.only_second += len(second) - len(both[1])
        self._count_statuses(both[0]["status"], both[1]["status"])
        self._add_pairs(*both)

    def _count_statuses(self, first: pa.ChunkedArray, second: pa.ChunkedArray) -> None:
        pairs = pa.table([first, second], ["first", "second"]).group_by(["first", "second"])
        for row in pairs.aggregate([([], "count_all")]).to_pylist():
            self.counts.statuses[row["first"], row["second"]] += row["count_all"]

    def _add_pairs(self, first: pa.Table, second: pa.Table) -> None:
        """Keep the images with a score and the same content in both."""
        same = pc.equal(first["sha256"], second["sha256"])
        self.counts.other_content += pc.sum(pc.invert(same)).as_py() or 0
        scored = pc.and_(*(pc.equal(table["status"], SCORED) for table in (first, second)))
        usable = alike = pc.and_(scored, pc.fill_null(same, True))
        for table in (first, second):
            for name in self._columns:
                usable = pc.and_(usable, pc.fill_null(pc.is_finite(table[name]), False))
        self.counts.no_number += (pc.sum(alike).as_py() or 0) - (pc.sum(usable).as_py() or 0)
        self.counts.unknown_content += pc.sum(pc.and_(usable, pc.is_null(same))).as_py() or 0
        self._keep(first.filter(usable), second.filter(usable))

    def _keep(self, first: pa.Table, second: pa.Table) -> None:
        classes = self._sides[0].classes
        label = _numbers(first["label"], classes)
        if self._lookup is None:
            other = _numbers(second["label"], classes)
            conflict = (label != other) & (label != _UNKNOWN) & (other != _UNKNOWN)
            self.counts.other_label += int(conflict.sum())
            label = np.where(conflict, np.int8(_UNKNOWN), np.maximum(label, other))
        self._labels.append(label)
        keys = _flat((first, second)[self._keyed]["patient_id_hmac"])
        try:
            self._patients.append(digest_numbers(keys))
        except ValueError as problem:
            raise no_result(self._sides[self._keyed].result, str(problem)) from problem
        for table, side, scores, decisions in zip(
            (first, second), self._sides, self._scores, self._decisions, strict=True
        ):
            decisions.append(_numbers(table["prediction"], side.classes))
            columns = [table[name].to_numpy() for name in self._columns]
            scores.append(np.stack(columns, axis=1) if columns else np.empty((len(table), 0)))
        self._note_changes(first, second, label)

    def _note_changes(self, first: pa.Table, second: pa.Table, label: NDArray[np.int8]) -> None:
        """Remember the images whose scores differ most."""
        if not self._columns or not len(first):
            return
        scores = [side[-1] for side in self._scores]
        distance = np.abs(scores[0] - scores[1]).max(axis=1)
        order = np.argsort(-distance, kind="stable")[:MOST_CHANGED]
        classes = self._sides[0].classes
        for row in order[distance[order] > 0].tolist():
            known = classes[label[row]] if label[row] >= 0 else None
            predictions = (first["prediction"][row].as_py(), second["prediction"][row].as_py())
            both = (tuple(scores[0][row].tolist()), tuple(scores[1][row].tolist()))
            path = first["path"][row].as_py()
            self._most_changed.append(Change(path, known, both, predictions, float(distance[row])))
        self._most_changed.sort(key=lambda change: -change.distance)
        del self._most_changed[MOST_CHANGED:]

    def pairs(self) -> Pairs:
        """Return all pairs."""
        scores = tuple(np.concatenate(side).astype(np.float32) for side in self._scores)
        decisions = tuple(np.concatenate(side) for side in self._decisions)
        unmatched, examples = self._lookup.unmatched() if self._lookup else (0, ())
        return Pairs(
            *self._sides,
            counts=self.counts,
            scores=(scores[0], scores[1]) if self._columns else None,
            decisions=(decisions[0], decisions[1]),
            label=np.concatenate(self._labels),
            most_changed=tuple(self._most_changed),
            patient=self._numbered_patients(),
            unmatched_labels=unmatched,
            unmatched_examples=examples,
        )

    def _numbered_patients(self) -> NDArray[np.int32] | None:
        """Number the patients; an image whose patient is unknown is a patient of its own."""
        keys = pa.concat_arrays([pa.array([], pa.uint64()), *self._patients])
        known = ordinals(keys).dictionary_encode()
        count = len(known.dictionary)
        if count == len(known) - known.null_count:
            return None
        number = known.indices.fill_null(-1).to_numpy().astype(np.int32)
        unknown = number < 0
        number[unknown] = count + np.arange(int(unknown.sum()), dtype=np.int32)
        return cast(NDArray[np.int32], number)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    flat = column.combine_chunks()
    return pa.concat_arrays(flat.chunks) if isinstance(flat, pa.ChunkedArray) else flat


def _numbers(names: pa.ChunkedArray, classes: Sequence[str]) -> NDArray[np.int8]:
    """Turn class names into their numbers, all else into -1."""
    codes = pc.index_in(names.cast(pa.string()), value_set=pa.array(classes, pa.string()))
    numbers: NDArray[np.int8] = pc.fill_null(codes, _UNKNOWN).to_numpy().astype(np.int8)
    return numbers
