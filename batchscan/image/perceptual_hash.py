"""A perceptual hash: 64 bits that stay nearly the same when a radiograph is copied in another form.

Each bit is the sign of one coefficient of the discrete cosine transform of the small grey square
that the network sees, tapered towards its edges (letters and borders lie there). Such hashes
usually take the lowest frequencies; but these show what all chests have in common, so that other
patients come near, too. `FREQUENCIES` are those from which on signs differ from patient to patient
like thrown coins, and stay as steady as others where a file is shrunk or encoded again.

Measured on 5,206 chest X-rays of children (`python -m benchmarks.training_images`), in bits that
differ:

- Of 13,544,422 pairs of images of different patients none had 6 or less, two had 7, six 8 or less,
  47 had 10 or less; the mean is 32. With each bit less there are about 2.8 times fewer, which makes
  some 7 pairs in a billion within `NEAR`: of a million images of other patients, about 40 would
  pass for one of 5,206 training images, and one in 140 has a stranger within `NEAR` among them.
- Of 120 originals, their copies of 224 x 224 pixels had 4 at most, copies of half the size 2, JPEG
  of quality 30 had 4; quality 10, other contrast and other gamma 4 in 95% of the images (and at
  most 6, 6 and 7). Turned by a degree (8 in 95%) or cut by 2% on each side (13) most are missed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

NEAR = 4
"""Bits that differ at most where two hashes are taken to be of one radiograph."""

FREQUENCIES = range(8, 16)
"""Half waves across the square, in both directions: 8 x 8 of them are 64 bits."""

DIGITS = 16
"""Hexadecimal digits of a hash as text, the first those of the highest bits."""

_AT_A_TIME = 8  # They stay in a core's cache: 32 take three times as long, each.
_PRECISION = 127  # The basis holds whole numbers up to this.


def perceptual_hashes(squares: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the hashes, uint64 (B,), of grey squares, uint8 (B, S, S).

    All sums are of whole numbers and exact: the same pixels have the same hash on every machine, in
    any company. An image of one grey level has the hash 0. Squares of other sizes S give nearly the
    same, from twice the highest frequency on (S = 32).
    """
    bits = np.empty((len(squares), 64), dtype=bool)
    for start in range(0, len(squares), _AT_A_TIME):
        some = squares[start : start + _AT_A_TIME]
        bits[start : start + len(some)] = _coefficients(some).reshape(-1, 64) > 0
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _coefficients(squares: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return coefficients (B, 8, 8), of rising vertical, then horizontal frequency."""
    size = squares.shape[-1]
    basis = _basis(size)
    # As long as it is exact, the large product is made of numbers of half the size.
    type = np.float32 if 255 * _PRECISION * size < 2**24 else np.float64
    rows = squares.astype(type) @ basis.T.astype(type)
    coefficients: NDArray[np.float64] = basis @ rows.astype(np.float64)
    return coefficients


@lru_cache(maxsize=8)
def _basis(size: int) -> NDArray[np.float64]:
    """Return tapered half waves, (8, S), in whole numbers that sum to 0 in each row.

    Rounding the running sums, in place of the values, keeps the sum: brightness plays no part.
    """
    place = np.pi * (np.arange(size) + 0.5) / size
    waves = np.cos(np.array(FREQUENCIES)[:, np.newaxis] * place) * np.sin(place)
    waves -= waves.mean(axis=1, keepdims=True)
    sums = np.rint(np.cumsum(waves * (_PRECISION - 1), axis=1))
    sums[:, -1] = 0
    return np.diff(sums, axis=1, prepend=0)


def hashes_as_text(hashes: NDArray[np.uint64]) -> list[str]:
    """Return each hash as 16 hexadecimal digits.

    So they stand in Parquet files: where a column has gaps, pandas and R read numbers of 64 bits as
    floating point, and lose the last of them.
    """
    return [f"{value:0{DIGITS}x}" for value in hashes.tolist()]


def hashes_from_text(texts: pa.Array | pa.ChunkedArray) -> pa.UInt64Array:
    """Return a column of hashes, strings of 16 hexadecimal digits or null, as uint64 or null.

    Works on the whole column at once. Raises `ValueError` for any other text.
    """
    column = pa.chunked_array([texts]) if isinstance(texts, pa.Array) else texts
    filled = column.combine_chunks().fill_null("0" * DIGITS)
    try:
        letters = filled.cast(pa.binary()).cast(pa.binary(DIGITS))
        content = letters.buffers()[1][letters.offset * DIGITS :][: len(letters) * DIGITS]
        numbers = np.frombuffer(bytes.fromhex(str(content, "ascii")), dtype=">u8")
    except (pa.ArrowInvalid, ValueError) as error:
        raise ValueError(f"expected {DIGITS} hexadecimal digits in each text") from error
    if len(numbers) != len(column):  # Blanks between digits are passed over.
        raise ValueError(f"expected {DIGITS} hexadecimal digits in each text, found blanks")
    missing = np.asarray(column.combine_chunks().is_null())
    return pa.array(numbers.astype(np.uint64), mask=missing)
