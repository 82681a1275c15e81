"""A Ray of our own: it keeps to itself, and leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

from commands import environment, run

LISTEN = """
import os, sys
def _listen(event, arguments):
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    with open(os.environ["ASKED"], "a") as log:
        log.write(f"{host}\\n")
sys.addaudithook(_listen)
"""
"""Logs each host that a Python process connects to or asks the address of."""


def test_a_local_ray_keeps_to_itself(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """A run on one machine speaks to that machine alone, and asks for no other one's address."""
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "sitecustomize.py").write_text(LISTEN)
    asked = tmp_path / "asked"
    done = run(
        *("run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle),
        *("--workers", "1"),
        env=environment(PYTHONPATH=tmp_path / "plant", ASKED=asked),
    )
    assert done.returncode == 0, done.stderr
    hosts = set(asked.read_text().split())
    own = {"127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost", "None", socket.gethostname()}
    assert hosts
    assert hosts <= own, hosts
