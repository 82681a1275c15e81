"""A headless Chromium: what it makes of a page, and what it complains about."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARTIFACTS = "BATCHSCAN_ARTIFACTS"
"""Names a folder in which screenshots are kept."""

DARK = "--blink-settings=preferredColorScheme=0"


@dataclass(frozen=True)
class Visit:
    """What was seen: the document after loading, and what the page wrote to the console."""

    dom: str
    console: list[str]


def browser() -> str:
    """Return Chromium's path; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is installed")
    return found


def visit(page: Path, *options: str) -> Visit:
    """Open a page from disk and read it."""
    done = _run("--dump-dom", *options, page.absolute().as_uri())
    console = [line for line in done.stderr.splitlines() if re.search(r"\bCONSOLE\b", line)]
    return Visit(done.stdout, console)


def screenshot(page: Path, out: Path, width: int, height: int, *options: str) -> None:
    """Photograph a page, also for people where the environment says into which folder."""
    size = f"--window-size={width},{height}"
    _run(f"--screenshot={out}", size, "--hide-scrollbars", *options, page.absolute().as_uri())
    keep(out)


def print_to_pdf(page: Path, out: Path) -> None:
    """Print a page on paper."""
    _run(f"--print-to-pdf={out}", "--no-pdf-header-footer", page.absolute().as_uri())
    keep(out)


def keep(file: Path) -> None:
    """Keep a copy where the environment says."""
    if folder := os.environ.get(ARTIFACTS):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        fixed = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
        done = subprocess.run(
            [browser(), *fixed, f"--user-data-dir={profile}", *arguments],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done
