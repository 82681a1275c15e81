"""Which commit of batchscan is at work, as far as anything on this machine tells."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PATIENCE = 10.0  # Seconds; a network disk may be slow.


def commit() -> str | None:
    """Return the commit: of the checkout that this runs from, else the one that pip was given.

    40 hexadecimal digits or more, with `-dirty` behind them where files of the checkout differ
    from the commit. None where nobody knows; raises nothing.
    """
    with contextlib.suppress(Exception):  # No scan may end for want of a footnote.
        return _of_checkout(_ROOT) if (_ROOT / ".git").exists() else _of_installation()
    return None


def _of_checkout(root: Path) -> str | None:
    """Ask git, without the variables by which a hook's git points to another repository."""
    words = ["git", "-C", os.fspath(root), "describe", "--always", "--abbrev=40"]
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    done = subprocess.run(
        [*words, "--exclude=*", "--dirty"],
        env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    return _checked(done.stdout.strip())


def _of_installation() -> str | None:
    """Read what pip records of an installation from a repository (PEP 610)."""
    with contextlib.suppress(PackageNotFoundError):
        text = distribution("batchscan").read_text("direct_url.json")
        return _checked(str(json.loads(text or "{}").get("vcs_info", {}).get("commit_id")))
    return None


def _checked(text: str) -> str | None:
    return text if re.fullmatch(r"[0-9a-f]{40,64}(-dirty)?", text) else None
