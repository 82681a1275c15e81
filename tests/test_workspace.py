"""Tests of the working folder: one run at a time, and nothing forgotten or left behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from commands import sabotaged, write_images
from hypothesis import given
from hypothesis import strategies as st

from batchscan.errors import OutputInUse, UsageError
from batchscan.results.result import part_name, part_sources, write_part
from batchscan.run import workspace as workspace_module
from batchscan.run.status import read_status
from batchscan.run.workspace import Identity, RunState, Workspace
from batchscan.schema import ScoreRow, score_table

IDENTITY = Identity("/archive", "d" * 64, "recipe/1")

HOLD = """
import sys
from pathlib import Path
from batchscan.run.workspace import Workspace
with Workspace(Path(sys.argv[1])) as workspace:
    print("held", flush=True)
    sys.stdin.readline()
"""

TRY = """
import sys
from pathlib import Path
from batchscan.errors import OutputInUse
from batchscan.run.workspace import Workspace
try:
    with Workspace(Path(sys.argv[1])):
        print("got it")
except OutputInUse as error:
    print(error)
    sys.exit(error.exit_code)
"""


@contextlib.contextmanager
def holder(out: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process that holds the output until it is told, or killed."""
    command = [sys.executable, "-c", HOLD, str(out)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def table() -> pa.Table:
    return score_table([ScoreRow("a.jpg", "scored", 0.5)])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.parquet"


# --- one run at a time ---------------------------------------------------------------------------


def test_another_process_is_refused(out: Path) -> None:
    """While one process holds an output, a second is refused, and told who holds it."""
    with Workspace(out):
        done = subprocess.run(
            [sys.executable, "-c", TRY, out], capture_output=True, text=True, check=False
        )
    assert done.returncode == 5, done.stderr
    assert f"{out} is being written by process {os.getpid()} on " in done.stdout
    assert done.stdout.count("\n") == 1


def test_this_process_is_refused(out: Path) -> None:
    """Two runs within one process exclude each other as well; another output is free."""
    with Workspace(out), Workspace(out.with_name("other.parquet")):
        with (
            pytest.raises(OutputInUse, match="wait for it, or choose another --out"),
            Workspace(out),
        ):
            pass
        assert (out.with_name(out.name + ".work") / "lock").exists()


def test_refusal_changes_nothing(out: Path) -> None:
    """A run that is refused leaves the other's state and parts alone."""
    with Workspace(out) as workspace:
        state = workspace.begin(IDENTITY, replaces_result=False)
        write_part(workspace.folder, part_name(1, "s0"), table())
        with pytest.raises(OutputInUse), Workspace(out):
            pass
        assert workspace.state() == state
        assert len(part_sources(workspace.folder)) == 1
        with pytest.raises(OutputInUse), Workspace(out):  # Not even the second time.
            pass


def test_killed_holder_frees_the_lock(out: Path) -> None:
    """A run that is killed outright stands in nobody's way."""
    with holder(out) as process:
        with pytest.raises(OutputInUse, match=f"process {process.pid} "), Workspace(out):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Workspace(out) as workspace:
            assert workspace.state() is None


def test_different_names_of_one_output(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One output under two names, relative or through a link, is one output."""
    monkeypatch.chdir(out.parent)
    (out.parent / "link.parquet").symlink_to(out.name)
    (out.parent / "folder").symlink_to(".")
    for name in ("results.parquet", "link.parquet", "folder/results.parquet"):
        with Workspace(out), pytest.raises(OutputInUse), Workspace(Path(name)):
            pass


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unused"])
def test_next_run_starts_while_one_ends(
    out: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    """A run that takes the lock in the moment the last one lets go keeps its folder."""
    second = Workspace(out)
    real_close = os.close
    entered = []

    def close(descriptor: int) -> None:
        real_close(descriptor)
        if not entered:
            entered.append(True)
            second.__enter__()

    with Workspace(out) as first:
        if finished:
            first.begin(IDENTITY, replaces_result=False)
            first.remove()
        monkeypatch.setattr(workspace_module.os, "close", close)
    assert entered
    second.begin(IDENTITY, replaces_result=False)
    with pytest.raises(OutputInUse), Workspace(out):
        pass
    second.__exit__(None, None, None)


def test_next_run_starts_after_one_has_tidied_up(out: Path) -> None:
    """A run that begins between another's tidying up and its end keeps its folder."""
    with Workspace(out) as first:
        first.begin(IDENTITY, replaces_result=False)
        first.remove()
        second = Workspace(out)
        second.__enter__()
    second.begin(IDENTITY, replaces_result=False)
    assert second.state() is not None
    second.__exit__(None, None, None)


# --- what is left behind -------------------------------------------------------------------------


def test_unused_folder_is_removed(out: Path) -> None:
    """A run that stops before it has begun leaves no folder."""
    with Workspace(out) as workspace:
        assert workspace.folder.is_dir()
    assert list(out.parent.iterdir()) == []


def test_folder_of_a_stopped_run_stays(out: Path) -> None:
    """What an interrupted run has finished is there for the next."""
    with contextlib.suppress(KeyboardInterrupt), Workspace(out) as workspace:
        state = workspace.begin(IDENTITY, replaces_result=False)
        write_part(workspace.folder, part_name(1, "s0"), table())
        raise KeyboardInterrupt
    with Workspace(out) as workspace:
        assert workspace.state() == state
        (source,) = part_sources(workspace.folder)
        assert source.load()["path"].to_pylist() == ["a.jpg"]


def test_remove(out: Path) -> None:
    """After a finished run nothing of the folder is left."""
    with Workspace(out) as workspace:
        workspace.begin(IDENTITY, replaces_result=False)
        write_part(workspace.folder, part_name(1, "s0"), table())
        (workspace.folder / f"{part_name(1, 's1')}.{'0' * 32}.tmp").touch()
        workspace.remove()
    assert list(out.parent.iterdir()) == []


def test_discard_keeps_the_lock(out: Path) -> None:
    """Forgetting an earlier run doesn't let a third one in."""
    with Workspace(out) as workspace:
        workspace.begin(IDENTITY, replaces_result=False)
        write_part(workspace.folder, part_name(1, "s0"), table())
        workspace.discard()
        assert workspace.state() is None
        assert part_sources(workspace.folder) == []
        with pytest.raises(OutputInUse), Workspace(out):
            pass


def test_foreign_files_are_not_deleted(out: Path) -> None:
    """A folder of that name with somebody's files in it is refused, and left as it is."""
    folder = out.with_name(out.name + ".work")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"thesis\.txt"), Workspace(out):
        pass
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where no folder can be made, one line says so and what to do."""
    (tmp_path / "results.parquet.work").write_text("a file")
    with (
        pytest.raises(UsageError, match=r"choose an(other)? --out") as caught,
        Workspace(tmp_path / "results.parquet"),
    ):
        pass
    assert str(tmp_path / "results.parquet.work") in str(caught.value)
    assert (tmp_path / "results.parquet.work").read_text() == "a file"


# --- the record of the run -----------------------------------------------------------------------


PERMISSIONS = """
import os, sys
from pathlib import Path
from batchscan.cli import entry_point
os.umask(int(sys.argv.pop(1), 8))
entry_point()
"""
"""The command line under an umask."""


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("027", 0o640), ("077", 0o600)])
def test_permissions(tmp_path: Path, tiny_bundle: Path, umask: str, mode: int) -> None:
    """Only the account that runs may look into the working folder; the umask rules the result."""
    archive = write_images(tmp_path / "archive", "NORMAL/a.png", "PNEUMONIA/killer.png")
    out = tmp_path / "r.parquet"
    words = ["run", archive, "--out", out, "--model", tiny_bundle, "--workers", "0"]
    command = [sys.executable, "-c", PERMISSIONS, umask, *map(str, words), "--shard-size", "1"]
    plant = sabotaged(tmp_path / "plant")
    assert subprocess.run(command, env=plant, cwd="/", check=False).returncode == 9
    assert stat.S_IMODE(Workspace(out).folder.stat().st_mode) == 0o700
    (archive / "PNEUMONIA/killer.png").rename(archive / "PNEUMONIA/b.png")
    assert subprocess.run(command, env=plant, cwd="/", check=False).returncode == 0
    for file in (out, tmp_path / "r.metrics.parquet"):
        assert stat.S_IMODE(file.stat().st_mode) == mode


def test_folder_of_another_account(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not look into a working folder is told so, by `run` and by `status`."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    Workspace(out).folder.mkdir(mode=0)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UsageError, match="run as the account that began"), Workspace(out):
        pass
    monkeypatch.setattr("batchscan.run.status.opened", refuse)
    with pytest.raises(UsageError, match="ask as the account"):
        read_status(out)


def test_generations(out: Path) -> None:
    """Each start of a run has a number of its own; the run's first start is remembered."""
    with Workspace(out) as workspace:
        first = workspace.begin(IDENTITY, replaces_result=True)
        (workspace.folder / "g0001-s00000000.parquet").touch()  # Something is finished.
    with Workspace(out) as workspace:
        second = workspace.begin(IDENTITY, replaces_result=False)
    assert (first.generation, second.generation) == (1, 2)
    assert second.started == first.started
    assert (first.replaces_result, second.replaces_result) == (True, False)
    assert first.identity == IDENTITY


RECORD = {
    "identity": {"archive": "/archive", "model": "d", "preprocessing": "r"},
    "generation": 3,
    "started": "2026-01-01T00:00:00+00:00",
    "replaces_result": False,
}


def record(out: Path, content: bytes) -> Path:
    folder = out.with_name(out.name + ".work")
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_bytes(content)
    return folder


def test_record_is_read(out: Path) -> None:
    """A record that is whole is understood."""
    record(out, json.dumps(RECORD).encode())
    with Workspace(out) as workspace:
        assert workspace.state() == RunState(
            Identity("/archive", "d", "r"), 3, "2026-01-01T00:00:00+00:00", False
        )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"3",
        b'"identity"',
        b"{}",
        b'{"identity": {}}',
        b'{"identity": "x"}',
        json.dumps(RECORD | {"more": 1}).encode(),
        json.dumps(RECORD | {"generation": "three"}).encode(),
        json.dumps(RECORD | {"generation": None}).encode(),
        json.dumps(RECORD | {"identity": {"archive": "/archive"}}).encode(),
        bytes(500),
    ],
)
def test_damaged_record_is_no_record(out: Path, content: bytes) -> None:
    """A record that a crash has damaged counts as none, and a run can begin."""
    record(out, content)
    with Workspace(out) as workspace:
        assert workspace.state() is None
        assert workspace.begin(IDENTITY, replaces_result=False).generation == 1


