"""Ray clusters: several nodes, GPUs that Ray counts, machines that come, go or are taken.

The nodes are real ones of Ray, all on this machine. Nodes with GPUs only say that they have some.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import (
    FREE,
    GATED,
    IMAGES,
    AddNode,
    Scene,
    sabotaged_cluster,
    seen_workers,
    workers_of,
)
from commands import (
    COMMAND,
    PATIENCE,
    environment,
    parts,
    rows,
    run,
    wait_until,
    write_images,
)

import batchscan
from batchscan.run.worker import _GPU_FILES

# A GPU that is there would be used in earnest: its worker needs the GPU variant of ONNX Runtime.
needs_no_gpu = pytest.mark.skipif(
    any(Path(name).exists() for name in _GPU_FILES), reason="this machine has a GPU"
)


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
    """Add nodes to the cluster; they leave it after the test."""
    yield cluster.add_node
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


# ------------------------------------------------------------------- nodes


@pytest.mark.parametrize("more", [(), ("--workers", "5")], ids=["all", "more than CPUs"])
def test_all_nodes_work(
    scene: Scene, add_node: AddNode, calm: list[dict[str, object]], more: tuple[str, ...]
) -> None:
    """Each node's CPU gets a worker, never more; the rows are those of a run without Ray."""
    nodes = [add_node(num_cpus=1), add_node(num_cpus=1)]
    with scene.start(*more) as command:
        scene.reach_the_middle(command, *nodes)
        assert [len(workers_of(node)) for node in nodes] == [1, 1]
        scene.open_gate()
        assert command.ends() == 0, command.stderr
        (line,) = without_progress(command.stderr)
        assert "asks for no token" in line
    assert rows(scene.out) == calm
    assert set(scene.opened().values()) == {1}


def test_cluster_that_lets_everybody_in(scene: Scene, add_node: AddNode) -> None:
    """Whoever joins a cluster that asks for no token is warned, once."""
    add_node(num_cpus=1)
    scene.open_gate()
    done = scene.run()
    assert done.returncode == 0, done.stderr
    (line,) = without_progress(done.stderr)
    assert f"{scene.address} asks for no token" in line
    assert "RAY_AUTH_MODE=token" in line


