"""Whether images that a model is measured on are images that it was trained on.

Two signs tell: the fingerprint of the whole data set, which the card holds, and the names of the
training images, which the bundle's `split.csv` lists. A name is a sign, no proof: it also tells of
the same image in another resolution, and another image may have it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from batchscan.model.bundle import Bundle

SPLIT = "split.csv"
SIDES = frozenset({"train", "validation"})
"""Sides whose images have shaped the model: its weights, or the choice among weights."""


@dataclass(frozen=True)
class Overlap:
    """How many of `images` are in the training data; see the module's docstring.

    `same_data` is None where the card has no fingerprint, `by_name` where the bundle has no list.
    """

    images: int
    same_data: bool | None
    by_name: int | None

    @property
    def found(self) -> bool:
        """Whether the figures prove little."""
        return bool(self.same_data or self.by_name)


class OverlapFinder:
    """Takes images one by one, and tells in the end how many the training had.

    It holds about a hundred bytes for each image: the fingerprint is one of sorted lines.
    """

    def __init__(self, bundle: Bundle) -> None:
        training = bundle.card.get("training")
        self._known = training.get("data_sha256") if isinstance(training, Mapping) else None
        self._names = _training_names(bundle)
        self._lines: list[str] = []
        self._by_name = 0

    def add(self, path: str, label: str, digest: str | None) -> None:
        """Take an image: its relative path, class, and the SHA-256 of its content, if known."""
        self._lines.append(f"{path}\0{digest or ''}\n")
        self._by_name += _key(label, path) in (self._names or ())

    def overlap(self) -> Overlap:
        """Tell what was found."""
        same = None if self._known is None else fingerprint(self._lines) == self._known
        return Overlap(len(self._lines), same, None if self._names is None else self._by_name)


def fingerprint(lines: Iterable[str]) -> str:
    r"""Return the SHA-256 of a data set; each line is `path\0digest\n`, in any order."""
    text = "".join(sorted(lines))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _training_names(bundle: Bundle) -> frozenset[tuple[str, str]] | None:
    """Return class and file name of each training image; None where the bundle does not tell."""
    if SPLIT not in bundle.card["files"]:
        return None
    file = bundle.folder / SPLIT
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = csv.DictReader(stream)
            return frozenset(
                _key(row["class"], row["path"]) for row in rows if row["side"] in SIDES
            )
    except (KeyError, TypeError, AttributeError, csv.Error):
        return None  # A table of another kind: it says nothing about names.


def _key(label: str, path: str) -> tuple[str, str]:
    return label.casefold(), PurePosixPath(path).name
