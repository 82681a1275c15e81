"""What kind of file it is: by its first bytes, or as its name promises."""

from __future__ import annotations

from pathlib import PurePath

from batchscan.dicom.signature import is_dicom

SNIFF_BYTES = 160
"""How many leading bytes `sniff` needs."""

FORMATS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "tiff": "TIFF",
    "bmp": "BMP",
    "jpeg2000": "JPEG 2000",
    "webp": "WebP",
    "dicom": "DICOM",
}
"""Every format that is read, as the column `format` has it, and what people call it."""

SIGNATURES = {
    "jpeg": (b"\xff\xd8\xff",),  # ISO/IEC 10918-1, B.2: start of image, then a marker
    "png": (b"\x89PNG\r\n\x1a\n",),  # PNG specification, 5.2
    "tiff": (  # TIFF 6.0, section 2; BigTIFF, whose offsets have eight bytes
        *(b"II*\0", b"MM\0*"),
        *(b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"),
    ),
    "jpeg2000": (  # ISO/IEC 15444-1, I.5.1: signature box; A.4.1: start of codestream, size marker
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\xff\x4f\xff\x51",
    ),
}

EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif"),
        *(".png", ".apng"),
        *(".tif", ".tiff"),
        *(".bmp", ".dib"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        ".webp",
        *(".dcm", ".dicom"),
    }
)
"""Names that promise an image: such a file is a row even where its content is something else."""

_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_KNOWN_FILES = {"dicomdir": "DICOMDIR", "thumbs.db": "Thumbs.db", ".ds_store": ".DS_Store"}


_FOREIGN = (
    (b"%PDF", "a PDF document"),
    (b"GIF8", "a GIF picture"),
    (b"PK\x03\x04", "a zip file, or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an Office document, or Thumbs.db"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89PNG", "the first bytes of a PNG and no more"),
)


def sniff(head: bytes) -> str | None:
    """Name the format that the first bytes of a file (`SNIFF_BYTES` are enough) belong to."""
    if head[128:132] == b"DICM":  # PS3.10, 7.1; what comes before may look like a TIFF
        return "dicom"
    for name, signatures in SIGNATURES.items():
        if head.startswith(signatures):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":  # RFC 9649, 2.4
        return "webp"
    # Many a text begins with BM; no text has the size of one of BMP's headers in the right place.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    return "dicom" if is_dicom(head) else None


def foreign_content(data: bytes) -> str:
    """Say in words what kind of content this is, that is no image; nothing of it is quoted.

    A text can hold a name, and reasons are read by people who may not see it.
    """
    head = data[:SNIFF_BYTES]
    for start, words in _FOREIGN:
        if head.startswith(start):
            return words
    if not any(head):
        return "nothing but zeros"
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError:
        return "other content"
    return "text" if all(sign.isprintable() or sign.isspace() for sign in text) else "other content"


def readable_formats() -> str:
    """List the formats that are read, for messages: what was expected."""
    *most, last = FORMATS.values()
    return f"{', '.join(most)} or {last}"


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
