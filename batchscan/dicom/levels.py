"""Stored values of a DICOM image -> grey levels, 0 black to 255 white, in the standard's order.

All of it is worked out on a table of the at most 65,536 values that a pixel can have; the pixels
themselves are then looked up once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.dicom.elements import Elements
from batchscan.dicom.layout import Layout
from batchscan.dicom.lookup import lookup_table

Values = NDArray[np.float64]

PERCENTILES = (0.5, 99.5)
"""Without a window: what becomes black and what white. A burnt-in letter or a dead pixel takes less
than half a percent of an image."""

_SAMPLE = 200_000  # Percentiles of so many pixels are those of all.


def grey_levels(
    pixels: NDArray[Any], elements: Elements, layout: Layout, *, container: bool
) -> NDArray[np.uint8]:
    """Turn stored values, uint8 or uint16 (rows, columns), into grey levels of the same shape.

    The order is that of PS3.3, figure C.11-1 and PS3.4, N.2: modality (`_modality`), values of
    interest (`_voi`), polarity (C.7.6.3.1.2: with MONOCHROME1 the lowest value is white), and at
    last padding (C.7.5.1.1.2), which is no picture and becomes black. Presentation LUT Shape adds
    nothing: C.8.11.3.1.2 ties it to the photometric interpretation.

    `container` tells that bits beside the stored ones may hold something else. Borders that a
    collimator leaves are part of the picture and stay; they have no say in the percentiles.
    """
    patterns = _patterns(pixels.dtype.itemsize * 8, layout, container)
    stored = _stored_values(layout)
    padding = _padding(stored, elements, layout)
    values = _modality(stored, elements, layout)
    share = _voi(values, elements)
    if share is None:
        counts = np.where(padding, 0, _histogram(pixels, patterns, len(stored)))
        share = _between_percentiles(values, counts)
    if layout.photometric == "MONOCHROME1":
        share = 1 - share
    levels = np.floor(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
    levels[padding] = 0
    return _look_up(levels[patterns], pixels)


def _stored_values(layout: Layout) -> NDArray[np.int64]:
    """Return the value that each pattern of the stored bits stands for (PS3.5, 8.1.1)."""
    values = np.arange(1 << layout.stored)
    if layout.signed:
        values -= (values >> (layout.stored - 1)) << layout.stored
    return values


def _patterns(bits: int, layout: Layout, container: bool) -> NDArray[np.uint16]:
    """Return the pattern of stored bits in each value that a pixel can have: (2 ** bits,).

    Bits above and below the stored ones are overlays or rubbish. A codec has none, and where its
    numbers are too great for the stored bits they are taken for the greatest.
    """
    values = np.arange(1 << bits)
    if container:
        values >>= layout.high_bit + 1 - layout.stored
    mask = (1 << layout.stored) - 1
    keep = container or layout.signed
    return (values & mask if keep else np.minimum(values, mask)).astype(np.uint16)


def _padding(stored: NDArray[np.int64], elements: Elements, layout: Layout) -> NDArray[np.bool_]:
    """Say which values are padding: Pixel Padding Value, or all from it to its Range Limit.

    PS3.3, C.7.5.1.1.2: both are meant before the modality LUT.
    """
    value = elements.integer("PixelPaddingValue", signed=layout.signed)
    limit = elements.integer("PixelPaddingRangeLimit", signed=layout.signed)
    if value is None:
        return np.zeros(len(stored), dtype=np.bool_)
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _modality(stored: NDArray[np.int64], elements: Elements, layout: Layout) -> Values:
    """Apply the modality LUT, or else slope and intercept (PS3.3, C.11.1; C.11.1.1.2).

    A slope of zero, which would leave nothing to see, is passed over.
    """
    for item in elements.items("ModalityLUTSequence")[:1]:
        table = lookup_table(item, signed=layout.signed)
        if table is not None:
            return table.at(stored)
    slope = elements.decimal("RescaleSlope") or 1.0
    intercept = elements.decimal("RescaleIntercept") or 0.0
    return stored.astype(np.float64) * slope + intercept


def _voi(values: Values, elements: Elements) -> Values | None:
    """Apply the first VOI LUT, or else the first window (PS3.3, C.11.2): 0 black to 1 white.

    Returns None where there is neither, or only such as are against the rules.
    """
    for item in elements.items("VOILUTSequence")[:1]:
        table = lookup_table(item, signed=bool(values.min() < 0))
        if table is not None:
            return table.at(values) / table.top
    centre, width = elements.decimal("WindowCenter"), elements.decimal("WindowWidth")
    if centre is None or width is None:
        return None
    return _window(values, centre, width, elements.code("VOILUTFunction"))


def _window(values: Values, centre: float, width: float, function: str) -> Values | None:
    """Apply a window (PS3.3, C.11.2.1.2 and C.11.2.1.3); `function` is LINEAR where not told."""
    if function == "SIGMOID" and width > 0:
        exponents = np.clip(-4 * (values - centre) / width, -700, 700)
        share: Values = 1 / (1 + np.exp(exponents))
        return share
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width > 1:
        return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return None


def _histogram(pixels: NDArray[Any], patterns: NDArray[np.uint16], size: int) -> NDArray[np.int64]:
    """Count how often each pattern of bits occurs, in a sample of rows and columns."""
    step = max(1, int((pixels.size / _SAMPLE) ** 0.5))
    counts = np.bincount(pixels[::step, ::step].ravel(), minlength=len(patterns))
    return np.bincount(patterns, weights=counts, minlength=size).astype(np.int64)


def _between_percentiles(values: Values, counts: NDArray[np.int64]) -> Values:
    """Scale the full range between its `PERCENTILES`: 0 black to 1 white.

    The lowest and the highest value that occur do not count, unless there is nothing else: they are
    what borders, clipping and burnt-in letters have, and may fill any part of an image.
    """
    order = np.argsort(values, kind="stable")
    ordered, weights = values[order], counts[order]
    ordered, weights = ordered[weights > 0], weights[weights > 0]
    if not len(ordered):
        return np.zeros(len(values))
    inner = (ordered > ordered[0]) & (ordered < ordered[-1])
    if np.count_nonzero(inner) > 1:
        ordered, weights = ordered[inner], weights[inner]
    rank = np.cumsum(weights)
    low, high = (ordered[np.searchsorted(rank, share / 100 * rank[-1])] for share in PERCENTILES)
    if low == high:
        low, high = ordered[0], ordered[-1]
    share: Values = (values - low) / ((high - low) or 1.0)
    return share


def _look_up(levels: NDArray[np.uint8], pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Look each pixel up; `levels` has as many entries as a pixel can have values.

    Arrow takes indices as they are, where numpy first makes 8 bytes of each.
    """
    whole = np.ascontiguousarray(pixels)
    kind = pa.from_numpy_dtype(whole.dtype)
    places = pa.Array.from_buffers(kind, whole.size, [None, pa.py_buffer(whole)])
    found = pc.take(pa.array(levels), places, boundscheck=False)
    return np.asarray(found).reshape(pixels.shape)
