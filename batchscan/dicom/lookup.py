"""Lookup tables that a DICOM file brings along: modality LUT and VOI LUT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.dicom.elements import Elements


@dataclass(frozen=True)
class LookupTable:
    """`entries`, float64 (N,), are for input values from `first` on; none is greater than `top`."""

    entries: NDArray[np.float64]
    first: int
    top: float

    def at(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Look values up; those below and above the table get its first and last entry."""
        places = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1)
        found: NDArray[np.float64] = self.entries[places.astype(np.int64)]
        return found


def lookup_table(item: Elements, *, signed: bool) -> LookupTable | None:
    """Read an item of a LUT sequence (PS3.3, C.11.1.1 and C.11.2.1.1); None if it makes no sense.

    `signed` tells whether the first input value is, where the file doesn't. LUT Descriptor holds
    the number of entries (0 for 65,536), the first input value and the bits of an entry, 8 to 16.
    Entries of 8 bits may be packed two to a word.
    """
    descriptor, words = item.words("LUTDescriptor"), item.words("LUTData")
    if len(descriptor) != 3:
        return None
    count, first, bits = (int(number) for number in descriptor)
    count = count or 1 << 16
    if not 8 <= bits <= 16:
        return None
    raw = item.raw("LUTData")
    if bits == 8 and count <= len(raw) < 2 * count:
        words = np.frombuffer(raw, dtype=np.uint8).astype(np.uint16)
    if len(words) < count:
        return None
    kind = item.kind("LUTDescriptor")
    if first >= 1 << 15 and (kind == "SS" or (kind != "US" and signed)):
        first -= 1 << 16
    return LookupTable(words[:count].astype(np.float64), first, float((1 << bits) - 1))
