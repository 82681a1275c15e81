"""Columns of a result in the lean form of a report: see `batchscan.report.input.rows`.

All take a batch's column as an Arrow array (n,) and return another of the same length, null where
the value is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.image.perceptual_hash import hashes_from_text

_DIGITS = 64  # of a SHA-256 or an HMAC-SHA-256 in hexadecimal
_KEPT = 16  # of them: 8 bytes, which agree by chance in one of 10^5 archives of 10^7 files

_NO_DIGIT = 255
_VALUES = np.full(256, _NO_DIGIT, dtype=np.uint8)
for _digit in "0123456789abcdefABCDEF":
    _VALUES[ord(_digit)] = int(_digit, 16)


def texts(values: pa.Array) -> pa.Array:
    """Return a dictionary of text (int32 indices); a number that is none becomes null."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, None)
    encoded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.cast(pa.string()))


def group_names(name: str, values: pa.Array) -> pa.Array:
    """Return the values of a column as text, as a dictionary, which `groups_of` makes groups of.

    `age_years` is cut to full years, and times and days are cut to months.
    """
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(values.type):
        return months(values)
    if name == "age_years" and pa.types.is_floating(values.type):
        values = pc.floor(values)
    return texts(values)


def months(moments: pa.Array) -> pa.Array:
    """Return months (UTC) such as 2026-11, as a dictionary of text."""
    microseconds = moments.cast(pa.timestamp("us", moments.type.tz)).cast(pa.int64())
    known = microseconds.drop_null().to_numpy().astype("datetime64[us]").astype("datetime64[M]")
    distinct, codes = np.unique(known, return_inverse=True)
    indices = _scattered(codes.astype(np.int32), microseconds, pa.int32())
    names = pa.array(np.datetime_as_string(distinct), pa.string())
    return pa.DictionaryArray.from_arrays(indices, names)


def digest_numbers(digests: pa.Array) -> pa.Array:
    """Return the first 8 bytes of digests of 64 hexadecimal digits as uint64.

    Raises `ValueError` for a text that is no such digest.
    """
    known = digests.drop_null().cast(pa.string())
    if len(known) == 0:
        return pa.nulls(len(digests), pa.uint64())
    if not pc.all(pc.equal(pc.binary_length(known), _DIGITS)).as_py():
        raise ValueError(f"expected digests of {_DIGITS} hexadecimal digits")
    text = np.frombuffer(known.buffers()[2], np.uint8)[known.offset * _DIGITS :]
    digits = _VALUES[text[: len(known) * _DIGITS].reshape(-1, _DIGITS)[:, :_KEPT]]
    if (digits == _NO_DIGIT).any():
        raise ValueError(f"expected digests of {_DIGITS} hexadecimal digits")
    pairs = (digits[:, ::2] << 4) | digits[:, 1::2]
    numbers = pairs.view(">u8").ravel().astype(np.uint64)
    return _scattered(numbers, digests, pa.uint64())


def ordinals(numbers: pa.Array) -> pa.Array:
    """Return int32 from 0 on, equal where the uint64 numbers are equal."""
    known = numbers.drop_null().to_numpy()
    order = np.argsort(known)
    ascending = known[order]
    codes = np.empty(known.size, dtype=np.int32)
    if known.size:
        steps = np.append(np.int32(0), (ascending[1:] != ascending[:-1]).astype(np.int32))
        codes[order] = np.cumsum(steps, dtype=np.int32)
    return _scattered(codes, numbers, pa.int32())


def hashes(values: pa.Array) -> pa.Array:
    """Return perceptual hashes, text of 16 hexadecimal digits, as uint64.

    Raises `ValueError` for any other text.
    """
    return hashes_from_text(values) if len(values) else pa.array([], pa.uint64())


def usable_scores(scores: Sequence[pa.Array], scored: pa.Array) -> list[pa.Array]:
    """Return scores as float32, null in rows that aren't scored or have one that is no number.

    `scored` is bool. Raises `ValueError` for a score outside of 0 to 1.
    """
    columns = [score.cast(pa.float32()) for score in scores]
    usable = scored
    for column in columns:
        usable = pc.and_(usable, pc.fill_null(pc.is_finite(column), False))
    columns = [pc.if_else(usable, column, None) for column in columns]
    for column in columns:
        ends = pc.min_max(column).as_py()
        if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] <= 1:
            raise ValueError("expected scores from 0 to 1")
    return columns


def joined(chunks: Sequence[pa.Array]) -> pa.Array:
    """Put the batches of a column together; of dictionaries, one dictionary is made."""
    whole = pa.chunked_array(chunks).unify_dictionaries().combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _scattered(values: NDArray[Any], like: pa.Array, kind: pa.DataType) -> pa.Array:
    """Put the values of the known rows where `like` is not null."""
    if like.null_count == 0:
        return pa.array(values, kind)
    unknown = like.is_null().to_numpy(zero_copy_only=False)
    spread = np.zeros(len(like), dtype=values.dtype)
    spread[~unknown] = values
    return pa.array(spread, kind, mask=unknown)
