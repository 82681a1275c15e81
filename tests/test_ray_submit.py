"""The script of `batchscan job ray-submit`, against a cluster with a job server on loopback."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from commands import PATIENCE, run, sabotaged, wait_until, write_images

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("aiohttp", "prometheus_client", "opentelemetry"))),
    reason="ray[default] is not installed",
)

SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Cluster:
    """A cluster whose images named `gated*` cannot be read until `plant / "gate"` exists."""

    folder: Path
    environment: dict[str, str]

    @property
    def plant(self) -> Path:
        return self.folder / "plant"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a head with a job server, for which a token is needed."""
    folder = tmp_path_factory.mktemp("cluster")
    port, jobs, agent = free_ports(3)
    settings = sabotaged(folder / "plant") | {
        "PATH": f"{SCRIPTS}:/usr/bin:/bin",
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{jobs}",
    }
    command = [SCRIPTS / "ray", "start", "--head", "--block", "--num-cpus=1", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", f"--dashboard-port={jobs}"]
    command += [f"--dashboard-agent-listen-port={agent}", "--disable-usage-stats"]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen([*map(str, command)], env=settings, stdout=log, stderr=log)
        try:
            wait_until(lambda: is_ready(folder, head), "the head")
            wait_until(lambda: takes_jobs(settings), "the agent that starts jobs")
            yield Cluster(folder, settings)
        finally:
            family = psutil.Process(head.pid).children(recursive=True)
            head.send_signal(signal.SIGTERM)
            head.wait(PATIENCE)
            for survivor in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    survivor.kill()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as all_open:
        probes = [all_open.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def is_ready(folder: Path, head: subprocess.Popen[bytes]) -> bool:
    log = (folder / "head.log").read_text()
    assert head.poll() is None, log
    return "Ray runtime started" in log


def takes_jobs(settings: dict[str, str]) -> bool:
    """Say whether the head takes jobs: for some seconds after its start it does not."""
    command = [SCRIPTS / "ray", "job", "submit", "--", "true"]
    return subprocess.run(command, env=settings, capture_output=True, check=False).returncode == 0


def script(cluster: Cluster, archive: Path, out: Path, model: Path, *more: str) -> Path:
    """Make the script for an archive."""
    words = ["job", "ray-submit", archive, "--out", out, "--model", model, "--shard-size", "1"]
    done = run(*words, *more, "--command", SCRIPTS / "batchscan")
    assert done.returncode == 0, done.stderr
    file = cluster.folder / "submit.sh"
    file.write_text(done.stdout)
    return file


def submitted(file: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", file], env=settings, cwd="/", timeout=PATIENCE, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("allowed", "broken", "code", "says"),
    [
        ("0", False, 0, "2 images: 2 scored"),
        ("0", True, 3, "1 of 3 images failed"),
        ("no number", False, 2, "--max-failures"),
    ],
)
def test_exit_codes(
    allowed: str,
    broken: bool,
    code: int,
    says: str,
    cluster: Cluster,
    tmp_path: Path,
    tiny_bundle: Path,
) -> None:
    """The script shows what the scan says, and ends with the scan's exit code.

    Names with blanks, quotes and stars arrive as they are.
    """
    archive = write_images(tmp_path / "it's a $HOME *", "NORMAL/a.png", "b.jpeg")
    if broken:
        (archive / "broken.jpeg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "r r.parquet"
    file = script(cluster, archive, out, tiny_bundle, "--include=*.*g", "--max-failures", allowed)
    done = submitted(file, cluster.environment)
    assert done.returncode == code, done.stdout
    assert says in done.stdout
    assert out.exists() == (code != 2)


def test_stopping(cluster: Cluster, tmp_path: Path, tiny_bundle: Path) -> None:
    """SIGTERM to the script stops the scan on the cluster, and the same script resumes it."""
    archive = write_images(tmp_path / "archive", "a.png", "gated.png")
    out = tmp_path / "r.parquet"
    file = script(cluster, archive, out, tiny_bundle)
    with subprocess.Popen(
        ["sh", file], env=cluster.environment, cwd="/", stdout=subprocess.DEVNULL
    ) as process:
        opened = cluster.plant / "opened"
        wait_until(lambda: opened.exists() and "gated" in opened.read_text(), "the middle")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
    assert "interrupted: " in run("status", out).stdout
    (cluster.plant / "gate").touch()
    done = submitted(file, cluster.environment)
    assert done.returncode == 0, done.stdout
    assert "1 unchanged from earlier runs" in done.stdout


@pytest.mark.parametrize(
    "change", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:1"}]
)
def test_no_cluster(
    change: dict[str, str], cluster: Cluster, tmp_path: Path, tiny_bundle: Path
) -> None:
    """Without the token, or where no cluster answers, the script ends with 2, and says why last."""
    file = script(cluster, tmp_path, tmp_path / "r.parquet", tiny_bundle)
    done = submitted(file, cluster.environment | change)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith("no Ray cluster to submit to: ")
    assert "Traceback" not in done.stdout
