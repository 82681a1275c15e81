"""What kind of file it is: by its first bytes, or as its name promises."""

from __future__ import annotations

SNIFF_BYTES = 32
"""How many leading bytes `sniff` needs."""

FORMATS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "tiff": "TIFF",
    "bmp": "BMP",
    "jpeg2000": "JPEG 2000",
    "webp": "WebP",
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
    }
)
"""Names that promise an image: such a file is a row even where its content is something else."""

_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


def sniff(head: bytes) -> str | None:
    """Name the format that the first bytes of a file (`SNIFF_BYTES` are enough) belong to."""
    for name, signatures in SIGNATURES.items():
        if head.startswith(signatures):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":  # RFC 9649, 2.4
        return "webp"
    # Many a text begins with BM; no text has the size of one of BMP's headers in the right place.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    return None


def readable_formats() -> str:
    """List the formats that are read, for messages: what was expected."""
    *most, last = FORMATS.values()
    return f"{', '.join(most)} or {last}"
