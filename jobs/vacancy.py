"""Where a cluster has room for workers, and what each of them takes of its node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_FEWEST_THREADS = 2  # Of a worker on a GPU: one decodes while the other waits for the disk.


@dataclass(frozen=True)
class Vacancy:
    """Room for one worker: on a GPU or a part of one where the node has any, else on a CPU core.

    `cpus` and `gpus` are what it reserves, in Ray's units. A worker on a GPU decodes in as many
    threads as its share of the node's cores allows.
    """

    node: str
    cpus: float
    gpus: float
    threads: int

    @property
    def device(self) -> str:
        """What it scores on: `gpu` or `cpu`."""
        return "gpu" if self.gpus else "cpu"


def vacancies(
    nodes: Iterable[Mapping[str, Any]], present: Mapping[str, int], *, per_gpu: int
) -> list[Vacancy]:
    """List the room that is left on `nodes` (as `ray.nodes()` tells them), best first.

    `present` says how many workers a node has already. GPUs come before cores, and nodes take
    turns: where only some workers are wanted, they are spread. With `per_gpu` 0, no GPU is used.
    """
    found: list[tuple[bool, int, Vacancy]] = []
    for node in nodes:
        if node["Alive"]:
            name, room = node["NodeID"], _room(node, per_gpu)
            found += [(not v.gpus, turn, v) for turn, v in enumerate(room[present.get(name, 0) :])]
    return [vacancy for *_, vacancy in sorted(found, key=lambda entry: entry[:2])]


def _room(node: Mapping[str, Any], per_gpu: int) -> list[Vacancy]:
    """List all places of a node, taken or not."""
    gpus = int(node["Resources"].get("GPU", 0))
    cpus = int(node["Resources"].get("CPU", 0))
    if not gpus or not per_gpu:
        return [Vacancy(node["NodeID"], cpus=1, gpus=0, threads=1)] * cpus
    workers = gpus * per_gpu
    place = Vacancy(
        node["NodeID"],
        cpus=min(1, cpus / workers),
        gpus=1 / per_gpu,
        threads=max(_FEWEST_THREADS, cpus // workers),
    )
    return [place] * workers
