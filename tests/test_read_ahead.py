"""Reading ahead: the system is asked for files before their turn, and nobody is held up by it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from batchscan.archive.read_ahead import ReadAhead

PATIENCE = 60.0


class Asked:
    """Stands in for `os.posix_fadvise`: notes which files are asked for, in which order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
        self.names: list[str] = []
        self.seen = {name: threading.Event() for name in names}
        monkeypatch.setattr(os, "posix_fadvise", self._note)

    def _note(self, number: int, *_: int) -> None:
        name = Path(f"/proc/self/fd/{number}").readlink().name
        self.names.append(name)
        self.seen[name].set()


def files(folder: Path, count: int) -> list[str]:
    names = [f"{number:03d}.jpeg" for number in range(count)]
    for name in names:
        (folder / name).write_bytes(b"x")
    return names


def test_each_file_is_asked_for_before_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every file but the first few, the system knows before the file's reader opens it."""
    names = files(tmp_path, 50)
    asked = Asked(monkeypatch, names)
    with ReadAhead(str(tmp_path), names) as ahead:
        load = ahead.moving_on(lambda name: asked.seen[name].wait(PATIENCE))
        assert all(map(load, names)), "while a file is read, it has been asked for, or is next"
    assert asked.names == names, "each once, in their order"


def test_it_does_not_run_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few files ahead, no more: memory would not hold a whole shard of large ones."""
    names = files(tmp_path, 100)
    asked = Asked(monkeypatch, names)
    with ReadAhead(str(tmp_path), names) as ahead:
        load = ahead.moving_on(lambda name: asked.seen[name].wait(PATIENCE))
        for number, name in enumerate(names):
            load(name)
            assert len(asked.names) <= number + 17


def test_files_that_cannot_be_opened_are_left_to_their_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file, a folder, a pipe and one inside a container neither stop it nor raise."""
    names = files(tmp_path, 3)
    os.mkfifo(tmp_path / "pipe.jpeg")
    (tmp_path / "folder.jpeg").mkdir()
    asked = Asked(monkeypatch, [*names, "pipe.jpeg", "folder.jpeg"])
    odd = ["gone.jpeg", "folder.jpeg", "pipe.jpeg", "some.zip!/a.jpeg", "a\0b.jpeg", "\ud800.jpeg"]
    with ReadAhead(str(tmp_path), [*odd, *names]) as ahead:
        assert list(map(ahead.moving_on(len), [*odd, *names])) == [len(n) for n in [*odd, *names]]
        assert asked.seen[names[-1]].wait(PATIENCE)


def test_a_file_whose_opening_hangs_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where asking hangs, as on a mount whose server is gone, loading goes on and ends."""
    names = files(tmp_path, 40)
    hanging, released = threading.Event(), threading.Event()

    def hang(*_: int) -> None:
        hanging.set()
        released.wait(PATIENCE)

    monkeypatch.setattr(os, "posix_fadvise", hang)
    with ReadAhead(str(tmp_path), names) as ahead:
        assert hanging.wait(PATIENCE)
        assert list(map(ahead.moving_on(str.upper), names)) == [name.upper() for name in names]
    released.set()


def test_it_ends_with_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a shard is given up half way, nothing more of it is asked for."""
    names = files(tmp_path, 40)
    asked = Asked(monkeypatch, names)
    with ReadAhead(str(tmp_path), names) as ahead:
        ahead.moving_on(lambda name: asked.seen[name].wait(PATIENCE))(names[0])
    for thread in threading.enumerate():
        if thread.name == "read-ahead":
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert len(asked.names) < 40


def test_a_store_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects on a store have no file to ask for; loading them works as without."""
    asked = Asked(monkeypatch, [])
    with ReadAhead("s3://bucket/xrays", ["a.jpeg", "b.jpeg"]) as ahead:
        assert list(map(ahead.moving_on(len), ["a.jpeg", "b.jpeg"])) == [6, 6]
    assert asked.names == []
