"""What goes wrong in mid-run: processes killed, disks full, archives gone. No row is lost to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import (
    PATIENCE,
    Running,
    environment,
    parts,
    rows,
    run,
    running,
    sabotaged,
    write_images,
)
from conftest import encode, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import tiny_onnx, write_tiny_bundle

import batchscan
from batchscan.config import ScanConfig
from batchscan.errors import NoImagesFound, UsageError, WorkerError
from batchscan.image.decode import PREPROCESSING
from batchscan.model.bundle import write_bundle
from batchscan.run.observer import Observer, ShardReport
from batchscan.run.pipeline import run_scan
from batchscan.run.shard import Shard
from batchscan.run.worker import Job, ShardWorker

FREE = [f"NORMAL/a{number:02d}.jpeg" for number in range(8)]
GATED = [f"PNEUMONIA/gated{number:02d}.jpeg" for number in range(6)]
IMAGES = [*FREE, *GATED]


class Scene:
    """An archive whose images named `gated*` cannot be read until the gate is opened."""

    def __init__(self, folder: Path, archive: Path, model: Path) -> None:
        self.folder = folder
        self.archive = archive
        self.out = folder / "results.parquet"
        self.work = folder / "results.parquet.work"
        self.environment = sabotaged(folder / "plant")
        self.model = model

    def arguments(self, *more: str | Path) -> list[str | Path]:
        fixed = ["run", self.archive, "--out", self.out, "--model", self.model]
        return [*fixed, "--shard-size", "1", "--decode-seconds", "600", *more]

    def run(self, *more: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*self.arguments(*more), env=self.environment)

    def start(self, *more: str | Path) -> contextlib.AbstractContextManager[Running]:
        return running(*self.arguments(*more), env=self.environment)

    def reach_the_middle(self, command: Running) -> None:
        """Wait until all is committed that can be: the rest stands before the gate."""
        command.wait_for(
            lambda: len(parts(self.out)) >= len(FREE) and bool(self.opened() & {*GATED}),
            "parts of the free images",
        )

    def open_gate(self) -> None:
        (self.folder / "plant" / "gate").touch()

    def opened(self) -> set[str]:
        """Return which images were opened since the log was cleared last."""
        log = self.folder / "plant" / "opened"
        known = {Path(name).name: name for name in IMAGES}
        names = log.read_text().splitlines() if log.exists() else []
        return {known.get(name, name) for name in names}

    def clear_log(self) -> None:
        (self.folder / "plant" / "opened").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def still_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of free and gated images, which no test changes."""
    return write_images(tmp_path_factory.mktemp("still") / "archive", *IMAGES)


@pytest.fixture(scope="module")
def calm(
    tmp_path_factory: pytest.TempPathFactory, still_archive: Path, tiny_bundle: Path
) -> list[dict[str, object]]:
    """Return the rows of an undisturbed run."""
    out = tmp_path_factory.mktemp("calm") / "results.parquet"
    batchscan.scan(still_archive, out, model=tiny_bundle, workers=0)
    return rows(out)


@pytest.fixture
def scene(tmp_path: Path, still_archive: Path, tiny_bundle: Path) -> Scene:
    return Scene(tmp_path, still_archive, tiny_bundle)


# ---------------------------------------------------------- processes killed


def test_killed_workers(scene: Scene, calm: list[dict[str, object]]) -> None:
    """kill -9 of workers in mid-run costs retries: the run ends with the rows of a calm one.

    Each death is a line of ours; Ray's own account of it is not shown.
    """
    scene.environment["RAY_DEDUP_LOGS"] = "0"  # Else Ray would keep its account for a while.
    with scene.start("--workers", "2") as command:
        scene.reach_the_middle(command)
        first = {worker.pid for worker in command.workers()}
        assert len(first) == 2
        for worker in command.workers():
            worker.kill()
        command.wait_for(lambda: bool({w.pid for w in command.workers()} - first), "new workers")
        scene.open_gate()
        assert command.ends() == 0
        lines = command.stderr.splitlines()
        assert len([line for line in lines if "a worker died" in line]) == 2
        assert all(line.startswith("batchscan: ") for line in lines), lines
        assert f"{len(IMAGES)} scored" in command.stdout
        assert "(raylet)" not in command.stdout
        command.all_gone()
    assert rows(scene.out) == calm
    assert not scene.work.exists()


