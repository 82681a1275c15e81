"""Where workers are placed: what nodes of a cluster have room for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.vacancy import vacancies


def node(name: str, *, cpus: float = 0, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    """Describe a node as `ray.nodes()` does; a resource that it has none of is left out."""
    resources = {"CPU": float(cpus), "GPU": float(gpus), "memory": 1e9}
    present = {kind: amount for kind, amount in resources.items() if amount}
    return {"NodeID": name, "Alive": alive, "Resources": present}


def test_gpus_first_and_nodes_in_turns() -> None:
    """A GPU comes before any core, and no node gets a second worker before each has one."""
    nodes = [node("a", cpus=2), node("b", cpus=8, gpus=2), node("c", cpus=2), node("d", gpus=1)]
    found = [vacancy.node for vacancy in vacancies(nodes, {}, per_gpu=1)]
    assert found == ["b", "d", "b", "a", "c", "a", "c"]


def test_what_is_taken_or_gone() -> None:
    """Workers that are there take their places; a dead node and one without cores have none."""
    nodes = [node("a", cpus=3), node("b", cpus=4, alive=False), node("c"), node("d", gpus=2)]
    found = [vacancy.node for vacancy in vacancies(nodes, {"a": 2, "d": 5}, per_gpu=2)]
    assert found == ["a"]


def test_a_worker_on_a_core() -> None:
    """Where there is no GPU, a worker takes one core and one thread."""
    (found,) = vacancies([node("a", cpus=1)], {}, per_gpu=4)
    assert (found.device, found.cpus, found.gpus, found.threads) == ("cpu", 1, 0, 1)


@given(cpus=st.integers(0, 300), gpus=st.integers(1, 16), per_gpu=st.integers(1, 20))
def test_all_workers_of_a_gpu_node_fit(cpus: int, gpus: int, per_gpu: int) -> None:
    """All that is placed on a node fits into what it has, in the tenths of thousandths of Ray.

    Each GPU has `per_gpu` workers; their threads are no more than the cores, but for two of each.
    """
    found = vacancies([node("a", cpus=cpus, gpus=gpus)], {}, per_gpu=per_gpu)
    assert len(found) == gpus * per_gpu
    assert {vacancy.device for vacancy in found} == {"gpu"}
    assert per_gpu * int(found[0].gpus * 10_000) <= 10_000
    assert sum(int(vacancy.cpus * 10_000) for vacancy in found) <= cpus * 10_000
    assert min(vacancy.threads for vacancy in found) >= 2
    assert sum(vacancy.threads for vacancy in found) <= max(cpus, 2 * len(found))
