"""DICOM files full of values that identify somebody, each marked so that it is found again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dicom_phantoms as phantoms
import pyarrow.parquet as pq
from dicom_phantoms import chest, deep_chest
from pydicom import uid
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from batchscan.dicom.file import KEYWORDS

_MARKS = {
    **dict.fromkeys(("PN", "LO", "SH", "ST", "LT", "UT", "AE", "UC", "UR", "CS"), "ZQID{:06d}XW"),
    **dict.fromkeys(("OB", "OW", "UN"), "ZQID{:06d}XW"),
    "UI": "1.2.999.{}.42424242",
    "DA": "19530717",
    "DT": "19530717064233.424242",
    "TM": "064233.424242",
    "DS": "42424242.{:06d}",
    "IS": "42424242",
}
"""Each value representation that can carry an identity (PS3.5, 6.2), and what is put there.

The others are attribute tags, ages of four letters (PatientAge is read, and comes out as
`age_years`) and binary numbers, of which none but those of the image is read.
"""

FOUND = re.compile(
    r"ZQID\d*|(?i:5a ?51 ?49 ?44)\w*|[0-9.]*42424242|064233|\.424242"
    r"|1953\D{0,2}0?7\D{0,2}17|1947\D{0,2}11\D{0,2}23"
)
"""Matches all of these values in any text, also in hexadecimal digits and in Python's spelling."""

_READ = frozenset(KEYWORDS) - {"StudyDate"}
_LEFT_OUT = (0x0000, 0x0002, 0x0004, 0x7FE0)  # of commands, of a header, of a DICOMDIR, of pixels
_MISUSED = ("PatientSex", "PatientAge", "BodyPartExamined", "ViewPosition", "PatientOrientation")
_MISUSED_AND_REFUSED = ("Modality", "PresentationIntentType", "PhotometricInterpretation")


def fill(made: Dataset, start: int) -> set[str]:
    """Fill every element of the standard that can carry an identity; returns the keywords.

    So all of PS3.15, table E.1-1, is among them, retired elements, sequences, overlays and curves,
    and private elements as well. What a scan reads is left as it is, but for dates and PatientID.
    """
    filled = {"PatientBirthDate", "PatientID"}
    for number, (tag, (kind, _, _, _, keyword)) in enumerate(DicomDictionary.items(), start):
        if tag >> 16 in _LEFT_OUT or not keyword or keyword in _READ or keyword in made:
            continue
        kind = "OB" if kind.startswith("OB") else kind
        if kind == "SQ":
            made.add_new(tag, kind, [_item(number)])
        elif kind in _MARKS and keyword != "SpecificCharacterSet":
            value = _MARKS[kind].format(number)
            made.add_new(tag, kind, value.encode() if kind in ("OB", "OW", "UN") else value)
        else:
            continue
        filled.add(keyword)
    made.PatientBirthDate = "19471123"
    made.file_meta.MediaStorageSOPInstanceUID = f"1.2.999.{start}.42424242"
    made.file_meta.SourceApplicationEntityTitle = f"ZQID{start:06d}AE"
    for group, kind in ((0x6000, "OW"), (0x6002, "OB"), (0x5000, "OW")):
        made.add_new((group, 0x3000), kind, b"ZQID000001XW")
        made.add_new((group, 0x4000), "LT", "ZQID000002XW")
    block = made.private_block(0x0009, "ZQID000003 PRIVATE", create=True)
    block.add_new(1, "LO", "ZQID000004 SECRET")
    return filled


def _item(number: int) -> Dataset:
    item = Dataset()
    item.PatientName = f"ZQID{number:06d}^NESTED"
    item.CodeValue = f"ZQID{number:06d}"
    item.CodeMeaning = f"ZQID{number:06d} MEANING"
    return item


@cache
def identified_files() -> dict[str, bytes]:
    """Make files of each fate, full of identifying values."""
    made: dict[str, Dataset] = {
        "scored": phantoms.dataset(deep_chest(), BitsStored=12),
        "hand": phantoms.dataset(chest(), BodyPartExamined="HAND"),
        "no-pixels": phantoms.dataset(chest(), SOPClassUID=uid.BasicTextSRStorage),
        "bits": phantoms.dataset(chest(), BitsAllocated=32),
        "syntax": phantoms.dataset(chest()),
        "compressed": phantoms.dataset(chest()),
        "truncated": phantoms.dataset(chest()),
        "charset": phantoms.dataset(chest()),
    }
    for number, dataset in enumerate(made.values()):
        fill(dataset, number * 10_000)
    del made["no-pixels"].PixelData
    del made["no-pixels"].Rows
    made["compressed"].file_meta.TransferSyntaxUID = uid.JPEGLosslessSV1
    made["compressed"]["PixelData"].is_undefined_length = True
    made["compressed"].PixelData = (
        b"\xfe\xff\0\xe0" + bytes(4) + b"\xfe\xff\0\xe0" + b"\x0c\0\0\0ZQID000005XW"
    )
    files = {name: phantoms.encoded(dataset) for name, dataset in made.items()}
    files["syntax"] = files["syntax"].replace(
        b"UI\x14\0" + uid.ExplicitVRLittleEndian.encode() + b"\0",
        b"UI\x14\x001.2.999.1.42424242\0\0\0",
        1,
    )
    files["truncated"] = files["truncated"][:-500]
    files["charset"] = files["charset"].replace(b"XW", b"\xff\xfe")
    text = b"ZQID000006 is no image, and neither is 19471123\n"
    return files | misused_files() | {"text.dcm": text, "text.jpeg": text}


def misused_files() -> dict[str, bytes]:
    """Make files with an identity in an element that is read, where a code should be."""
    codes = dict.fromkeys(_MISUSED, "ZQID000007XW")
    codes["PatientAge"] = "ZQID"
    made = {"codes": phantoms.file(chest(), **codes)}
    for keyword in _MISUSED_AND_REFUSED:
        made[keyword] = phantoms.file(chest(), **{keyword: "ZQID000008XW"})
    made["SOPClassUID"] = phantoms.file(chest(), SOPClassUID="1.2.999.9.42424242")
    return made


def written(folder: Path) -> Iterator[str]:
    """Yield the content of each file below a folder, of Parquet files rows and footer as well."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield file.read_bytes().decode("latin-1")
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            yield repr(table.to_pylist()) + repr(table.schema.metadata)


def leaks(texts: Iterator[str] | list[str]) -> list[str]:
    """Return the identifying values in texts, with what stands around them."""
    return [
        text[max(0, found.start() - 40) : found.end() + 40]
        for text in texts
        for found in FOUND.finditer(text)
    ]
