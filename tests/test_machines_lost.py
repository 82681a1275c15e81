"""Machines of a cluster that are taken away, one after another, with what runs on them.

Nodes are real ones of Ray, all on this machine, each with an address of its own. They die as
machines do: raylet, workers and all else at once.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import (
    GATED,
    IMAGES,
    AddNode,
    Scene,
    kill_machine,
    sabotaged_cluster,
    seen_workers,
    workers_of,
)
from commands import Running, environment, parts, rows, running, wait_until, write_images

import batchscan


@pytest.fixture(scope="module")
def still_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("still") / "archive", *IMAGES)


@pytest.fixture(scope="module")
def calm(
    tmp_path_factory: pytest.TempPathFactory, still_archive: Path, tiny_bundle: Path
) -> list[dict[str, object]]:
    """Return the rows of a run without Ray."""
    out = tmp_path_factory.mktemp("calm") / "results.parquet"
    batchscan.scan(still_archive, out, model=tiny_bundle, workers=0)
    return rows(out)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plant")


@pytest.fixture(scope="module")
def cluster(plant: Path) -> Iterator[Any]:
    with sabotaged_cluster(plant) as cluster:
        yield cluster


@pytest.fixture
def add_node(cluster: Any) -> Iterator[AddNode]:
    """Add nodes of one CPU, each with an address of its own; they leave after the test."""
    numbers = itertools.count(2)

    def add() -> Any:
        return cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{next(numbers)}")

    yield add
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)
    cluster.wait_for_nodes()


@pytest.fixture
def scene(
    plant: Path, still_archive: Path, tiny_bundle: Path, tmp_path: Path, cluster: Any
) -> Iterator[Scene]:
    scene = Scene(plant, still_archive, tiny_bundle, tmp_path / "r.parquet", cluster.address)
    scene.close_gate()
    yield scene
    scene.open_gate()


def part_states(out: Path) -> dict[str, tuple[int, int]]:
    """Return what would change if a part were written again: its inode and its time."""
    states = {part.name: part.stat() for part in parts(out)}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


def test_all_machines_lost_again_and_again(
    scene: Scene, cluster: Any, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """A run that loses all machines, twice, says each time that it waits, and goes on.

    What was finished is not scored again; nor is what both had in work taken for the cause.
    """
    with scene.start() as command:
        for lost in range(1, 3):
            machine = add_node()
            wait_at_the_gate(scene, command, lost)
            finished = part_states(scene.out)
            kill_machine(cluster, machine)
            wait_for_lines(command, "a worker died", lost)
            wait_for_lines(command, "waiting: the cluster has no machine", lost)
            assert part_states(scene.out) == finished
        add_node()
        scene.open_gate()
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm
    assert scene.opened_in_vain() == {Path(GATED[0]).name: 2}


def wait_at_the_gate(scene: Scene, command: Running, count: int) -> None:
    command.wait_for(lambda: len(scene.at_the_gate()) >= count, f"worker {count} at the gate")


def wait_for_lines(command: Running, text: str, count: int) -> None:
    command.wait_for(
        lambda: sum(text in line for line in command.stderr.splitlines()) >= count,
        f"line {count} of {text}",
    )


DRIVER = """
import sys
import batchscan, ray
archive, out, model, address, node = sys.argv[1:]
ray.init(address, _node_ip_address=node, log_to_driver=False, logging_level="ERROR")
assert ray.util.get_node_ip_address() == node
summary = batchscan.scan(archive, out, model=model, shard_size=1, decode_seconds=600)
print(summary.scored_now, summary.unchanged)
"""


@contextlib.contextmanager
def driver_on(node: Any, scene: Scene) -> Iterator[Running]:
    """Run a scan whose driver is on this node, and not on the cluster's head."""
    words = [scene.archive, scene.out, scene.model, scene.address, node.node_ip_address]
    command = [sys.executable, "-c", DRIVER]
    with running(*words, env=environment(), command=command) as driver:
        yield driver


def test_machine_of_the_driver_lost(
    scene: Scene, cluster: Any, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """A driver that dies with its machine is started on another one, and resumes.

    Only what was unfinished is scored there, and the first driver's workers have gone.
    """
    first, second = add_node(), add_node()
    with driver_on(first, scene) as driver:
        scene.reach_the_middle(driver, first, second)
        finished = len(parts(scene.out))
        orphans = workers_of(second)
        kill_machine(cluster, first)
        driver.process.kill()
        driver.process.wait()
    wait_until(lambda: not any(map(psutil.Process.is_running, orphans)), "the orphans' end")
    with driver_on(second, scene) as driver:
        driver.wait_for(lambda: bool(workers_of(second)), "a new worker")
        scene.open_gate()
        assert driver.ends() == 0, driver.stderr
        assert driver.stdout.split() == [str(len(IMAGES) - finished), str(finished)]
    assert rows(scene.out) == calm
    assert scene.opened_in_vain().keys() <= {Path(name).name for name in GATED}
    wait_until(lambda: not seen_workers(second), "the end of all workers")
