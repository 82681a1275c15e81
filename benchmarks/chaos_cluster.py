"""A small Ray cluster on this machine whose nodes die as machines do: all at once, unannounced."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

_HEALTH = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}
_MEMORY = 80 << 20  # Of each node's object store: only the model travels through it.


class SmallCluster:
    """A head without workers, and nodes of one CPU each, which may be away for a while.

    The environment is what all nodes, and so all workers, run with. Use it in a `with` statement:
    every process of Ray that it has started ends there.
    """

    def __init__(self, nodes: int, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._nodes: dict[str, Any] = {}
        # Each has an address of its own, as machines have: a driver finds its node by that.
        self._back_at = {f"127.0.0.{number + 2}": 0.0 for number in range(nodes)}

    def __enter__(self) -> SmallCluster:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            del os.environ[name]
        os.environ.update(self._environment, RAY_USAGE_STATS_ENABLED="0")
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._cluster.add_node(
            num_cpus=0,
            include_dashboard=False,
            object_store_memory=_MEMORY,
            temp_dir=str(self._folder),
            _system_config=_HEALTH,
        )
        self.bring_back()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in list(self._nodes):
            self.kill_node(name, away=0.0)
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """Where drivers find it: HOST:PORT."""
        return str(self._cluster.address)

    @property
    def nodes(self) -> list[str]:
        """The addresses of the nodes that are there."""
        return list(self._nodes)

    def bring_back(self) -> list[str]:
        """Start those nodes again whose time has come; returns their addresses."""
        due = [name for name, moment in self._back_at.items() if moment <= time.monotonic()]
        for name in due:
            self._nodes[name] = self._cluster.add_node(
                num_cpus=1, object_store_memory=_MEMORY, node_ip_address=name
            )
            del self._back_at[name]
        return due

    def kill_node(self, name: str, *, away: float) -> None:
        """Kill a node, its workers and all else of it; it may come back in `away` seconds."""
        node = self._nodes.pop(name)
        raylet = self._raylet(node)
        kill(raylet, *raylet.children(recursive=True))
        self._cluster.remove_node(node, allow_graceful=False)
        self._back_at[name] = time.monotonic() + away

    def workers(self) -> list[psutil.Process]:
        """Return the processes that hold a model, on all nodes."""
        return [
            child
            for node in self._nodes.values()
            for child in self._raylet(node).children()
            if "ShardWorker" in _title(child)
        ]

    def _raylet(self, node: Any) -> psutil.Process:
        return psutil.Process(node.all_processes["raylet"][0].process.pid)


def kill(*processes: psutil.Process) -> None:
    """End processes as nothing can prevent; those that are gone already are no error."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
