"""Kills, signals, full disks and missing archives: nothing is lost, nothing is scored twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from command import (
    PATIENCE,
    Faults,
    all_gone,
    assert_same_rows,
    draw_images,
    run_command,
    running,
    the_error,
    wait_for,
)
from tiny_bundle import write_tiny_bundle

import batchscan
from batchscan.config import ScanConfig
from batchscan.errors import WorkerError
from batchscan.pipeline import Progress
from jobs.scan import scan

IMAGES = 48


@dataclass(frozen=True)
class Calm:
    """What an undisturbed run makes of the archive that all tests here share."""

    archive: Path
    model: Path
    out: Path


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    archive = draw_images(folder / "archive", IMAGES)
    (archive / "NORMAL" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    batchscan.scan(archive, folder / "calm.parquet", model=tiny_bundle, workers=0)
    return Calm(archive, tiny_bundle, folder / "calm.parquet")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "r.parquet"


@pytest.fixture
def last_image_held(tmp_path: Path) -> Iterator[Faults]:
    """Hold whoever opens the archive's last image: nearly all is done then, but not all."""
    faults = Faults(tmp_path / "notes", hold="*/PNEUMONIA/047.jpeg")
    yield faults
    faults.notes.mkdir(exist_ok=True)
    faults.release()


def arguments(calm: Calm, out: Path, *, workers: int) -> tuple[object, ...]:
    return (
        *("run", calm.archive, "--out", out, "--model", calm.model),
        *("--workers", workers, "--shard-size", 4),
    )


def parts_of(out: Path) -> dict[str, bytes]:
    folder = out.with_name(out.name + ".work")
    return {file.name: file.read_bytes() for file in folder.glob("g*.parquet")}


def rows_in(out: Path) -> int:
    folder = out.with_name(out.name + ".work")
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("g*.parquet"))


def assert_finished(out: Path, calm: Calm) -> None:
    """Check that the result is the undisturbed one, and that nothing else stands beside it."""
    assert_same_rows(out, calm.out)
    names = {file.name for file in out.parent.iterdir()}
    assert names == {"r.parquet", "r.metrics.parquet"}


# ------------------------------------------------------------------- kills


def test_killed_worker(calm: Calm, out: Path, last_image_held: Faults, tmp_path: Path) -> None:
    """A worker that is killed in mid-run costs a retry of its shard, and no row."""
    command = arguments(calm, out, workers=2)
    with running(tmp_path / "run", *command, faults=last_image_held) as run:
        (worker,) = last_image_held.wait_for_held()
        assert worker in {process.pid for process in run.family()}
        os.kill(worker, signal.SIGKILL)
        run.says("a worker died")
        last_image_held.release()
        done = run.wait()
    assert done.returncode == 0, done.stderr
    assert_finished(out, calm)
    assert all(line.startswith("batchscan: ") for line in done.stderr.splitlines()), done.stderr
    assert f"{IMAGES} scored in" in done.stdout


