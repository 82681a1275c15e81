"""Groups of images by the values of a column: as they are, in bands, or the largest ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MOST = 30
"""More values than this are put into bands if they are numbers; of others the largest are kept."""

MOST_AGES = 8
"""More ages than this are put into bands."""

UNKNOWN = "unknown"

_AGES = (0, 1, 6, 18, 40, 65)
_AGE_BANDS = ("below 0", "0", "1-5", "6-17", "18-39", "40-64", "65+")
_AGE_NAME = re.compile(r"(^|[ _-])age([ _-]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Groups:
    """The groups of a column. `number` (n,) is the position of each image's group in `names`.

    `note` says what was done to the values, if anything was; it is empty otherwise.
    """

    column: str
    names: tuple[str, ...]
    number: NDArray[np.intp]
    note: str = ""


def groups_of(column: str, values: pa.DictionaryArray) -> Groups:
    """Return the groups of texts (n,); images without a value (null or blank) are `UNKNOWN`.

    Numbers stand in their order, other values in the alphabet's. Ages, by the column's name, of
    more than `MOST_AGES` values, become bands; other numbers of more than `MOST` values quarters of
    the images; and of other values the `MOST` largest are kept, and the rest put together.
    """
    names, number = _used_values(values)
    numbers = numbers_of(pa.array(names, pa.string()))
    if numbers is None:
        return _texts(column, names, number)
    if _AGE_NAME.search(column) and len(names) > MOST_AGES:
        band = np.searchsorted(np.array(_AGES, dtype=np.float64), numbers, side="right")
        return _grouped(column, band, _AGE_BANDS, number, "Ages, in full years, are in bands.")
    if len(names) > MOST:
        return _quarters(column, numbers, number)
    order = np.argsort(numbers, kind="stable")
    rank = np.argsort(order)
    return _grouped(column, rank, tuple(names[each] for each in order), number)


def numbers_of(names: pa.Array) -> NDArray[np.float64] | None:
    """Return distinct texts as finite numbers, None unless all are such."""
    try:
        found = names.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return cast(NDArray[np.float64], found) if np.isfinite(found).all() else None


def _used_values(values: pa.DictionaryArray) -> tuple[list[str], NDArray[np.intp]]:
    """Return the distinct values, and the position of each image's (n,), -1 where it has none."""
    texts = values.dictionary.cast(pa.string())
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(texts), ""), True).to_numpy(
        zero_copy_only=False
    )
    index = values.indices.fill_null(-1).to_numpy().astype(np.intp)
    used = np.bincount(index[index >= 0], minlength=len(texts)) > 0
    kept = np.flatnonzero(used & ~blank)
    position = np.full(len(texts) + 1, -1, dtype=np.intp)
    position[kept] = np.arange(kept.size)
    return texts.take(pa.array(kept)).to_pylist(), position[index]


def _texts(column: str, names: list[str], number: NDArray[np.intp]) -> Groups:
    order = sorted(range(len(names)), key=lambda each: names[each])
    if len(names) <= MOST:
        rank = np.argsort(np.array(order, dtype=np.intp))
        return _grouped(column, rank, tuple(names[each] for each in order), number)
    sizes = np.bincount(number[number >= 0], minlength=len(names))
    largest = set(np.argsort(-sizes, kind="stable")[:MOST].tolist())
    kept = [each for each in order if each in largest]
    others = len(names) - MOST
    group = np.full(len(names), MOST, dtype=np.intp)
    group[kept] = np.arange(MOST)
    titles = (*(names[each] for each in kept), f"all {others:,} others")
    note = f"Of {len(names):,} values the {MOST} with the most images are shown; the rest together."
    return _grouped(column, group, titles, number, note)


def _quarters(column: str, numbers: NDArray[np.float64], number: NDArray[np.intp]) -> Groups:
    """Put the images into four bands of about equal size."""
    of_images = numbers[number[number >= 0]]
    cuts = np.unique(np.quantile(of_images, [0.25, 0.5, 0.75], method="lower"))
    band = np.searchsorted(cuts, numbers, side="left")
    inside = [numbers[band == each] for each in range(cuts.size + 1)]
    titles = tuple(f"{each.min():g} to {each.max():g}" if each.size else "" for each in inside)
    return _grouped(column, band, titles, number, "Values are in bands: quarters of the images.")


def _grouped(
    column: str,
    group: NDArray[np.intp],
    titles: tuple[str, ...],
    number: NDArray[np.intp],
    note: str = "",
) -> Groups:
    """Return the groups that have images; `group` is that of each value, an index of `titles`."""
    of_image = np.append(group, len(titles))[number]
    titles = (*titles, UNKNOWN)
    kept = np.flatnonzero(np.bincount(of_image, minlength=len(titles)))
    place = np.zeros(len(titles), dtype=np.intp)
    place[kept] = np.arange(kept.size)
    return Groups(column, tuple(titles[each] for each in kept), place[of_image], note)