def test_token_that_nobody_wants(scene: Scene) -> None:
    """A token for a cluster that asks for none is an error of one line: it could not answer."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    done = run(*scene.arguments(), env=environment(**token))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{scene.address} asks for no token" in line


def without_progress(stderr: str) -> list[str]:
    """Return the lines that speak neither of progress nor of waiting, as slow machines may."""
    return [line for line in stderr.splitlines() if not re.search(r" images/s|: waiting: ", line)]


def test_fewer_workers_than_nodes(
    scene: Scene, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """--workers limits how much of a cluster a run takes."""
    nodes = [add_node(num_cpus=2), add_node(num_cpus=2)]
    with scene.start("--workers", "1") as command:
        scene.reach_the_middle(command)
        assert sum(len(seen_workers(node)) for node in nodes) == 1
        scene.open_gate()
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm


def test_lost_node(
    scene: Scene, cluster: Any, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """A node that dies in mid-run costs only the shards that its workers held."""
    stays, dies = add_node(num_cpus=1), add_node(num_cpus=1)
    with scene.start() as command:
        scene.reach_the_middle(command, stays, dies)
        cluster.remove_node(dies, allow_graceful=False)
        command.wait_for(lambda: "a worker died" in command.stderr, "the notice")
        scene.open_gate()
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm
    opened = scene.opened()
    assert {opened[Path(name).name] for name in FREE} == {1}
    assert sum(opened.values()) <= len(IMAGES) + 1, "only what the lost worker had in its hands"


def test_no_node_at_all(
    scene: Scene, cluster: Any, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """A run without any CPU says that it waits; it starts, and goes on, as soon as there is one."""
    with scene.start() as command:
        command.wait_for(lambda: "waiting: " in command.stderr, "the message")
        assert "no machine" in command.stderr
        node = add_node(num_cpus=1)
        scene.reach_the_middle(command, node)
        cluster.remove_node(node, allow_graceful=False)
        command.wait_for(lambda: "a worker died" in command.stderr, "the notice")
        scene.open_gate()
        add_node(num_cpus=1)
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm


def test_node_that_joins(scene: Scene, add_node: AddNode, calm: list[dict[str, object]]) -> None:
    """A node that joins in mid-run gets the next shards, before others have ended theirs.

    One shard is in work, one waits in its worker's queue, and the third is the new node's.
    """
    first = add_node(num_cpus=1)
    with scene.start() as command:
        scene.reach_the_middle(command, first)
        add_node(num_cpus=1)
        command.wait_for(lambda: len(scene.at_the_gate()) > 1, "work on the new node")
        assert scene.at_the_gate() == [GATED[0], GATED[2]]
        scene.open_gate()
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm


def test_straggler(
    scene: Scene, add_node: AddNode, tmp_path: Path, tiny_bundle: Path, plant: Path
) -> None:
    """A shard at which a worker is stuck is scored by an idle one; nobody waits, no row is double.

    The stuck worker is ended: nothing of the run is left on the cluster.
    """
    scene.archive = write_images(tmp_path / "archive", *FREE, "NORMAL/stuck.jpeg")
    nodes = [add_node(num_cpus=1), add_node(num_cpus=1)]
    with scene.start() as command:
        assert command.ends() == 0, command.stderr
    assert (plant / "gate.stuck.jpeg.taken").exists()
    wait_until(lambda: not any(map(seen_workers, nodes)), "the end of the stuck worker")
    out = tmp_path / "calm.parquet"
    batchscan.scan(scene.archive, out, model=tiny_bundle, workers=0)
    assert rows(scene.out) == rows(out)


def test_interrupted_on_a_cluster(
    scene: Scene, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """SIGTERM ends the run and its workers, though they are stuck; the cluster goes on."""
    node = add_node(num_cpus=2)
    with scene.start() as command:
        scene.reach_the_middle(command, node)
        workers = workers_of(node)
        command.process.terminate()
        assert command.ends() == 143
        assert "same command again" in command.stderr
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    assert not alive
    assert psutil.pid_exists(node.all_processes["raylet"][0].process.pid)
    done = len(parts(scene.out))
    assert done >= len(FREE)
    summary = batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    assert summary.unchanged == done
    assert rows(scene.out) == calm


# -------------------------------------------------------------------- GPUs


@needs_no_gpu
def test_gpu_and_cpu_nodes(scene: Scene, add_node: AddNode, calm: list[dict[str, object]]) -> None:
    """One worker for each GPU, and CPU-only nodes work beside them, one worker for each core.

    Where Ray counts a GPU that does not exist, the worker says so and uses the CPU.
    """
    gpus, cpus = add_node(num_cpus=3, num_gpus=1), add_node(num_cpus=2)
    with scene.start() as command:
        command.wait_for(
            lambda: (len(workers_of(gpus)), len(workers_of(cpus))) == (1, 2), "three workers"
        )
        scene.open_gate()
        assert command.ends() == 0, command.stderr
        assert "GPU" in command.stderr
        assert "scores on the CPU" in command.stderr
    assert rows(scene.out) == calm


@needs_no_gpu
@pytest.mark.skipif(
    bool(list(distributions(name="onnxruntime-gpu"))),
    reason="the GPU variant of ONNX Runtime is installed",
)
def test_gpu_without_its_software(
    scene: Scene, add_node: AddNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that is there but cannot be used ends the run with one line: where, what to install."""
    device = "import batchscan.run.worker as worker; worker._GPU_FILES = ('/',)"
    (tmp_path / "sitecustomize.py").write_text(device)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    add_node(num_cpus=2, num_gpus=1)
    done = scene.run()
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if "error" in line)
    assert "placed on a GPU of" in line
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in line
    assert not scene.out.exists()