def test_killed_driver(calm: Calm, out: Path, last_image_held: Faults, tmp_path: Path) -> None:
    """After kill -9 of the run itself, the same command goes on; finished parts stay as they are.

    The processes of its Ray go away by themselves.
    """
    command = arguments(calm, out, workers=2)
    with running(tmp_path / "first", *command, faults=last_image_held) as run:
        last_image_held.wait_for_held()
        wait_for(lambda: rows_in(out) >= IMAGES // 2, "half of the parts")
        family = run.family()
        run.process.kill()
        run.wait()
        assert family
        all_gone(family)
    assert not out.exists()
    finished = rows_in(out)
    again = Faults(tmp_path / "notes-again", hold="*/PNEUMONIA/047.jpeg")
    before = parts_of(out)
    with running(tmp_path / "second", *command, faults=again) as run:
        again.wait_for_held()
        assert before.items() <= parts_of(out).items()
        again.release()
        done = run.wait()
    assert done.returncode == 0, done.stderr
    assert_finished(out, calm)
    assert f"{finished} unchanged from earlier runs" in done.stdout
    failed_before = 1  # The damaged file comes first, and is not scored but looked at.
    assert f"{IMAGES + failed_before - finished} scored in" in done.stdout


def test_image_that_kills_its_worker(calm: Calm, out: Path, tmp_path: Path) -> None:
    """An image whose decoder crashes is a row that says so; all others are scored."""
    faults = Faults(tmp_path / "notes", kill="*/NORMAL/012.png")
    command = arguments(calm, out, workers=2)
    with running(tmp_path / "run", *command, faults=faults) as run:
        done = run.wait()
    assert done.returncode == 0, done.stderr
    result, expected = (pq.read_table(file).to_pylist() for file in (out, calm.out))
    for row, calm_row in zip(result, expected, strict=True):
        if row["path"] != "NORMAL/012.png":
            assert row == calm_row
            continue
        assert (row["status"], row["failure"]) == ("failed", "decoder_crash")
        assert row["error"]
        assert (row["bytes"], row["modified"]) == (calm_row["bytes"], calm_row["modified"])
    assert "decoder_crash 1" in done.stdout
    second = run_command(*command)
    assert " 0 scored in" in second.stdout, "the image that crashes was tried again"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_step(calm: Calm, tmp_path: Path) -> None:
    """Killed at whatever step that touches the disk, the next run ends as if nothing had been.

    One process forks a run for each step (a file opened for writing, renamed or removed), kills it
    there, runs it again, and compares.
    """
    archive = draw_images(tmp_path / "archive", 5)
    batchscan.scan(archive, tmp_path / "calm.parquet", model=calm.model, workers=0)
    code = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from batchscan.config import ScanConfig
        from batchscan.pipeline import Progress
        from jobs.scan import scan
        import batchscan.metrics, batchscan.progress, onnxruntime, pyarrow.parquet

        archive, model, base = map(Path, sys.argv[1:])
        EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}

        def run(folder, kill_at=None):
            steps = 0
            def watch(event, arguments):
                nonlocal steps
                if event not in EVENTS or str(folder) not in str(arguments[0]):
                    return
                steps += 1
                if steps == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(watch)
            config = ScanConfig(
                archive, folder / "r.parquet", model=model, workers=0, shard_size=2, threshold=0.4
            )
            scan(config, Progress())
            return steps

        def forked(*arguments):
            child = os.fork()
            if child:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            try:
                run(*arguments)
                os._exit(0)
            except BaseException as error:
                print(type(error), error, flush=True)
                os._exit(9)

        number = 0
        while True:
            number += 1
            folder = base / f"{number:03d}"
            folder.mkdir()
            ended = forked(folder, number)
            if ended == 0:
                break
            assert ended == -signal.SIGKILL, (number, ended)
            assert forked(folder) == 0, number
        print(number)
        """
    )
    base = tmp_path / "runs"
    base.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, archive, calm.model, base],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 10
    scores = pq.read_table(tmp_path / "calm.parquet").drop_columns(["prediction"])
    for folder in sorted(base.iterdir()):
        assert_same_rows(pq.read_table(folder / "r.parquet").drop_columns(["prediction"]), scores)
        names = {file.name for file in folder.iterdir()}
        assert names == {"r.parquet", "r.metrics.parquet"}, folder.name


# ----------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("number", "code", "whole_group"), [(signal.SIGTERM, 143, False), (signal.SIGINT, 130, True)]
)
def test_signals(
    calm: Calm,
    out: Path,
    last_image_held: Faults,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    whole_group: bool,
) -> None:
    """SIGTERM, and Ctrl-C as a terminal sends it, stop the run; it says how to go on, and goes on.

    Nothing is left running, although a worker is stuck in the middle of an image.
    """
    command = arguments(calm, out, workers=2)
    with running(tmp_path / "run", *command, faults=last_image_held) as run:
        last_image_held.wait_for_held()
        wait_for(lambda: rows_in(out) >= IMAGES // 2, "half of the parts")
        family = run.family()
        if whole_group:
            os.killpg(run.pid, number)
        else:
            run.process.send_signal(number)
        done = run.wait()
        all_gone(family)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert number.name in line
    assert "same command again" in line
    assert not out.exists()
    finished = rows_in(out)
    resumed = run_command(*arguments(calm, out, workers=0))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{finished} unchanged from earlier runs" in resumed.stdout
    assert_finished(out, calm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_without_ray(
    calm: Calm, out: Path, last_image_held: Faults, tmp_path: Path, number: signal.Signals
) -> None:
    """A run without Ray stops at a signal like one with it; more signals do not disturb it."""
    command = arguments(calm, out, workers=0)
    with running(tmp_path / "run", *command, faults=last_image_held) as run:
        last_image_held.wait_for_held()
        run.process.send_signal(number)
        run.process.send_signal(signal.SIGTERM)
        run.process.send_signal(signal.SIGINT)
        done = run.wait()
    assert done.returncode in (130, 143)
    assert "same command again" in done.stderr
    assert "Traceback" not in done.stderr
    resumed = run_command(*command)
    assert f"{rows_of_first_run(resumed.stdout)} unchanged" in resumed.stdout
    assert_finished(out, calm)


def rows_of_first_run(summary: str) -> int:
    """Return how many rows a resumed run found; only the last shard (1 to 4 images) was left."""
    kept = int(summary.split(" unchanged")[0].split()[-1])
    assert IMAGES + 1 - 4 <= kept <= IMAGES
    return kept


def test_signal_while_ray_starts(calm: Calm, out: Path, tmp_path: Path) -> None:
    """SIGTERM while Ray is starting stops the run all the same, and leaves no process behind."""
    with running(tmp_path / "run", *arguments(calm, out, workers=2)) as run:
        wait_for(lambda: any("raylet" in p.name() for p in living(run.family())), "a raylet")
        family = run.family()
        run.process.send_signal(signal.SIGTERM)
        done = run.wait()
        all_gone(family)
    assert done.returncode == 143, done.stderr
    assert "Traceback" not in done.stderr
    assert "same command again" in done.stderr
    assert run_command(*arguments(calm, out, workers=0)).returncode == 0
    assert_finished(out, calm)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Leave out processes that have ended, whose names nobody knows any more."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


# -------------------------------------------------------------------- lock


def test_output_in_use(calm: Calm, out: Path, last_image_held: Faults, tmp_path: Path) -> None:
    """A second run on the same output ends with code 5 and names the first, which is unaffected."""
    command = arguments(calm, out, workers=0)
    with running(tmp_path / "run", *command, faults=last_image_held) as run:
        last_image_held.wait_for_held()
        before = parts_of(out)
        for more in ((), ("--fresh",)):
            line = the_error(run_command(*command, *more), 5)
            assert str(run.pid) in line
        (tmp_path / "link.parquet").symlink_to(out)
        the_error(run_command(*arguments(calm, tmp_path / "link.parquet", workers=0)), 5)
        assert parts_of(out) == before
        last_image_held.release()
        assert run.wait().returncode == 0
    assert_finished(out, calm)


def test_two_outputs_at_once(
    calm: Calm, out: Path, last_image_held: Faults, tmp_path: Path
) -> None:
    """Two runs on different outputs, each with a Ray of its own, do not disturb each other."""
    other = tmp_path / "other"
    other.mkdir()
    command = arguments(calm, out, workers=1)
    with running(tmp_path / "run", *command, faults=last_image_held) as run:
        last_image_held.wait_for_held()
        second = run_command(*arguments(calm, other / "r.parquet", workers=1))
        assert second.returncode == 0, second.stderr
        last_image_held.release()
        assert run.wait().returncode == 0
    assert_finished(out, calm)
    assert_finished(other / "r.parquet", calm)


# --------------------------------------------------- full disks, lost folders


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB, where that is permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left: int) -> Path:
    """Fill a file system up to so many bytes."""
    filler = folder / "filler"
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    filler.write_bytes(b"x" * max(0, free - left))
    return filler


@pytest.mark.parametrize("left", [48 << 10, 8 << 10, 0])
def test_full_disk(calm: Calm, tiny_disk: Path, left: int) -> None:
    """A disk that fills up ends the run with one line that says so; with room, it goes on."""
    out = tiny_disk / "r.parquet"
    filler = fill(tiny_disk, left)
    command = arguments(calm, out, workers=0)
    line = the_error(run_command(*command), 1)
    assert "No space left" in line
    assert str(tiny_disk) in line
    assert "same command again" in line
    assert not out.exists()
    finished = rows_in(out)
    assert (finished > 0) == (left > 16 << 10)
    filler.unlink()
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    assert f"{finished} unchanged from earlier runs" in done.stdout
    assert_finished(out, calm)


def test_full_disk_under_workers(calm: Calm, tiny_disk: Path) -> None:
    """Workers of Ray that cannot write their parts end the run with the same one line."""
    filler = fill(tiny_disk, 48 << 10)
    command = arguments(calm, tiny_disk / "r.parquet", workers=2)
    line = the_error(run_command(*command), 1)
    assert "No space left" in line
    assert "same command again" in line
    filler.unlink()
    assert run_command(*arguments(calm, tiny_disk / "r.parquet", workers=0)).returncode == 0
    assert_finished(tiny_disk / "r.parquet", calm)


def test_disk_full_at_the_merge(calm: Calm, tiny_disk: Path, tmp_path: Path) -> None:
    """A disk with room for the parts but not for the result: one line, and nothing scored twice."""
    out = tiny_disk / "r.parquet"
    faults = Faults(tmp_path / "notes", hold="*/PNEUMONIA/047.jpeg")
    command = arguments(calm, out, workers=0)
    with running(tmp_path / "run", *command, faults=faults) as run:
        faults.wait_for_held()
        filler = fill(tiny_disk, 12 << 10)
        faults.release()
        done = run.wait()
    line = the_error(done, 1)
    assert "No space left" in line
    assert str(tiny_disk) in line
    assert not [file for file in tiny_disk.iterdir() if file.name.endswith(".tmp")]
    finished = rows_in(out)
    filler.unlink()
    again = run_command(*command)
    assert again.returncode == 0, again.stderr
    assert f"{finished} unchanged from earlier runs" in again.stdout
    assert_finished(out, calm)


class Emptying(Progress):
    """Does something to the archive as soon as the first shard is done."""

    def __init__(self, archive: Path, *, root_as_well: bool) -> None:
        self._archive = archive
        self._root_as_well = root_as_well

    def shard_done(self, report: object) -> None:  # noqa: ARG002
        """Take all files away, and the root itself if so told."""
        for entry in self._archive.iterdir() if self._archive.exists() else ():
            shutil.rmtree(entry)
        if self._root_as_well and self._archive.exists():
            self._archive.rmdir()


@pytest.mark.parametrize("root_as_well", [False, True])
def test_archive_goes_away(tmp_path: Path, out: Path, calm: Calm, root_as_well: bool) -> None:
    """An archive that is unmounted in mid-run ends the run; its images are not called vanished."""
    archive = tmp_path / "archive"
    shutil.copytree(calm.archive, archive)
    config = ScanConfig(archive, out, model=calm.model, workers=0, shard_size=4)
    with pytest.raises(WorkerError, match="same command again"):
        scan(config, Emptying(archive, root_as_well=root_as_well))
    assert not out.exists()
    finished = rows_in(out)
    assert finished == 4
    shutil.copytree(calm.archive, archive, dirs_exist_ok=True)
    summary = batchscan.scan(archive, out, model=calm.model, workers=0)
    assert summary.unchanged == finished
    assert_finished(out, calm)


def test_some_images_go_away(tmp_path: Path, out: Path, calm: Calm) -> None:
    """An image that is deleted while the run lasts is a row `vanished`; the next run drops it."""
    archive = draw_images(tmp_path / "archive", 6)

    class Deleting(Progress):
        def shard_done(self, report: object) -> None:  # noqa: ARG002
            (archive / "PNEUMONIA" / "005.jpeg").unlink(missing_ok=True)

    config = ScanConfig(archive, out, model=calm.model, workers=0, shard_size=2)
    assert scan(config, Deleting()).counts.failed == {"vanished": 1}
    summary = batchscan.scan(archive, out, model=calm.model, workers=0)
    assert (summary.counts.found, summary.dropped, summary.scored_now) == (5, 1, 0)


def test_working_folder_goes_away(tmp_path: Path, out: Path, calm: Calm) -> None:
    """Someone tidies the working folder away in mid-run: an error in one line, no half result."""
    faults = Faults(tmp_path / "notes", hold="*/PNEUMONIA/047.jpeg")
    command = arguments(calm, out, workers=0)
    with running(tmp_path / "run", *command, faults=faults) as run:
        faults.wait_for_held()
        shutil.rmtree(out.with_name("r.parquet.work"))
        faults.release()
        done = run.wait()
    assert "r.parquet.work" in the_error(done, 1)
    assert not out.exists()
    assert run_command(*command).returncode == 0
    assert_finished(out, calm)


@pytest.mark.parametrize("name", ["run.json", "part"])
def test_damage_in_the_working_folder(
    tmp_path: Path, out: Path, calm: Calm, name: str, last_image_held: Faults
) -> None:
    """Files of the working folder that a power cut left empty are made anew."""
    command = arguments(calm, out, workers=0)
    with running(tmp_path / "run", *command, faults=last_image_held) as run:
        last_image_held.wait_for_held()
        run.process.kill()
        run.wait()
    work = out.with_name("r.parquet.work")
    file = work / name if name == "run.json" else sorted(work.glob("g*.parquet"))[0]
    file.write_bytes(b"")
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    assert_finished(out, calm)


def test_damaged_result(calm: Calm, out: Path) -> None:
    """A result that was damaged on its way is refused, and left for someone to look at."""
    shutil.copy(calm.out, out)
    damaged = out.read_bytes()[:-100]
    out.write_bytes(damaged)
    line = the_error(run_command(*arguments(calm, out, workers=0)), 2)
    assert str(out) in line
    assert out.read_bytes() == damaged


def test_a_model_that_breaks_under_the_run(calm: Calm, out: Path, tmp_path: Path) -> None:
    """A bundle whose file is no network is refused by the worker, in one line."""
    bundle = tmp_path / "model"
    write_tiny_bundle(bundle)
    from batchscan.bundle import write_bundle
    from batchscan.image import PREPROCESSING

    write_bundle(
        bundle,
        name="nonsense",
        files={"model.onnx": b"no network"},
        classes=("NORMAL", "PNEUMONIA"),
        threshold=0.5,
        input_size=150,
        preprocessing=PREPROCESSING,
    )
    for workers in (0, 1):
        done = run_command(
            "run", calm.archive, "--out", out, "--model", bundle, "--workers", workers
        )
        assert "model.onnx" in the_error(done, 2)
    assert not out.exists()