@given(st.data())
def test_record_cut_short(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A record that is cut off anywhere counts as none."""
    content = json.dumps(RECORD).encode()
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    out = tmp_path_factory.mktemp("cut") / "results.parquet"
    record(out, cut)
    with Workspace(out) as workspace:
        assert workspace.state() is None


def test_record_is_written_whole_or_not_at_all(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while the record is written leaves the earlier record."""
    with Workspace(out) as workspace:
        first = workspace.begin(IDENTITY, replaces_result=False)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            workspace.begin(IDENTITY, replaces_result=True)
        assert workspace.state() == first


def test_a_late_worker_beside_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that the driver lost sight of, and that goes on with its files, spoils no end.

    It removes one before the driver does, and puts one in behind the driver's back.
    """
    out = tmp_path / "r.parquet"
    unlink = Path.unlink

    def unlink_beside_another(path: Path, missing_ok: bool = False) -> None:
        if path.name == "lock":
            (path.parent / part_name(1, "late")).touch()
        else:
            unlink(path)
        unlink(path, missing_ok)

    with Workspace(out) as workspace:
        workspace.begin(IDENTITY, replaces_result=False)
        monkeypatch.setattr(Path, "unlink", unlink_beside_another)
        workspace.remove()
        monkeypatch.undo()
    with Workspace(out) as workspace:
        assert workspace.state() is None
        workspace.remove()
    assert not list(tmp_path.iterdir())
