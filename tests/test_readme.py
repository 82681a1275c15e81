"""Every command and every piece of code in README.md is run here, on a sandbox of phantoms."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import Bucket, s3_server

from batchscan.phantom import draw_archive
from batchscan.schema import FAILURES, FLAGS, RESULT_SCHEMA, SKIPS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SCRIPTS = Path(sysconfig.get_path("scripts"))


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(first_word: str) -> list[str]:
    lines = "".join(code_blocks("sh")).splitlines()
    return [line for line in lines if line.startswith(first_word + " ")]


@pytest.fixture(scope="module")
def store() -> Iterator[Bucket]:
    """Start the store of the README's examples."""
    with s3_server() as server:
        yield Bucket(server, "bucket")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, store: Bucket) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    draw_archive(folder / "archive", images=24)
    draw_archive(folder / "dataset-source", images=40, seed=1)
    for label in ("NORMAL", "PNEUMONIA"):
        target = folder / "chest_xray" / label
        target.mkdir(parents=True)
        for number, image in enumerate(sorted(folder.glob(f"dataset-source/**/{label}/**/*.*"))):
            shutil.copy(image, target / f"{number:03d}-{image.name}")
    shutil.copytree(folder / "chest_xray", folder / "labelled")
    labels = ["path,label,site"]
    for image in sorted((folder / "archive").rglob("*.jpeg")):
        path = image.relative_to(folder / "archive").as_posix()
        labels.append(f"{path},{'PNEUMONIA' if 'pneumonia' in path.lower() else 'NORMAL'},a")
    (folder / "truth.csv").write_text("\n".join(labels))
    store.fill(folder / "archive", "xrays")
    store.put("truth.csv", (folder / "truth.csv").read_bytes())
    (folder / "id.key").write_text("a secret key for these tests\n")
    return folder


def in_sandbox(command: str, sandbox: Path) -> str:
    """Put the sandbox's paths where the README has examples."""
    for example, real in {
        "/archive": sandbox / "archive",
        "/data/chest_xray": sandbox / "chest_xray",
        "/data/labelled": sandbox / "labelled",
        "/opt/batchscan/bin": SCRIPTS,
        "/results/": f"{sandbox}/",
        "/var/log/batchscan.log": sandbox / "cron.log",
    }.items():
        command = re.sub(rf"(?<![\w.]){re.escape(example)}", str(real), command)
    return command.replace("--include 'site-b/*'", "--include '*.jpeg'")


