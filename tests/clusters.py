"""A Ray cluster of several nodes on this machine, whose workers stop at a gate."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import Running, environment, parts, run, running, sabotaged

FREE = [f"NORMAL/a{number:02d}.jpeg" for number in range(6)]
GATED = [f"PNEUMONIA/gated{number:02d}.png" for number in range(8)]
IMAGES = [*FREE, *GATED]

QUICK = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}
"""Settings of the cluster, to see sooner that a node is gone."""

AddNode = Callable[..., Any]


class Scene:
    """An archive whose images named `gated*` cannot be read until the gate is opened."""

    def __init__(self, plant: Path, archive: Path, model: Path, out: Path, address: str) -> None:
        self._plant = plant
        self.archive = archive
        self.model = model
        self.out = out
        self.address = address

    def arguments(self, *more: str | Path) -> list[str | Path]:
        fixed = ["run", self.archive, "--out", self.out, "--model", self.model]
        fixed += ["--shard-size", "1", "--decode-seconds", "600"]
        return [*fixed, "--address", self.address, *more]

    def run(self, *more: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*self.arguments(*more), env=environment())

    def start(self, *more: str | Path) -> contextlib.AbstractContextManager[Running]:
        return running(*self.arguments(*more), env=environment())

    def reach_the_middle(self, command: Running, *nodes: Any) -> None:
        """Wait until all is done that can be, and each node has a worker at the gate."""
        command.wait_for(
            lambda: len(parts(self.out)) >= len(FREE) and all(map(workers_of, nodes)),
            "work on all nodes",
        )

    def open_gate(self) -> None:
        (self._plant / "gate").touch()

    def close_gate(self) -> None:
        (self._plant / "gate").unlink(missing_ok=True)
        (self._plant / "opened").unlink(missing_ok=True)

    def at_the_gate(self) -> list[str]:
        """Return the gated images that were opened, in that order."""
        log = self._plant / "opened"
        lines = log.read_text().splitlines() if log.exists() else []
        paths = {Path(name).name: name for name in GATED}
        return [paths.get(line, line) for line in lines if line.startswith("gated")]

    def opened(self) -> Counter[str]:
        """Return how often each image was opened; each time may be several lines of the log."""
        lines = Counter((self._plant / "opened").read_text().splitlines())
        once = min(lines.values())
        return Counter({name: count // once for name, count in lines.items()})

    def opened_in_vain(self) -> Counter[str]:
        """Return how often each image was opened by a worker that died before the gate opened.

        Those that get through leave the same number of lines for each.
        """
        lines = Counter((self._plant / "opened").read_text().splitlines())
        once = min(lines.values())
        return +Counter({name: count - once for name, count in lines.items()})


@contextlib.contextmanager
def sabotaged_cluster(plant: Path) -> Iterator[Any]:
    """Start a cluster of a head alone, that has no CPU for workers; its nodes are sabotaged."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("RAY_"):
                patch.delenv(name)
        for name, value in sabotaged(plant).items():
            patch.setenv(name, value)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False, _system_config=QUICK)
            yield cluster
        finally:
            cluster.shutdown()


def workers_of(node: Any, state: str = "run") -> list[psutil.Process]:
    """Return the processes of a node that are in the middle of a shard."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [child for child in raylet.children() if title(child) == f"ray::ShardWorker.{state}"]


def title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def seen_workers(node: Any) -> set[int]:
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return {child.pid for child in raylet.children() if "ShardWorker" in title(child)}


def kill_machine(cluster: Any, node: Any) -> None:
    """End a node as a loss of power does: raylet, workers and all else, none by another."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.remove_node(node, allow_graceful=False)