def test_killed_driver(scene: Scene, calm: list[dict[str, object]]) -> None:
    """kill -9 of the driver costs only what was in work; its workers and servers go away, too.

    Ray's two agents stay for a minute, to report to a server that is gone; they hold nothing.
    """
    with scene.start() as command:
        scene.reach_the_middle(command)
        assert command.workers()
        command.process.kill()
        command.process.wait()
        command.all_gone(but=("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
    assert not scene.out.exists()
    scene.clear_log()
    scene.open_gate()
    done = scene.run()
    assert done.returncode == 0, done.stderr
    assert f"{len(GATED)} scored in" in done.stdout
    assert f"{len(FREE)} unchanged from earlier runs" in done.stdout
    assert scene.opened() == {*GATED}
    assert rows(scene.out) == calm
    assert not scene.work.exists()


def to_driver(command: Running, number: int) -> None:
    command.process.send_signal(number)


def to_group(command: Running, number: int) -> None:
    """Signal as a terminal does on Ctrl-C."""
    os.killpg(command.process.pid, number)


def to_everybody(command: Running, number: int) -> None:
    """Signal as systemd and Slurm do on a stop: every process of the job, oldest first."""
    family = sorted(command.family(), key=lambda process: process.pid)
    command.process.send_signal(number)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@pytest.mark.parametrize(
    ("number", "send", "workers"),
    [
        (signal.SIGTERM, to_driver, "2"),
        (signal.SIGTERM, to_everybody, "2"),
        (signal.SIGINT, to_group, "2"),
        (signal.SIGTERM, to_driver, "0"),
        (signal.SIGINT, to_group, "0"),
    ],
)
def test_signals(
    scene: Scene,
    calm: list[dict[str, object]],
    number: signal.Signals,
    send: Callable[[Running, int], None],
    workers: str,
) -> None:
    """SIGINT and SIGTERM end a run that waits for images, and say how to go on; then it does."""
    with scene.start("--workers", workers) as command:
        scene.reach_the_middle(command)
        send(command, number)
        code = command.ends()  # With the gate still closed.
        hints = [line for line in command.stderr.splitlines() if "interrupted" in line]
        if send is not to_everybody or hints:  # Else Ray's end may have come before our signal.
            (hint,) = hints
            assert code == 128 + number
            assert number.name in hint
            assert str(scene.out) in hint
            assert "run the same command again" in hint
        assert "Traceback" not in command.stderr
        command.all_gone()
    assert not scene.out.exists()
    scene.clear_log()
    scene.open_gate()
    done = scene.run("--workers", "0")
    assert done.returncode == 0, done.stderr
    assert scene.opened() == {*GATED}
    assert rows(scene.out) == calm


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_many_signals(scene: Scene, number: signal.Signals) -> None:
    """Whoever sends signal upon signal, as impatient people and schedulers do, disturbs nothing."""
    with scene.start("--workers", "0") as command:
        scene.reach_the_middle(command)
        for each in (number, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            command.process.send_signal(each)
        assert command.ends() in (130, 143)
        (line,) = command.stderr.splitlines()
        assert "run the same command again" in line
    assert len(parts(scene.out)) >= len(FREE)


@pytest.mark.parametrize(
    ("number", "send"), [(signal.SIGTERM, to_driver), (signal.SIGINT, to_group)]
)
def test_signal_while_ray_starts(
    scene: Scene, number: signal.Signals, send: Callable[[Running, int], None]
) -> None:
    """A signal in the seconds in which Ray starts ends the run just as well."""
    with scene.start() as command:
        command.wait_for(lambda: bool(command.family()), "the first process of Ray")
        send(command, number)
        assert command.ends() == 128 + number, command.stderr
        assert "run the same command again" in command.stderr
        assert "Traceback" not in command.stderr
        command.all_gone()


KILL_AT = """
import os, sys
import batchscan, jobs.scan, onnxruntime, pandas, pyarrow.parquet
def _count(event, arguments):
    global _left
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
        if os.environ["KILL_IN"] in str(arguments[0]):
            _left -= 1
            if _left == 0:
                os._exit(9)
for folder in sys.argv[3:]:
    pid = os.fork()
    if pid == 0:
        _left = int(os.path.basename(folder))
        os.environ["KILL_IN"] = folder
        sys.addaudithook(_count)
        options = dict(model=sys.argv[2], workers=0, shard_size=2, threshold=0.4)
        batchscan.scan(sys.argv[1], folder + "/results.parquet", **options)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_killed_at_any_step(scene: Scene) -> None:
    """Killed at whichever access to the disk, the next run ends as if nothing had been."""
    archive = write_images(scene.folder / "archive", *(f"NORMAL/{n}.png" for n in range(5)))
    folders = [scene.folder / str(step) for step in range(1, 41)]
    for folder in folders:
        folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILL_AT, archive, scene.model, *folders],
        capture_output=True, text=True, timeout=PATIENCE, check=True, env=environment(),
    )  # fmt: skip
    codes = done.stdout.split()
    killed = codes.count("9")
    assert codes == ["9"] * killed + ["0"] * (len(folders) - killed)
    assert 10 < killed < len(folders)
    for folder in folders[:killed]:
        batchscan.scan(archive, folder / "results.parquet", model=scene.model, workers=0)
    batchscan.scan(archive, scene.out, model=scene.model, workers=0)
    for folder in folders[:killed]:
        assert rows(folder / "results.parquet") == rows(scene.out)
        left = {entry.name for entry in folder.iterdir()}
        assert left == {"results.parquet", "results.metrics.parquet"}, folder.name


# ------------------------------------------------------ images that kill


def killers_and_others(scene: Scene, killers: int, others: int) -> Path:
    """Draw an archive of `killers` images that end the worker, evenly among others."""
    names = [f"b{number:02d}.jpeg" for number in range(others)]
    names += [f"killer-{number}.jpeg" for number in range(killers)]
    scene.archive = write_images(scene.folder / "archive", *names)
    return scene.archive


def test_killer_image(scene: Scene) -> None:
    """An image that kills each worker becomes a row; those of its shard are scored all the same."""
    archive = killers_and_others(scene, 1, 7)
    done = scene.run("--workers", "2", "--shard-size", "4")
    assert done.returncode == 0, done.stderr
    assert "decoder_crash 1" in done.stdout
    found = {row["path"]: row for row in rows(scene.out)}
    killer = found.pop("killer-0.jpeg")
    assert (killer["status"], killer["failure"]) == ("failed", "decoder_crash")
    assert killer["score"] is None
    assert killer["error"]
    assert killer["bytes"] == (archive / "killer-0.jpeg").stat().st_size
    assert killer["modified"] is not None
    assert {row["status"] for row in found.values()} == {"scored"}
    assert len(found) == 7
    scene.clear_log()
    again = scene.run("--workers", "2")
    assert again.returncode == 0, again.stderr
    assert not scene.opened(), "a file that kills is not tried again unless it changed"


def test_neighbours_of_killers(scene: Scene) -> None:
    """Whoever stands in a queue with killers is not blamed for them."""
    killers_and_others(scene, 2, 10)
    for number in range(2):  # Between the others in the order of paths, too.
        write_images(scene.archive, f"b0{number}-x/killer-{number}.jpeg")
    done = scene.run("--workers", "2")
    assert done.returncode == 0, done.stderr
    blamed = {str(row["path"]) for row in rows(scene.out) if row["status"] == "failed"}
    assert blamed == {
        path for path in (str(r["path"]) for r in rows(scene.out)) if "killer" in path
    }
    assert len(rows(scene.out)) == 14


# -------------------------------------------------------------------- lock


def test_lock(scene: Scene, calm: list[dict[str, object]]) -> None:
    """A second run on the same output is refused with code 5 and does the first no harm."""
    with scene.start("--workers", "0") as first:
        scene.reach_the_middle(first)
        for more in ([], ["--fresh"]):
            second = scene.run("--workers", "0", *more)
            assert second.returncode == 5
            (line,) = second.stderr.splitlines()
            assert f"process {first.process.pid}" in line
            assert str(scene.out) in line
        (scene.folder / "link.parquet").symlink_to(scene.out)
        scene.out, real = scene.folder / "link.parquet", scene.out
        assert scene.run("--workers", "0").returncode == 5
        scene.out = real
        scene.open_gate()
        assert first.ends() == 0
    assert rows(scene.out) == calm


def test_lock_of_the_dead(scene: Scene, calm: list[dict[str, object]]) -> None:
    """A lock does not outlive its process: after kill -9 the next run goes on at once."""
    with scene.start("--workers", "0") as first:
        scene.reach_the_middle(first)
        first.process.kill()
        first.process.wait()
        scene.open_gate()
        assert scene.run("--workers", "0").returncode == 0
    assert rows(scene.out) == calm


def test_two_outputs_at_once(scene: Scene, calm: list[dict[str, object]]) -> None:
    """Two runs on different outputs, each with a Ray of its own, don't disturb each other."""
    with scene.start("--workers", "1") as first:
        scene.reach_the_middle(first)
        scene.out, out = scene.folder / "second.parquet", scene.out
        with scene.start("--workers", "1") as second:
            scene.reach_the_middle(second)
            scene.open_gate()
            assert second.ends() == 0, second.stderr
        assert first.ends() == 0, first.stderr
    assert rows(out) == rows(scene.out) == calm


# --------------------------------------------------------------- disk full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB, where the machine lets us."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, left: int) -> Path:
    """Fill a disk up to so many bytes."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    ballast.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - left)))
    return ballast


def says_disk_is_full(done: subprocess.CompletedProcess[str], disk: Path) -> None:
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line
    assert str(disk) in line
    assert "make room" in line
    assert "the same command again" in line


@pytest.mark.parametrize(("workers", "left"), [("0", 48), ("1", 48), ("0", 8), ("0", 0)])
def test_disk_full(
    scene: Scene, small_disk: Path, calm: list[dict[str, object]], workers: str, left: int
) -> None:
    """A full disk is one clear line and code 1; with room made, the same command goes on."""
    scene.out = small_disk / "results.parquet"
    scene.open_gate()
    ballast = fill(small_disk, left=left << 10)
    says_disk_is_full(scene.run("--workers", workers), small_disk)
    assert not scene.out.exists()
    kept = len(parts(scene.out))
    assert kept < len(IMAGES)
    assert kept > 0 or left < 48
    ballast.unlink()
    scene.clear_log()
    again = scene.run("--workers", "0")
    assert again.returncode == 0, again.stderr
    assert len(scene.opened()) == len(IMAGES) - kept
    assert rows(scene.out) == calm


def test_disk_full_at_the_end(
    scene: Scene, small_disk: Path, calm: list[dict[str, object]]
) -> None:
    """Where only the final file no longer fits, nothing is lost and no half of it is shown."""
    scene.out = small_disk / "results.parquet"
    cut(scene, after=len(IMAGES))
    ballast = fill(small_disk, left=0)
    says_disk_is_full(scene.run("--workers", "0"), small_disk)
    assert not [entry for entry in small_disk.iterdir() if entry.name.endswith(".tmp")]
    ballast.unlink()
    summary = batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    assert (summary.scored_now, summary.unchanged) == (0, len(IMAGES))
    assert rows(scene.out) == calm


def test_working_folder_tidied_away(scene: Scene, calm: list[dict[str, object]]) -> None:
    """Someone deletes the working folder in mid-run: one line, no half result, and a new start."""
    with scene.start("--workers", "0") as command:
        scene.reach_the_middle(command)
        shutil.rmtree(scene.work)
        scene.open_gate()
        assert command.ends() == 1
        (line,) = command.stderr.splitlines()
        assert str(scene.work) in line
    assert not scene.out.exists()
    assert scene.run("--workers", "0").returncode == 0
    assert rows(scene.out) == calm


def test_output_folder_removed(scene: Scene) -> None:
    """An output's folder that goes away in mid-run is one line that asks for it, not for room."""
    folder = scene.folder / "mount"
    folder.mkdir()
    scene.out = folder / "results.parquet"
    with scene.start("--workers", "0") as command:
        scene.reach_the_middle(command)
        shutil.rmtree(folder)
        scene.open_gate()
        assert command.ends() == 1
        (line,) = command.stderr.splitlines()
        assert f"bring {folder} back" in line
        assert "make room" not in line


# ------------------------------------------------------------ archives gone


def worker_for(archive: Path, parts_folder: Path) -> ShardWorker:
    parts_folder.mkdir(exist_ok=True)
    worker = ShardWorker(Job(str(archive), str(parts_folder), 1, "onnx", 150), tiny_onnx())
    worker.start()
    return worker


def emptied(archive: Path) -> None:
    for entry in archive.iterdir():
        entry.unlink()


@pytest.mark.parametrize("loss", [emptied, shutil.rmtree])
def test_unmounted_archive(tmp_path: Path, loss: Callable[[Path], None]) -> None:
    """An archive that goes away in mid-run ends it; its images don't become rows `vanished`."""
    archive = write_images(tmp_path / "archive", "a.jpeg", "b.jpeg")
    worker = worker_for(archive, tmp_path / "parts")
    loss(archive)
    with pytest.raises(WorkerError, match="mount the archive again"):
        worker.run(Shard("s0", ("a.jpeg", "b.jpeg")))
    assert not list((tmp_path / "parts").iterdir())


def test_one_image_gone(tmp_path: Path) -> None:
    """A single image that goes away in mid-run is a row `vanished`, as others are scored."""
    archive = write_images(tmp_path / "archive", "a.jpeg", "b.jpeg")
    worker = worker_for(archive, tmp_path / "parts")
    (archive / "a.jpeg").unlink()
    report = worker.run(Shard("s0", ("a.jpeg", "b.jpeg")))
    assert report == ShardReport(images=2, failed=1, bytes=(archive / "b.jpeg").stat().st_size)


def test_folders_that_a_machine_does_not_see(tmp_path: Path) -> None:
    """A worker on a machine without the archive says so at its start."""
    job = Job(str(tmp_path / "nowhere"), str(tmp_path), 1, "onnx", 150)
    with pytest.raises(WorkerError, match=r"does not see the folder .*nowhere"):
        ShardWorker(job, tiny_onnx()).start()


def test_parts_outlive_an_unmounted_archive(scene: Scene) -> None:
    """An interrupted run that finds its archive empty keeps its parts for when it is back."""
    scene.archive = write_images(scene.folder / "archive", *IMAGES)
    cut(scene, after=3)
    away = scene.archive.rename(scene.folder / "away")
    scene.archive.mkdir()
    with pytest.raises(NoImagesFound):
        batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    scene.archive.rmdir()
    away.rename(scene.archive)
    summary = batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    assert (summary.scored_now, summary.unchanged) == (len(IMAGES) - 3, 3)


# ------------------------------------------------------- going on after cuts


class Cut(Exception):
    """Ends a run, as a power cut would."""


def cut(scene: Scene, *, after: int, **options: Any) -> None:
    """Run until this many images are committed, one to a shard, then stop."""

    def dispatch(job: Job, model: bytes, shards: Iterator[Shard], observer: Observer) -> None:
        worker = ShardWorker(job, model)
        worker.start()
        for number, shard in enumerate(shards):
            if number == after:
                raise Cut
            observer.shard_done(worker.run(shard))

    chosen = {"model": scene.model, "shard_size": 1} | options
    with contextlib.suppress(Cut):
        run_scan(ScanConfig(scene.archive, scene.out, **chosen), dispatch)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.integers(0, 5)),
        st.tuples(st.just("write"), st.integers(0, 5)),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("finish"), st.integers(1, 3)),
    ),
    max_size=10,
)


