"""Keyed pseudonyms: equal things get equal ones, and only who has the key can tell of what."""

from __future__ import annotations

import hmac
from pathlib import Path

from batchscan.errors import UsageError

SHORTEST_KEY = 16
"""Bytes: 128 bits, as many as nobody can try."""

_CHECK = b"batchscan key check"


def read_key(file: Path) -> bytes:
    """Read a key: the content of a file without blanks and line ends around it.

    Raises `UsageError` where it cannot be read or has fewer than `SHORTEST_KEY` bytes.
    """
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise UsageError(
            f"{file}: expected a file with a secret key, which cannot be read ({error.strerror})"
        ) from error
    if len(key) < SHORTEST_KEY:
        raise UsageError(
            f"{file}: expected a secret key of at least {SHORTEST_KEY} bytes, found {len(key)}; "
            "python3 -c 'import secrets; print(secrets.token_hex(32))' makes one"
        )
    return key


def key_check(key: bytes) -> str:
    """Return 16 hexadecimal digits that tell this key from others, and nothing else of it."""
    return _hmac(key, _CHECK)[:16]


def patient_hmac(key: bytes, patient_id: str) -> str:
    """Return the HMAC-SHA-256 (RFC 2104) of a PatientID as 64 hexadecimal digits."""
    return _hmac(key, patient_id.encode())


def path_hmac(key: bytes, path: str) -> str:
    """Return the HMAC-SHA-256 of a path, in UTF-8, as 64 hexadecimal digits."""
    return _hmac(key, path.encode())


def _hmac(key: bytes, text: bytes) -> str:
    return hmac.digest(key, text, "sha256").hex()
