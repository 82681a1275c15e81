"""What kind of file it is: by its first bytes, or as its name promises."""

from __future__ import annotations

from pathlib import PurePath

from batchscan.dicom_signature import is_dicom

SNIFF_BYTES = 160
"""How many leading bytes `sniff` needs."""

SIGNATURES = {
    "jpeg": b"\xff\xd8\xff",  # ISO/IEC 10918-1, B.2: start of image, then a marker
    "png": b"\x89PNG\r\n\x1a\n",  # PNG specification, 5.2
}

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".dcm", ".dicom"})
"""Names that promise an image: such a file is a row even where its content is something else."""

_KNOWN_FILES = {"dicomdir": "DICOMDIR", "thumbs.db": "Thumbs.db", ".ds_store": ".DS_Store"}


def sniff(head: bytes) -> str | None:
    """Name the format that the first bytes of a file (`SNIFF_BYTES` are enough) belong to."""
    for name, signature in SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "dicom" if is_dicom(head) else None


def kind_of_other(name: str) -> str:
    """Name the kind of a file that is no image, as the summary counts them.

    It is the extension, but for files that are known by their whole name.
    """
    file = name.rpartition("/")[2]
    known = _KNOWN_FILES.get(file.lower())
    return known or PurePath(file).suffix.lower() or "(no extension)"


def is_directory_file(name: str) -> bool:
    """Say whether a file is the index of a DICOM medium by its name (PS3.10, 8.6)."""
    return name.rpartition("/")[2].upper() == "DICOMDIR"