@settings(max_examples=20)
@given(STEPS)
def test_any_cuts(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, steps: list[tuple[str, int]]
) -> None:
    """However often a run was cut, with the archive changing in between: its rows are right."""
    folder = tmp_path_factory.mktemp("cuts")
    archive = write_images(folder / "archive", "m.jpeg", "n.jpeg", "o/p.jpeg")
    scene = Scene(folder, archive, tiny_bundle)
    for number, (step, value) in enumerate(steps):
        file = archive / f"{value}.jpeg"
        if step == "cut":
            cut(scene, after=value)
        elif step == "finish":
            batchscan.scan(archive, scene.out, model=tiny_bundle, workers=0, shard_size=value)
        elif step == "delete":
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(encode(picture(40 + number, 30, seed=number), "jpeg"))
    batchscan.scan(archive, scene.out, model=tiny_bundle, workers=0)
    batchscan.scan(archive, folder / "calm.parquet", model=tiny_bundle, workers=0)
    assert rows(scene.out) == rows(folder / "calm.parquet")
    assert not scene.work.exists()


def test_half_written_parts(scene: Scene, calm: list[dict[str, object]]) -> None:
    """A part that a crash of the machine left without its content is scored anew."""
    cut(scene, after=4)
    first, second, third, _ = parts(scene.out)
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-100])
    third.with_name(third.name + ".0.tmp").write_bytes(b"PAR1")
    summary = batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    assert (summary.scored_now, summary.unchanged) == (len(IMAGES) - 2, 2)
    assert rows(scene.out) == calm
    assert not scene.work.exists()


