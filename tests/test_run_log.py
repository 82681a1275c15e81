"""What programs see of a run: events, the summary file, `batchscan status`."""

from __future__ import annotations

import json
import os
import signal
import tarfile
from pathlib import Path

import pytest
from commands import environment, run, running, sabotaged, write_images

from batchscan.errors import UsageError
from batchscan.results.result import read_footer
from batchscan.run.status import read_status
from batchscan.run.workspace import Workspace


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = write_images(tmp_path / "archive", "NORMAL/a.png", "NORMAL/b.jpeg", "PNEUMONIA/c.png")
    (folder / "broken.jpeg").write_bytes(b"\xff\xd8\xff")
    return folder


def events(text: str) -> list[dict[str, object]]:
    """Return the events of a log; every line must be one."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_events(archive: Path, tmp_path: Path, tiny_bundle: Path, workers: str) -> None:
    """With --log-format json each line on standard error is an event with its time."""
    done = run(
        *("run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle),
        *("--workers", workers, "--log-format", "json"),
    )
    assert done.returncode == 0, done.stderr
    found = events(done.stderr)
    kinds = list(dict.fromkeys(event["event"] for event in found))
    assert kinds == ["started", "worker_started", "progress", "finished"]
    assert all(str(event["time"]).endswith("+00:00") for event in found)
    progress, finished = found[-2:]
    assert (progress["done"], progress["failed"]) == (4, 1)
    assert finished["exit_code"] == 0
    assert finished["counts"]["failed"] == {"corrupt": 1}  # type: ignore[index]


def test_an_error_is_an_event(tmp_path: Path) -> None:
    """A run that fails says so as an event and with its exit code, and in no other way."""
    done = run("run", tmp_path / "none", "--out", tmp_path / "r", "--log-format", "json")
    assert done.returncode == 2
    last = events(done.stderr)[-1]
    assert (last["event"], last["exit_code"]) == ("finished", 2)
    assert str(tmp_path / "none") in str(last["error"])


def test_a_lost_worker_is_an_event(tmp_path: Path, tiny_bundle: Path) -> None:
    """A worker that dies, and an image that is given up, are events of their own."""
    archive = write_images(tmp_path / "archive", "a.png", "killer.png")
    done = run(
        *("run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle),
        *("--workers", "1", "--log-format", "json"),
        env=sabotaged(tmp_path / "plant"),
    )
    kinds = [event["event"] for event in events(done.stderr)]
    assert "worker_lost" in kinds
    assert "image_given_up" in kinds


@pytest.mark.parametrize(("allowed", "code"), [("100%", 0), ("0", 3)])
def test_summary_file(
    archive: Path, tmp_path: Path, tiny_bundle: Path, allowed: str, code: int
) -> None:
    """--summary holds counts, outputs and the exit code, also where too many images failed."""
    out, summary = tmp_path / "r.parquet", tmp_path / "s.json"
    done = run(
        *("run", archive, "--out", out, "--model", tiny_bundle, "--workers", "0"),
        *("--summary", summary, "--max-failures", allowed),
    )
    assert done.returncode == code
    found = json.loads(summary.read_text())
    assert found["exit_code"] == code
    assert (found["error"] is None) == (code == 0)
    assert found["counts"]["found"] == 4
    assert found["counts"]["scored"] == 3
    assert found["outputs"]["results"] == str(out)
    assert found["outputs"]["metrics"] == str(tmp_path / "r.metrics.parquet")


def test_what_was_not_read_is_counted(archive: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """A program that watches learns of folders and containers that could not be read."""
    with tarfile.open(archive / "cut.tar", "w") as tar:
        tar.add(archive / "NORMAL" / "a.png", "a.png")
        tar.add(archive / "NORMAL" / "b.jpeg", "b.jpeg")
    os.truncate(archive / "cut.tar", (archive / "cut.tar").stat().st_size // 4)
    (archive / "link").symlink_to("x" * 300)  # Too long a name: not even root can follow it.
    done = run(
        *("run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle),
        *("--workers", "0", "--summary", tmp_path / "s.json", "--include", "*.png"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["not_read"] == {"folders": 1, "containers": 1}
    assert read_footer(tmp_path / "r.parquet")["not_read"] == found["not_read"]
    assert "1 folders could not be read: link" in done.stdout


def test_summary_of_a_failure(tmp_path: Path) -> None:
    """A run that never began leaves a summary, too: with its error, and no counts."""
    summary = tmp_path / "s.json"
    done = run("run", tmp_path / "none", "--out", tmp_path / "r", "--summary", summary)
    assert done.returncode == 2
    found = json.loads(summary.read_text())
    assert found["exit_code"] == 2
    assert found["error"] in done.stderr
    assert "counts" not in found


def test_no_place_for_the_summary(archive: Path, tmp_path: Path) -> None:
    """A summary that cannot be written is refused before anything is scored."""
    done = run("run", archive, "--out", tmp_path / "r", "--summary", tmp_path / "no" / "s.json")
    assert done.returncode == 2
    assert "--summary" in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_status_from_another_shell(tmp_path: Path, tiny_bundle: Path, workers: str) -> None:
    """`batchscan status` tells a running scan, an interrupted one and a finished one apart.

    An interrupted one leaves a summary, and the same command finishes it.
    """
    archive = write_images(tmp_path / "archive", "a.png", "gated.png")
    out, summary = tmp_path / "r.parquet", tmp_path / "s.json"
    command = ["run", archive, "--out", out, "--model", tiny_bundle, "--shard-size", "1"]
    command += ["--workers", workers, "--summary", summary]
    plant = sabotaged(tmp_path / "plant")
    with running(*command, env=plant) as scan:
        scan.wait_for(lambda: Workspace(out).folder.joinpath("run.json").exists(), "the start")
        found = status(out)
        assert found["state"] == "running"
        assert str(scan.process.pid) in str(found["owner"])
        scan.wait_for(lambda: (tmp_path / "plant" / "opened").exists(), "the middle")
        scan.process.send_signal(signal.SIGTERM)
        assert scan.ends() == 143
    assert json.loads(summary.read_text())["exit_code"] == 143
    (tmp_path / "plant" / "gate").touch()
    if Workspace(out).folder.exists():
        assert status(out)["state"] == "interrupted"
    assert run(*command, env=plant).returncode == 0
    found = status(out)
    assert (found["state"], found["done"], found["failed"]) == ("finished", 2, 0)
    assert not Workspace(out).folder.exists()


def status(out: Path) -> dict[str, object]:
    done = run("status", out, "--json", env=environment())
    assert done.returncode == 0, done.stderr
    assert f"{json.loads(done.stdout)['state']}: " in run("status", out).stdout
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_status_of_nothing(tmp_path: Path) -> None:
    """Where there is neither a result nor a run, `status` says so."""
    with pytest.raises(UsageError, match="found neither"):
        read_status(tmp_path / "r.parquet")


def test_status_of_a_damaged_folder(tmp_path: Path) -> None:
    """A damaged record of a run's numbers costs the numbers, no more."""
    folder = Workspace(tmp_path / "r.parquet").folder
    folder.mkdir()
    (folder / "run.json").write_text('{"started": "2026-01-01T00:00:00+00:00"}')
    (folder / "status.json").write_text("{")
    found = read_status(tmp_path / "r.parquet")
    assert (found.state, found.done) == ("interrupted", 0)
