"""Keyed pseudonyms: the same patient gets the same one, and only who has the key can tell whose."""

from __future__ import annotations

import hashlib
import hmac


def patient_hmac(key: bytes, patient_id: str) -> str:
    """Return the HMAC-SHA-256 (RFC 2104) of a PatientID as 64 hexadecimal digits."""
    return hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()
