"""Bytes of a DICOM file -> transfer syntax, the few elements that are needed, and where pixels are.

Only elements on a list are read at all. What identifies people and is not on it never becomes a
Python object, so that it can neither be logged nor get into a message.
"""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from batchscan.dicom.elements import Elements
from batchscan.dicom.signature import VALUE_REPRESENTATIONS
from batchscan.errors import ImageFailure
from batchscan.rules import Rules

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

KEYWORDS = (
    *("SOPClassUID", "Modality", "PresentationIntentType"),
    *("BodyPartExamined", "AnatomicRegionSequence"),
    *("ViewPosition", "ViewCodeSequence", "PatientOrientation"),
    *("PatientSex", "PatientAge", "PatientBirthDate", "StudyDate"),
    *("Manufacturer", "ManufacturerModelName"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration"),
    *("PhotometricInterpretation", "PixelRepresentation"),
    *("BitsAllocated", "BitsStored", "HighBit"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(
        f"{kind}{colour}PaletteColorLookupTable{part}"
        for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
        for colour in ("Red", "Green", "Blue")
    ),
)
"""Every element that is read; with `Rules.id_key` there is PatientID as well."""

_META_KEYWORDS = ("MediaStorageSOPClassUID", "TransferSyntaxUID")
_PIXEL_DATA = 0x7FE00010
_FLOATING = (0x7FE00008, 0x7FE00009)
_UNDEFINED = 0xFFFFFFFF
_SPARE = 64 << 20  # What a deflated data set may hold beside its pixels.


@dataclass(frozen=True)
class DicomFile:
    """`syntax` is the transfer syntax's UID, `sop_class` that of what the file is, "" if untold.

    `pixels` is the value of Pixel Data, from its first byte: of `declared` bytes, or to the end of
    the file where None (encapsulated). `pixels` is None where there is no such element.
    `floating` tells that there are pixels as floating point numbers instead, `overrun` that the
    last element reaches beyond the end of the file.
    """

    syntax: str
    sop_class: str
    elements: Elements
    pixels: memoryview | None = None
    declared: int | None = None
    pixel_vr: str | None = None
    floating: bool = False
    overrun: bool = False


@cache
def quiet() -> None:
    """Silence the libraries, once and for all: what they have to say quotes values of the file."""
    for name in ("pydicom", "pylibjpeg", "openjpeg", "rle"):
        logging.getLogger(name).disabled = True
    warnings.filterwarnings("ignore", module=r"pydicom|openjpeg|rle|pylibjpeg")
    warnings.filterwarnings("ignore", module=r"batchscan\.dicom")  # Where pydicom lays the blame.


def open_dicom(data: bytes, rules: Rules) -> DicomFile:
    """Read the elements before the pixels (PS3.10, 7.1; PS3.5, 7.1).

    The file meta information may be missing. A deflated data set (PS3.5, A.5) is inflated within
    bounds. Raises `ImageFailure`; pydicom may raise anything else on damaged files.
    """
    quiet()
    start = 132 if data[128:132] == b"DICM" else 0
    stream = io.BytesIO(data)  # Shares the memory of `data`.
    stream.seek(start)
    meta = _read(stream, _META_KEYWORDS, _is_beyond_meta, explicit=True)[0]
    syntax, start = meta.text("TransferSyntaxUID"), stream.tell()
    if syntax == DEFLATED:
        data, start = _inflate(memoryview(data)[start:], rules), 0
        stream = io.BytesIO(data)
    explicit = syntax not in ("", IMPLICIT_LITTLE) or (not syntax and _is_explicit(data, start))
    keywords = (*KEYWORDS, "PatientID") if rules.id_key is not None else KEYWORDS
    little_endian = syntax != BIG_ENDIAN
    elements, stop = _read(
        stream, keywords, _is_pixels, explicit=explicit, little_endian=little_endian
    )
    file = DicomFile(
        syntax=syntax or (EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE),
        sop_class=elements.text("SOPClassUID") or meta.text("MediaStorageSOPClassUID"),
        elements=elements,
        floating=stop is not None and stop.tag in _FLOATING,
        overrun=stream.tell() > len(data),
    )
    if stop is None or stop.tag != _PIXEL_DATA:
        return file
    return _with_pixels(file, memoryview(data)[stream.tell() :], stop)


@dataclass(frozen=True)
class _Stop:
    """The element before which reading stopped."""

    tag: int
    vr: str | None
    length: int


def _is_beyond_meta(tag: int) -> bool:
    return tag >> 16 != 0x0002


def _is_pixels(tag: int) -> bool:
    return tag >= _FLOATING[0]


def _read(
    stream: io.BytesIO,
    keywords: tuple[str, ...],
    until: Callable[[int], bool],
    *,
    explicit: bool,
    little_endian: bool = True,
) -> tuple[Elements, _Stop | None]:
    """Read some elements, up to the first tag that is `until`; leaves the stream before it."""
    from pydicom.filereader import read_dataset

    stops: list[_Stop] = []

    def stop_when(tag: int, vr: str | None, length: int) -> bool:
        if not until(tag):
            return False
        stops.append(_Stop(int(tag), vr, length))
        return True

    dataset = read_dataset(
        stream, not explicit, little_endian, stop_when=stop_when, specific_tags=_tags(keywords)
    )
    return Elements(dataset, little_endian), stops[-1] if stops else None


@cache
def _tags(keywords: tuple[str, ...]) -> list[int]:
    from pydicom.datadict import tag_for_keyword

    return [tag for tag in map(tag_for_keyword, keywords) if tag is not None]


def _with_pixels(file: DicomFile, rest: memoryview, stop: _Stop) -> DicomFile:
    """Add the pixels, whose element is at the start of `rest` (PS3.5, 7.1.2 and 7.1.3)."""
    long = stop.vr is not None and stop.vr[0] in "OU" and stop.vr not in ("UI", "UL", "US")
    value = rest[12 if long else 8 :]
    declared = None if stop.length == _UNDEFINED else stop.length
    return replace(file, pixels=value[:declared], declared=declared, pixel_vr=stop.vr)


def _is_explicit(data: bytes, start: int) -> bool:
    return data[start + 4 : start + 6] in VALUE_REPRESENTATIONS


def _inflate(packed: memoryview, rules: Rules) -> bytes:
    """Inflate (RFC 1951) to no more bytes than the pixels that are decoded can have."""
    limit = min(rules.max_bytes, 2 * rules.max_pixels + _SPARE)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, limit)
    except zlib.error:
        raise ImageFailure("corrupt", "the deflated data set is damaged") from None
    if inflater.unconsumed_tail:
        raise ImageFailure("too_large", f"the data set inflates to more than {limit:,} bytes")
    if not inflater.eof:
        raise ImageFailure("truncated", "the file ends before its deflated data set does")
    return data