def test_half_written_state(scene: Scene, calm: list[dict[str, object]]) -> None:
    """A working folder whose record a crash left empty costs its parts, never a wrong row."""
    cut(scene, after=4)
    (scene.work / "run.json").write_bytes(b"")
    batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    assert rows(scene.out) == calm
    assert not scene.work.exists()


def test_damaged_result(scene: Scene) -> None:
    """A result that was damaged on its way is refused, and left for someone to look at."""
    batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    damaged = scene.out.read_bytes()[:-100]
    scene.out.write_bytes(damaged)
    with pytest.raises(UsageError, match=r"results\.parquet"):
        batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    assert scene.out.read_bytes() == damaged


def test_fresh_run_cut(scene: Scene, tmp_path: Path) -> None:
    """The old result stands until a --fresh run is through, and that one resumes without it."""
    batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    old = rows(scene.out)
    other = write_tiny_bundle(tmp_path / "other", seed=1).folder
    cut(scene, after=5, model=other, fresh=True)
    assert rows(scene.out) == old
    with pytest.raises(UsageError, match="another model"):
        batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0)
    summary = batchscan.scan(scene.archive, scene.out, model=other, workers=0)
    assert (summary.scored_now, summary.unchanged) == (len(IMAGES) - 5, 5)
    assert not {row["score"] for row in old} & {row["score"] for row in rows(scene.out)}


