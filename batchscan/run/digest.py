"""Digests of a result: SHA-256s of what it says, however Parquet happens to store it.

Three are in a result's record, all as 64 hexadecimal digits:

- `rows`: of all columns, in their order
- `listing`: of the columns `path`, `bytes` and `modified` alone: what was there to be scored
- `record`: of the record itself, as JSON with sorted keys and without this entry

A digest of columns is the SHA-256 of a JSON text, the list of `[name, ...]` for each column. Behind
the name stand SHA-256s of three sequences of bytes, in the order of the rows:

1. for each row a byte, 1 where there is a value, 0 where it is null;
2. for each value that is text or a list, its length (bytes or entries) as int64;
3. the values one after the other: text in UTF-8, numbers as they are (a truth value as one byte, a
   time as the integer that Parquet stores), all little-endian. Of a list, the three SHA-256s of the
   column of all entries follow instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

METHOD = "batchscan-digest/1"
LISTING_COLUMNS = ("path", "bytes", "modified")


class RowsDigest:
    """Takes the rows of a result in tables of any size, in their order."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = {name: _Column() for name in columns}

    def add(self, table: pa.Table) -> None:
        """Take a table that has all the columns."""
        for name, column in self._columns.items():
            for chunk in table[name].chunks:
                column.add(chunk)

    def passing(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Pass tables on, each when it has been taken."""
        for table in tables:
            self.add(table)
            yield table

    def rows(self) -> str:
        """Return the digest of all columns."""
        return self._of(tuple(self._columns))

    def listing(self) -> str:
        """Return the digest of the columns that the listing of the archive gives."""
        return self._of(LISTING_COLUMNS)

    def _of(self, names: Sequence[str]) -> str:
        return _of_text(json.dumps([[name, *self._columns[name].digests()] for name in names]))


def sealed(footer: Mapping[str, Any], digest: RowsDigest) -> dict[str, Any]:
    """Return the record of a result with its digests, under `digests`."""
    digests = {"method": METHOD, "listing": digest.listing(), "rows": digest.rows()}
    complete = dict(footer) | {"digests": digests}
    return complete | {"digests": digests | {"record": record_digest(complete)}}


def record_digest(footer: Mapping[str, Any]) -> str:
    """Return the digest of a result's record, whether it holds one already or not."""
    digests = {name: value for name, value in footer["digests"].items() if name != "record"}
    return _of_text(json.dumps(dict(footer) | {"digests": digests}, sort_keys=True))


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class _Column:
    """Takes the values of a column piece by piece; where the pieces are cut makes no difference."""

    def __init__(self) -> None:
        self._present = hashlib.sha256()
        self._lengths = hashlib.sha256()
        self._values = hashlib.sha256()
        self._entries: _Column | None = None

    def add(self, values: pa.Array) -> None:
        self._present.update(_bytes_of(values.is_valid()))
        values = _plain(values.drop_null())
        if not len(values):
            return
        if pa.types.is_large_list(values.type):
            self._add_lengths(pc.list_value_length(values))
            self._entries = self._entries or _Column()
            self._entries.add(values.flatten())
        elif pa.types.is_large_binary(values.type):
            offsets = np.frombuffer(values.buffers()[1], np.int64)
            first, last = offsets[values.offset], offsets[values.offset + len(values)]
            self._add_lengths(pc.binary_length(values))
            self._values.update(memoryview(values.buffers()[2] or b"")[first:last])
        else:
            self._values.update(_bytes_of(values))

    def digests(self) -> list[str]:
        """Return the column's SHA-256s."""
        own = [self._present.hexdigest(), self._lengths.hexdigest()]
        return own + (self._entries.digests() if self._entries else [self._values.hexdigest()])

    def _add_lengths(self, lengths: pa.Array) -> None:
        self._lengths.update(_bytes_of(lengths.cast(pa.int64())))


def _bytes_of(values: pa.Array) -> bytes:
    """Return numbers or truth values, none of them null, as little-endian bytes."""
    numbers = values.to_numpy(zero_copy_only=False)
    return bytes(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes())


def _plain(values: pa.Array) -> pa.Array:
    """Turn a type into the one that stands for all that Parquet makes of it, or takes it for."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(values.dictionary_decode())
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return values.cast(pa.large_list(kind.value_type))
    if pa.types.is_date64(kind):
        values = values.cast(pa.date32())
    elif kind in (pa.timestamp("s", getattr(kind, "tz", None)), pa.time32("s")):
        values = values.cast(_in_milliseconds(kind))
    if pa.types.is_temporal(kind):
        return values.cast(pa.int32() if values.type.bit_width == 32 else pa.int64())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return values
    if pa.types.is_nested(kind) or pa.types.is_null(kind):  # Only in a foreign label file.
        return pa.array(map(str, values.to_pylist()), pa.large_string()).cast(pa.large_binary())
    if not pa.types.is_binary(kind) and not pa.types.is_large_binary(kind):
        values = values.cast(pa.large_string())
    return values.cast(pa.large_binary())


def _in_milliseconds(kind: pa.DataType) -> pa.DataType:
    """Return the type that Parquet, which has no whole seconds, makes of a time in seconds."""
    return pa.time32("ms") if pa.types.is_time32(kind) else pa.timestamp("ms", kind.tz)