def test_workers_share_a_gpu(
    scene: Scene, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """--workers-per-gpu puts so many workers on each GPU, whatever a node has of them."""
    two, one = add_node(num_cpus=3, num_gpus=2), add_node(num_cpus=2, num_gpus=1)
    with scene.start("--workers-per-gpu", "2") as command:
        command.wait_for(
            lambda: (len(workers_of(two)), len(workers_of(one))) == (4, 2), "six workers"
        )
        scene.open_gate()
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm


@needs_no_gpu
@pytest.mark.parametrize(
    ("nodes", "per_gpu", "in_hands"),
    [([(6, 2), (1, 1), (1, 0)], 1, [1, 2, 3, 3]), ([(1, 1)], 3, [2, 2, 2])],
    ids=["different nodes", "thirds of a GPU and a core"],
)
def test_threads_of_each_worker(
    scene: Scene,
    add_node: AddNode,
    tmp_path: Path,
    nodes: list[tuple[int, int]],
    per_gpu: int,
    in_hands: list[int],
) -> None:
    """A worker on a GPU decodes so many images at once as its node has cores for it, two at least.

    Each node is asked for its own: (cores, GPUs). A worker on a core has one image in hands.
    """
    # One shard of eight in work and one that waits, for each worker.
    names = [f"gated-{number:02d}.png" for number in range(2 * 8 * len(in_hands))]
    scene.archive = write_images(tmp_path / "archive", *names)
    for cpus, gpus in nodes:
        add_node(num_cpus=cpus, num_gpus=gpus)
    with scene.start("--shard-size", "8", "--workers-per-gpu", str(per_gpu)) as command:
        command.wait_for(lambda: len(scene.at_the_gate()) >= sum(in_hands), "all at the gate")
        of_shards = Counter(names.index(name) // 8 for name in scene.at_the_gate())
        assert sorted(of_shards.values()) == in_hands
        scene.open_gate()
        assert command.ends() == 0, command.stderr
    assert {row["status"] for row in rows(scene.out)} == {"scored"}


@needs_no_gpu
def test_few_workers_take_the_gpus(
    scene: Scene, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """Where --workers asks for fewer than there is room for, GPUs are taken before cores."""
    cpus, gpus = add_node(num_cpus=2), add_node(num_cpus=1, num_gpus=1)
    with scene.start("--workers", "1") as command:
        command.wait_for(lambda: bool(workers_of(gpus)), "the worker on the GPU")
        assert not seen_workers(cpus)
        scene.open_gate()
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm


SQUATTER = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
actors = [
    ray.remote(type("Squatter", (), {"ready": lambda self: 1}))
    .options(num_gpus=float(sys.argv[2]), num_cpus=float(sys.argv[3])).remote()
    for _ in range(int(sys.argv[4]))
]
ray.get([actor.ready.remote() for actor in actors])
print("sitting", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def taken(address: str, *, gpus: int, cpus: int, count: int = 1) -> Iterator[Callable[[], None]]:
    """Take GPUs or CPUs of a cluster away, as another job does; yields how to give them back."""
    squatter = subprocess.Popen(
        [sys.executable, "-c", SQUATTER, address, str(gpus), str(cpus), str(count)],
        env=environment(RAY_USAGE_STATS_ENABLED="0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert squatter.stdin is not None
    assert squatter.stdout is not None
    try:
        assert squatter.stdout.readline() == "sitting\n"
        yield squatter.stdin.close
    finally:
        squatter.stdin.close()
        squatter.wait(PATIENCE)
        squatter.stdout.close()


@needs_no_gpu
def test_taken_gpus(scene: Scene, add_node: AddNode, calm: list[dict[str, object]]) -> None:
    """While all GPUs are taken, the run says that it waits for one; it goes on when one is free."""
    add_node(num_cpus=1, num_gpus=2)
    scene.open_gate()
    with taken(scene.address, gpus=2, cpus=0) as give_back, scene.start() as command:
        command.wait_for(lambda: "waiting: " in command.stderr, "the message")
        assert re.search(r"0 of 2 GPUs", command.stderr)
        assert command.process.poll() is None
        give_back()
        assert command.ends() == 0, command.stderr
    assert rows(scene.out) == calm


def test_taken_cpus(scene: Scene, add_node: AddNode, calm: list[dict[str, object]]) -> None:
    """A run takes the cores that are free, waits for none of the others, and ends without them."""
    add_node(num_cpus=3)
    with taken(scene.address, gpus=0, cpus=1, count=2):
        scene.open_gate()
        done = scene.run()
    assert done.returncode == 0, done.stderr
    assert rows(scene.out) == calm


# -------------------------------------------------------- addresses, own Rays


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "no.such.host.invalid:6379", "nonsense", "auto"]
)
def test_nobody_at_the_address(
    address: str, still_archive: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """An address at which no cluster answers is a usage error of one line that names it.

    So is `auto` where Ray's note of a cluster has outlived that cluster.
    """
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    done = run(
        *("run", still_archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle),
        *("--address", address),
        env=environment(RAY_TMPDIR=tmp_path),
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"batchscan: error: --address {address}: ")
    assert not list(tmp_path.glob("r.parquet*"))


def test_a_ray_of_the_callers(
    scene: Scene, add_node: AddNode, calm: list[dict[str, object]]
) -> None:
    """Called from a program that has its own Ray, batchscan uses it and leaves it running."""
    node = add_node(num_cpus=1)
    scene.open_gate()
    code = """
import sys
import batchscan, ray
archive, out, model, address = sys.argv[1:]
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
summary = batchscan.scan(archive, out, model=model, shard_size=2)
assert ray.is_initialized()
assert ray.get(ray.remote(lambda: 7).remote()) == 7
print(summary.counts.scored)
"""
    words = [scene.archive, scene.out, scene.model, scene.address]
    output = subprocess.check_output(
        [sys.executable, "-c", code, *map(str, words)],
        env=environment(RAY_USAGE_STATS_ENABLED="0"),
        text=True,
        timeout=PATIENCE,
    )
    assert output == f"{len(IMAGES)}\n"
    assert rows(scene.out) == calm
    wait_until(lambda: not seen_workers(node), "the end of the workers")


def test_one_core(
    still_archive: Path, tiny_bundle: Path, tmp_path: Path, calm: list[dict[str, object]]
) -> None:
    """On a machine of one core nothing hangs, with more workers asked for than there are, too.

    A cluster that the environment speaks of is none of this run's business.
    """
    out = tmp_path / "r.parquet"
    arguments = ["run", still_archive, "--out", out, "--model", tiny_bundle, "--workers", "4"]
    pinned = "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    pinned += "os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", pinned, *COMMAND, *map(str, arguments)],
        env=environment(RAY_ADDRESS="127.0.0.1:1"),
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rows(out) == calm