def test_other_options_after_a_cut(scene: Scene, tmp_path: Path) -> None:
    """Parts of another model are refused, and kept; another threshold is no obstacle."""
    cut(scene, after=5)
    other = write_tiny_bundle(tmp_path / "other", seed=1).folder
    with pytest.raises(UsageError, match=r"another model .*--fresh"):
        batchscan.scan(scene.archive, scene.out, model=other, workers=0)
    summary = batchscan.scan(scene.archive, scene.out, model=scene.model, workers=0, threshold=0.1)
    assert (summary.scored_now, summary.unchanged) == (len(IMAGES) - 5, 5)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_bundle_without_a_network(scene: Scene, workers: str) -> None:
    """A bundle that verifies, but whose file is no network, is refused in one line."""
    files = {"model.onnx": b"no network"}
    classes = ("NORMAL", "PNEUMONIA")
    bundle = write_bundle(
        scene.folder / "nonsense", name="nonsense", files=files, classes=classes,
        threshold=0.5, input_size=150, preprocessing=PREPROCESSING,
    )  # fmt: skip
    scene.model = bundle.folder
    done = scene.run("--workers", workers)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "model.onnx" in line
    assert not scene.out.exists()


# -------------------------------------------------- a local Ray while it runs


def test_a_local_ray_is_private(scene: Scene) -> None:
    """A Ray of our own listens on the loopback interface alone, and reports to nobody."""
    with scene.start("--workers", "1") as command:
        scene.reach_the_middle(command)
        family = command.family()
        names = {process.name() for process in family}
        assert {"raylet", "gcs_server"} <= names
        listening = [
            connection.laddr.ip.removeprefix("::ffff:")
            for process in [*family, psutil.Process(command.process.pid)]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert set(listening) <= {"127.0.0.1", "::1"}
        for process in family:
            if process.name() in ("raylet", "gcs_server"):
                assert process.environ()["RAY_USAGE_STATS_ENABLED"] == "0"
        commands = [" ".join(process.cmdline()) for process in family]
        assert not [line for line in commands if "dashboard/dashboard.py" in line]
        scene.open_gate()
        assert command.ends() == 0
        command.all_gone()
