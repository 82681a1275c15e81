"""Keyed pseudonyms of patients and paths: only who has the key can tell whose they are.

Each is an HMAC-SHA-256 (RFC 2104, FIPS 180-4) of the UTF-8 text, as 64 hexadecimal digits. A plain
hash would not do: whoever can guess a name could check the guess.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from batchscan.archive.display import display_path
from batchscan.errors import UsageError
from batchscan.rules import Rules

SHORTEST_KEY = 16  # Bytes.
LONGEST_KEY = 4096  # A larger file is no key, but a mistake.
_CHECKED = "batchscan id key"
_HOW = "expected a secret of 16 to 4096 bytes, such as 64 random hexadecimal digits"


def patient_hmac(key: bytes, patient_id: str) -> str:
    """Return the pseudonym of a PatientID."""
    return hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()


def path_hmac(key: bytes, path: str) -> str:
    """Return the pseudonym of a path as it would stand in the result (`display_path`)."""
    return hmac.digest(key, path.encode(), "sha256").hex()


def path_column(name: str, rules: Rules) -> str:
    """Return what stands for a file's name wherever something is written down or printed."""
    return shown_path(display_path(name), rules)


def shown_path(path: str, rules: Rules) -> str:
    """Do what `path_column` does, for what `display_path` has made of a name."""
    if not rules.hide_paths:
        return path
    assert rules.id_key is not None  # Else a path would get out, or a guess could be checked.
    return path_hmac(rules.id_key, path)


def key_check(key: bytes | None) -> str | None:
    """Return 16 hexadecimal digits by which two runs see whether they have the same key."""
    return None if key is None else path_hmac(key, _CHECKED)[:16]


def read_key(file: Path) -> bytes:
    """Read a secret key; line ends behind it do not count. Raises `UsageError`."""
    try:
        with file.open("rb") as stream:
            content = stream.read(LONGEST_KEY + 1)
    except FileNotFoundError as error:
        raise UsageError(
            f"--id-key {file}: {_HOW}, found no such file; see Privacy in the README"
        ) from error
    except OSError as error:
        raise UsageError(f"--id-key {file}: {_HOW}, found {error.strerror}") from error
    key = content.rstrip(b"\r\n")
    if len(content) > LONGEST_KEY:
        raise UsageError(f"--id-key {file}: {_HOW}, found a larger file; name the right one")
    if len(key) < SHORTEST_KEY:
        found = f"{len(key)} bytes" if key else "an empty file"
        raise UsageError(f"--id-key {file}: {_HOW}, found {found}; make a longer key")
    return key
