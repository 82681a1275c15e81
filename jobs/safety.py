"""Who else could use a Ray cluster that a scan joins."""

from __future__ import annotations

import os
import subprocess
import sys

from batchscan.errors import UsageError

_KNOCK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
_KNOCK_SECONDS = 30.0


def warning_about(address: str) -> str | None:
    """Warn of a cluster that lets everybody in; None where it asks for a token or a certificate.

    `address` is that of its head, as HOST:PORT, which this process has joined. Whoever may submit
    work to Ray may run any program, as the account that Ray runs as. Raises `UsageError` where this
    process has a token and the cluster asks for none: its nodes could not answer.
    """
    if _has_tls():
        return None
    if not _has_token():
        return (
            f"the Ray cluster at {address} asks for no token: whoever reaches that address can run "
            "programs there, read the archive and change results; start its nodes with "
            "RAY_AUTH_MODE=token (docs/clusters.md says how)"
        )
    if _opens(address):
        raise UsageError(
            f"RAY_AUTH_MODE=token: the Ray cluster at {address} asks for no token, and cannot work "
            "for who has one; start its nodes with RAY_AUTH_MODE=token as well (docs/clusters.md "
            "says how)"
        )
    return None


def _has_tls() -> bool:
    """Say whether Ray's TLS is on: both sides show certificates then."""
    return os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true")


def _has_token() -> bool:
    """Say whether this process shows a token; Ray knows by now, also where it has found one."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    enabled: bool = is_token_auth_enabled()
    return enabled


def _opens(address: str) -> bool:
    """Say whether a cluster lets somebody in who has no token.

    One that asks for none takes a token, too: only a process without any can find out.
    """
    hidden = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    stranger = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _KNOCK, address],
            env=stranger | {"RAY_AUTH_MODE": "disabled"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_KNOCK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
