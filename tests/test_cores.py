"""How many cores a Ray of our own takes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from commands import PATIENCE, environment

from jobs.cores import usable_cores

COUNT = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from jobs.session import ray_session
with ray_session() as ray:
    print(ray.cluster_resources()["CPU"])
"""


@pytest.mark.parametrize(
    ("counted", "allowed", "expected"), [(64, 4, 4), (2, 8, 2), (0.5, 2, 1), (0, 2, 1)]
)
def test_the_least_of_quota_and_affinity(
    monkeypatch: pytest.MonkeyPatch, counted: float, allowed: int, expected: int
) -> None:
    """A run takes no more cores than its container and its affinity allow, and one at least."""
    from ray._private import utils

    monkeypatch.setattr(utils, "get_num_cpus", lambda **_options: counted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(allowed)))
    assert usable_cores() == expected


def test_another_version_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray does not tell how it counts, the cores that the process may use count."""
    from ray._private import utils

    monkeypatch.delattr(utils, "get_num_cpus")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(3)))
    assert usable_cores() == 3


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_a_pinned_run() -> None:
    """A run that may use one core of several, as a scheduler grants it, has one worker's room."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        env=environment(),
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1.0"]
    assert done.stderr == ""
