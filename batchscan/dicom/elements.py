"""The elements of a DICOM data set, read leniently and without pydicom's own conversions.

Those log and quote what they do not like, and a value may name a patient. Here a value that makes
no sense is simply not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LONGEST_TEXT = 1024


@dataclass(frozen=True)
class Elements:
    """A data set of which only the elements that are needed were read, by their keywords.

    `little_endian` is its byte order.
    """

    dataset: Dataset
    little_endian: bool = True

    def raw(self, keyword: str) -> bytes:
        """Return the bytes of a value, b"" where there is none."""
        value = getattr(self._item(keyword), "value", None)
        return value if isinstance(value, bytes) else b""

    def text(self, keyword: str) -> str:
        """Return the first value of an element of text, without padding (PS3.5, 6.2), "" if none.

        Bytes that are not ASCII are left out.
        """
        texts = self.texts(keyword)
        return texts[0] if texts else ""

    def texts(self, keyword: str) -> list[str]:
        """Return all values of an element of text, as `text` does."""
        text = self.raw(keyword)[:_LONGEST_TEXT].decode("ascii", "ignore")
        return [part.strip(" \0\t\r\n") for part in text.split("\\")] if text else []

    def code(self, keyword: str) -> str:
        """Return the first value of a coded string, in capitals."""
        return self.text(keyword).upper()

    def decimal(self, keyword: str) -> float | None:
        """Return the first value of a decimal string (VR DS); None if there is no finite number."""
        try:
            number = float(self.text(keyword))
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    def integer(self, keyword: str, *, signed: bool = False) -> int | None:
        """Return the first value of an integer, binary (VR US, SS, UL, SL) or as text (VR IS)."""
        raw, kind = self.raw(keyword), self.kind(keyword)
        if kind in ("IS", "DS") or (kind is None and keyword in _INTEGER_STRINGS):
            number = self.decimal(keyword)
            return None if number is None else int(number)
        size = 4 if kind in ("UL", "SL") else 2
        if len(raw) < size:
            return None
        order = "little" if self.little_endian else "big"
        return int.from_bytes(raw[:size], order, signed=signed)  # type: ignore[arg-type]

    def words(self, keyword: str) -> NDArray[np.uint16]:
        """Return a value as 16-bit words, uint16 (N,)."""
        raw = self.raw(keyword)
        order = "<u2" if self.little_endian else ">u2"
        return np.frombuffer(raw[: len(raw) // 2 * 2], dtype=order).astype(np.uint16)

    def kind(self, keyword: str) -> str | None:
        """Return the value representation that the file states; None in implicit VR."""
        kind = getattr(self._item(keyword), "VR", None)
        return None if kind is None else str(kind)

    def items(self, keyword: str) -> list[Elements]:
        """Return the items of a sequence."""
        if self._item(keyword) is None:
            return []
        value = self.dataset[keyword].value
        return [Elements(item, self.little_endian) for item in value or ()]

    def _item(self, keyword: str) -> Any:
        from pydicom.datadict import tag_for_keyword
        from pydicom.tag import BaseTag

        tag = tag_for_keyword(keyword)
        return None if tag is None else self.dataset.get_item(BaseTag(tag))


_INTEGER_STRINGS = frozenset({"NumberOfFrames"})


def uid_name(uid: str) -> str:
    """Return the standard's name for a unique identifier (PS3.6, annex A), "" for any other text.

    Of a damaged file the text may be anything, also the elements that follow.
    """
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    known = UID(uid, IGNORE)  # Without blanks of all kinds: not always equal to `uid`.
    return "" if known.name == known else known.name
