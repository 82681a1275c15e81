"""A Ray of our own: it keeps to itself, and leaves nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PATIENCE, environment, run

from batchscan import scan_job
from batchscan.config import ScanConfig
from batchscan.errors import WorkerError

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


SIGNALLED = """
import os, signal, sys, time
from batchscan import scan_job
from batchscan.cli import entry_point
scan_job()
def _signal():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
sys.modules["batchscan_jobs.session"].keep_signals = _signal
entry_point()
"""
"""The command line, to which SIGTERM comes in the moment in which Ray is connected."""


def test_signal_while_ray_connects(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """A signal while Ray connects ends the run with our one line and exit code, not with Ray's."""
    words = ["run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle]
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, *map(str, words), "--workers", "1"],
        env=environment(), cwd="/", timeout=PATIENCE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 143
    (line,) = done.stderr.splitlines()
    assert "run the same command again" in line


GROUPS = """
import os
import psutil
from ray._private import worker
from batchscan.cli import entry_point
connect = worker.connect
def _connect(*arguments, **options):
    connect(*arguments, **options)
    groups = [os.getpgid(child.pid) for child in psutil.Process().children(recursive=True)]
    assert groups and os.getpgrp() not in groups, groups
worker.connect = _connect
entry_point()
"""
"""The command line, which fails if a process of Ray's is in its process group."""


def test_process_groups(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """A signal to the command's process group, as of Ctrl-C, meets no process of Ray's."""
    words = ["run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle]
    subprocess.run(
        [sys.executable, "-c", GROUPS, *map(str, words), "--workers", "1"],
        env=environment(), cwd="/", timeout=PATIENCE, check=True,
    )  # fmt: skip


AFTER_ANOTHER = """
import sys
import ray
import batchscan
ray.init("local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
ray.shutdown()
archive, out, model = sys.argv[1:]
assert batchscan.scan(archive, out, model=model, workers=1).scored_now == 8
"""


def test_after_a_session_of_the_caller(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """The Python call starts a Ray of its own where the caller's has ended."""
    words = [archive, tmp_path / "r.parquet", tiny_bundle]
    subprocess.run(
        [sys.executable, "-c", AFTER_ANOTHER, *words],
        env=environment(), timeout=PATIENCE, check=True,
    )  # fmt: skip


TWICE = """
import os, sys
import batchscan
before = dict(os.environ)
archive, out, model, workers = sys.argv[1:]
for fresh in (False, True):
    summary = batchscan.scan(archive, out, model=model, workers=int(workers), fresh=fresh)
    assert summary.scored_now == 8
    assert dict(os.environ) == before, {*os.environ.items()} ^ {*before.items()}
"""


@pytest.mark.parametrize("workers", ["0", "1"])
def test_nothing_is_left_behind(
    tmp_path: Path, archive: Path, tiny_bundle: Path, workers: str
) -> None:
    """The Python call leaves environment and home folder as they were, and works once more."""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-c", TWICE, archive, tmp_path / "r.parquet", tiny_bundle, workers],
        env=environment(HOME=home), timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert not list(home.iterdir())


@pytest.mark.parametrize(("gpu", "cores"), [(True, None), (False, 1)])
def test_workers_are_not_the_cores_of_a_gpu(
    tmp_path: Path,
    archive: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpu: bool,
    cores: int | None,
) -> None:
    """--workers 1 beside a GPU is one worker on it, which decodes on all cores."""
    job = scan_job()
    asked = []

    def session(*, workers: int | None, **_options: object) -> None:
        asked.append(workers)
        raise WorkerError("seen")

    monkeypatch.setattr(job, "has_gpu", lambda: gpu)
    monkeypatch.setattr(job, "ray_session", session)
    with pytest.raises(WorkerError, match="seen"):
        job.scan(ScanConfig(archive, tmp_path / "r.parquet", model=tiny_bundle, workers=1))
    assert asked == [cores]
