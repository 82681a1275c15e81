"""What kind of file it is: by its first bytes, or as its name promises."""

from __future__ import annotations

SNIFF_BYTES = 16
"""How many leading bytes `sniff` needs."""

SIGNATURES = {
    "jpeg": b"\xff\xd8\xff",  # ISO/IEC 10918-1, B.2: start of image, then a marker
    "png": b"\x89PNG\r\n\x1a\n",  # PNG specification, 5.2
}

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png"})
"""Names that promise an image: such a file is a row even where its content is something else."""


def sniff(head: bytes) -> str | None:
    """Name the format that the first bytes of a file (`SNIFF_BYTES` are enough) belong to."""
    for name, signature in SIGNATURES.items():
        if head.startswith(signature):
            return name
    return None