def run(command: str, sandbox: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}"} | environment
    done = subprocess.run(
        ["/bin/bash", "-c", in_sandbox(command, sandbox)],
        cwd=sandbox, env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def test_no_command_of_the_readme_is_left_out() -> None:
    """Each line of each shell block begins with a word that a test below runs."""
    known = {"make", "pip", "batchscan", "export", "ray", "python3", "eval"}
    lines = "".join(code_blocks("sh")).splitlines()
    assert lines
    assert {line.split()[0] for line in lines} == known


@pytest.mark.parametrize("command", commands("make"))
def test_make_targets_exist(command: str) -> None:
    """Both commands of the README are targets of the Makefile (.ci/run runs them for real)."""
    subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("command", commands("pip"))
def test_install_commands_are_understood(command: str) -> None:
    """pip accepts each install command, and finds this project with the extras it names."""
    if "uninstall" in command:
        words = ["show", command.split()[-1]]
    elif "[" in command or command.endswith(" ."):
        words = ["install", "--dry-run", "--no-deps", command.split()[-1]]
    else:
        words = ["install", "--dry-run", "--no-deps", command.split()[-1]]
    words = [word.strip("'") for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("no package index can be reached")
    if "onnxruntime-gpu" in command and done.returncode:
        pytest.skip("onnxruntime-gpu is not to be had for this machine")
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stderr


LOCAL = [c for c in commands("batchscan") + commands("eval") if "--address" not in c]


@pytest.mark.timeout(1200)  # It runs every command, training included.
def test_batchscan_commands_in_their_order(sandbox: Path) -> None:
    """Every batchscan command of the README works, one after the other as they stand there."""
    assert len(LOCAL) >= 10
    for command in LOCAL:
        run(command, sandbox)
    assert (sandbox / "results.metrics.parquet").exists()
    assert (sandbox / "model" / "card.json").exists()
    printed = "".join(run(command, sandbox).stdout for command in commands("python3"))
    assert '"digest"' in printed
    assert re.search(r"^[0-9a-f]{64} .+\.jpeg$", printed, re.MULTILINE)
    assert re.fullmatch(r"[0-9a-f]{64}\n", (sandbox / "id.key").read_text())


def test_python_example(sandbox: Path) -> None:
    """The example for Python runs and prints two numbers."""
    (code,) = code_blocks("python")
    code = in_sandbox(code, sandbox).replace('"results.parquet"', '"from-python.parquet"')
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=sandbox, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(word.isdigit() for word in done.stdout.split())


def test_cron_line(sandbox: Path) -> None:
    """The crontab line's command works in cron's environment and logs no error."""
    (line,) = code_blocks("cron")
    command = in_sandbox(line.strip().split(" ", 5)[5], sandbox)
    command = command.replace("results.parquet", "cron.parquet").replace("5%", "50%")
    bare = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "root"}
    done = subprocess.run(["/bin/sh", "-c", command], cwd="/", env=bare, timeout=280, check=False)
    log = (sandbox / "cron.log").read_text()
    assert done.returncode == 0, log
    assert (sandbox / "cron.parquet").exists()


@pytest.fixture
def cluster(sandbox: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Start the cluster of the README: its head and one more node, on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = [word for line in commands("export") for word in line.split()[1:]]
    environment = {"HOME": str(sandbox)} | dict(word.split("=") for word in settings)
    token, first, second = (command.replace("6379", port) for command in commands("ray"))
    run(token, sandbox, **environment)
    nodes: list[subprocess.Popen[str]] = []
    try:
        address = _start_node(first, environment, nodes)
        _start_node(second.replace("HEAD", address), environment, nodes)
        yield f"{address}:{port}", environment
    finally:
        for node in reversed(nodes):
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            node.wait(60)


def _start_node(
    command: str, environment: dict[str, str], nodes: list[subprocess.Popen[str]]
) -> str:
    """Start a node that stays in the foreground; returns its address."""
    node = subprocess.Popen(
        [*f"{SCRIPTS}/{command} --num-cpus=1 --block".split()],
        env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    nodes.append(node)
    assert node.stdout is not None
    log = ""
    for line in node.stdout:
        log += line
        if "Ray runtime started" in line:
            found = re.search(r"Local node IP: (\S+)", re.sub(r"\x1b\[\d+m", "", log))
            assert found, log
            return found[1]
    raise AssertionError(f"{command} ended with {node.wait()}\n{log}")


def test_cluster_commands(sandbox: Path, cluster: tuple[str, dict[str, str]]) -> None:
    """A head, a node and a scan that joins them, by the commands of the README.

    Their settings turn usage statistics off; Ray tells its maker so, unless it is misdirected.
    """
    address, environment = cluster
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "localhost" in environment["RAY_USAGE_STATS_REPORT_URL"]
    (command,) = [c for c in commands("batchscan") if "--address" in c]
    command = command.replace("results.parquet", "cluster.parquet").replace("auto", address)
    done = run(command, sandbox, **environment)
    assert "28 images" in done.stdout
    assert "no token" not in done.stderr


def test_every_failure_and_column_is_documented() -> None:
    """README explains each failure, skip and flag, by the code's own words, and each column."""
    for name, meaning in (FAILURES | SKIPS | FLAGS).items():
        assert f"| `{name}` | {meaning} |" in README
    for column in RESULT_SCHEMA.names:
        assert f"`{column}`" in README


def test_every_exit_code_is_documented() -> None:
    """README lists the exit codes that --help lists."""
    from batchscan.cli import EXIT_CODES

    for code in re.findall(r"^  (\d+)", EXIT_CODES, re.MULTILINE):
        assert re.search(rf"^\|[ \d,]*\b{code}\b", README, re.MULTILINE), code
