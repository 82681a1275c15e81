"""Names of files that are no text, have no end, or mean something to a terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import rows, run
from conftest import encode, picture

import batchscan
from batchscan.archive import walk
from batchscan.archive.display import display_path
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import file_state, read_image
from batchscan.terminal.summary_text import render_summary
from batchscan.terminal.text import one_line

IMAGE = encode(picture(), "jpeg")
ODD = [
    b"caf\xe9.jpeg",
    b"two\nlines.jpeg",
    b"bell\x07 and \x1b[31mred\x1b[0m.jpeg",
    b"tab\tand\rreturn",
    "\u2028\u202e.jpeg".encode(),
    b"l" * 250 + b".jpeg",
    b" ",
    b"--help.jpeg",
    b"quote'\"`$(id).jpeg",
]


def make_deep(root: Path, name: str) -> str:
    """Write an image below folders whose path is longer than the system takes; returns its name."""
    parts = [f"{number:02d}-" + "d" * 200 for number in range(30)]
    here = os.open(root, os.O_PATH)
    for part in parts:
        os.mkdir(part, dir_fd=here)
        following = os.open(part, os.O_PATH, dir_fd=here)
        os.close(here)
        here = following
    file = os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, IMAGE)
    os.close(file)
    os.symlink("..", "loop", dir_fd=here)
    os.close(here)
    return "/".join([*parts, name])


@pytest.mark.parametrize("workers", ["0", "1"])
def test_odd_names(tmp_path: Path, tiny_bundle: Path, workers: str) -> None:
    """Files of any name, at any depth, are scored, each under a path of its own."""
    archive, out = tmp_path / "archive", tmp_path / "results.parquet"
    archive.mkdir()
    for name in ODD:
        (archive / os.fsdecode(name)).write_bytes(IMAGE)
    deep = [make_deep(archive, "deep.jpeg")]
    done = run("run", archive, "--out", out, "--model", tiny_bundle, "--workers", workers)
    assert done.returncode == 0, done.stderr
    found = {str(row["path"]): row["status"] for row in rows(out)}
    expected = {display_path(os.fsdecode(name)) for name in ODD} | {*deep}
    assert found == dict.fromkeys(expected, "scored")
    again = run("run", archive, "--out", out, "--model", tiny_bundle, "--workers", workers)
    assert f"{len(expected)} unchanged" in again.stdout


def test_deep_file(tmp_path: Path) -> None:
    """A file beyond the system's longest path is listed, read, and found again unchanged."""
    name = make_deep(tmp_path, "x")
    notes = ListingNotes()
    assert list(list_images(tmp_path, notes)) == [name]
    assert notes.repeated_links == 1
    assert not notes.unreadable_folders
    data, state = read_image(str(tmp_path), name)
    assert data == IMAGE
    assert file_state(str(tmp_path), name) == state
    assert file_state(str(tmp_path), name + "-gone") is None
    assert len(list(Path("/proc/self/fd").iterdir())) < 100, "folders on the way are closed again"


def test_names_in_the_summary(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No name breaks a line of the summary, or reaches a terminal with its control characters."""
    archive, out = tmp_path / "archive", tmp_path / "results\x1b.parquet"
    bad = archive / "closed\n\x1b[2J"
    bad.mkdir(parents=True)
    (archive / "a.jpeg").write_bytes(IMAGE)
    (archive / "notes.t\nxt").write_text("words")
    labels = tmp_path / "labels.csv"
    labels.write_text('path,label\na.jpeg,NORMAL\n"gone\n.jpeg",NORMAL\n')
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).startswith(str(bad)):
            raise PermissionError(13, "denied")
        return real(path)

    monkeypatch.setattr(walk.os, "scandir", scandir)
    summary = batchscan.scan(archive, out, model=tiny_bundle, labels=labels, workers=0)
    text = render_summary(summary)
    assert all(line.isprintable() for line in text.splitlines()), text
    assert r"1 folders could not be read: closed\n\x1b[2J" in text
    assert r".t\nxt 1" in text
    assert r"gone\n.jpeg" in text
    assert r"results\x1b.parquet" in text


def test_names_in_errors(tmp_path: Path) -> None:
    """An error that names a file is one line, whatever the name."""
    done = run("run", tmp_path / "a\nb\x1b", "--out", tmp_path / "results.parquet")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert r"a\nb\x1b" in line


def test_one_line() -> None:
    """Text that can be shown stays as it is; the rest becomes escapes that say what it was."""
    assert one_line("Röntgen 1.jpeg") == "Röntgen 1.jpeg"
    assert one_line("a\nb\x1b\u2028\udcff") == r"a\nb\x1b\u2028\udcff"
