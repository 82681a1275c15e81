"""Tests of how a running scan shows itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchscan.run.events import EventProgress
from batchscan.run.observer import Progress, ShardReport, WorkerFacts
from batchscan.run.status import StatusFile
from batchscan.run.workspace import STATUS
from batchscan.terminal.progress import LINE_SECONDS, BarProgress, LineProgress, open_progress


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def line(log: io.StringIO, clock: Clock) -> LineProgress:
    return LineProgress(log, clock)


def run(progress: Progress, clock: Clock, seconds: float, shards: int, failed: int = 0) -> None:
    """Let a scan run: each second a tick, its shards of ten images spread evenly."""
    for second in range(int(seconds)):
        clock.now += 1
        done = shards * (second + 1) // int(seconds) - shards * second // int(seconds)
        for _ in range(done):
            progress.shard_done(ShardReport(10, failed))
        progress.tick()


# --- a log ---------------------------------------------------------------------------------------


def test_a_line_every_half_minute(line: LineProgress, log: io.StringIO, clock: Clock) -> None:
    """A log gets a line each 30 s, and none before."""
    run(line, clock, LINE_SECONDS - 1, 29)
    assert log.getvalue() == ""
    run(line, clock, 1, 1)
    assert log.getvalue() == "batchscan: 300 images, 0 failed, 10.0 images/s\n"
    run(line, clock, 10 * LINE_SECONDS, 300)
    assert log.getvalue().count("\n") == 11
    line.close()
    assert log.getvalue().count("\n") == 11


def test_line_with_what_is_left(line: LineProgress, log: io.StringIO, clock: Clock) -> None:
    """Once the archive is counted, a line says of how many, and how long it will take."""
    line.expect(10_000)
    run(line, clock, 30, 30, failed=1)
    assert log.getvalue() == (
        "batchscan: 300 of about 10,000 images, 30 failed, 10.0 images/s, about 0:16:10 left\n"
    )


def test_finished_images_are_not_to_do(line: LineProgress, log: io.StringIO, clock: Clock) -> None:
    """Images of earlier runs are no part of what is left."""
    line.expect(1_000)
    line.kept(600)
    line.kept(99)
    run(line, clock, 30, 30)
    assert "300 of about 301 images" in log.getvalue()


def test_estimate_that_was_too_low(line: LineProgress, log: io.StringIO, clock: Clock) -> None:
    """More images than were counted by their names never give a negative rest."""
    line.expect(100)
    line.kept(50)
    run(line, clock, 30, 30)
    assert "300 of about 300 images" in log.getvalue()
    assert "about 0:00:00 left" in log.getvalue()


def test_programs_are_told_no_estimate_that_was_too_low(tmp_path: Path, clock: Clock) -> None:
    """Nor do events and `batchscan status` tell of more images than there are."""
    stream = io.StringIO()
    for told in (EventProgress(stream, clock), StatusFile(tmp_path, clock)):
        told.expect(100)
        told.kept(50)
        told.shard_done(ShardReport(70, 0))
        clock.now += 60
        told.tick()
    assert json.loads(stream.getvalue())["expected"] == 120
    assert json.loads((tmp_path / STATUS).read_text())["expected"] == 120


def test_line_while_nothing_is_finished(line: LineProgress, log: io.StringIO, clock: Clock) -> None:
    """A line before the first shard is done promises nothing."""
    line.expect(100)
    run(line, clock, 30, 0)
    assert log.getvalue() == "batchscan: 0 of about 100 images, 0 failed, 0.0 images/s\n"


def test_long_gap(line: LineProgress, log: io.StringIO, clock: Clock) -> None:
    """A machine that slept prints one line afterwards, not one for each half minute."""
    clock.now += 20 * LINE_SECONDS
    line.tick()
    line.tick()
    assert log.getvalue().count("\n") == 1


def test_clock_that_stands_still(line: LineProgress) -> None:
    """Shards within no time at all are no division by zero."""
    line.expect(10)
    line.shard_done(ShardReport(10, 0))
    line.tick()


def test_notice_in_a_log(line: LineProgress, log: io.StringIO) -> None:
    """What a person should know now is a line of its own, at once."""
    line.notice("a worker died; its shard is tried again")
    assert log.getvalue() == "batchscan: a worker died; its shard is tried again\n"


# --- a terminal ----------------------------------------------------------------------------------


def seen(terminal: io.StringIO) -> str:
    """Return what was written last on the bar's line."""
    return terminal.getvalue().rstrip("\r \n").split("\r")[-1]


def test_bar() -> None:
    """A bar shows images done, of how many, the failed, the rate and the time left."""
    terminal = Terminal()
    bar = BarProgress(terminal)
    bar.expect(100)
    bar.kept(20)
    bar.shard_done(ShardReport(30, 2))
    bar.shard_done(ShardReport(10, 1))
    bar.tick()
    text = seen(terminal)
    assert "40/80" in text
    assert "3 failed" in text
    assert re.search(r"images/s|s/ images", text)
    assert re.search(r"\d\d:\d\d<", text)
    assert "50%" in text


def test_bar_before_the_archive_is_counted() -> None:
    """Before the total is known, the bar counts up, and claims nothing."""
    terminal = Terminal()
    bar = BarProgress(terminal)
    bar.shard_done(ShardReport(30, 0))
    bar.tick()
    assert "30 images" in seen(terminal)
    assert "%" not in seen(terminal)


def test_bar_with_an_estimate_that_was_too_low() -> None:
    """The bar stops at 100 %."""
    terminal = Terminal()
    bar = BarProgress(terminal)
    bar.expect(10)
    bar.kept(8)
    bar.shard_done(ShardReport(30, 0))
    bar.tick()
    assert "30/30" in seen(terminal)


def test_bar_with_nothing_to_do() -> None:
    """Where all images are finished from earlier runs, the bar says so, instead of 0 %."""
    terminal = Terminal()
    bar = BarProgress(terminal)
    bar.expect(1200)
    bar.kept(1200)
    bar.tick()
    assert "1,200 images, none of them new" in seen(terminal)
    assert "%" not in seen(terminal)


def test_notice_above_the_bar() -> None:
    """A notice stays on the screen, above the bar."""
    terminal = Terminal()
    bar = BarProgress(terminal)
    bar.shard_done(ShardReport(30, 0))
    bar.tick()
    bar.notice("a worker died")
    assert "batchscan: a worker died\n" in terminal.getvalue()


def test_bar_goes_away() -> None:
    """When the scan ends, the bar's line is cleared for the summary."""
    terminal = Terminal()
    bar = BarProgress(terminal)
    bar.shard_done(ShardReport(30, 0))
    bar.tick()
    bar.close()
    end = terminal.getvalue()
    assert end.endswith("\r")
    assert end.rstrip("\r").split("\r")[-1].strip() == ""


# --- the choice ----------------------------------------------------------------------------------


def test_display_suits_the_stream(tmp_path: Path) -> None:
    """A terminal gets a bar; a file or a pipe gets lines."""
    assert isinstance(open_progress(Terminal()), BarProgress)
    assert isinstance(open_progress(io.StringIO()), LineProgress)
    with (tmp_path / "log").open("w") as stream:
        assert isinstance(open_progress(stream), LineProgress)


@pytest.fixture
def terminal() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """Open a real pseudo-terminal: the end that reads, and the stream that a program writes to."""
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as stream:
        yield reading, stream
    os.close(reading)


def shown_on(terminal: tuple[int, io.TextIOWrapper], clock: Clock) -> str:
    """Let a short scan show itself on a terminal; returns what came out of it."""
    reading, stream = terminal
    progress = open_progress(stream)
    if isinstance(progress, LineProgress):
        progress = LineProgress(stream, clock)
    progress.expect(100)
    progress.shard_done(ShardReport(50, 5))
    clock.now += LINE_SECONDS
    progress.tick()
    progress.close()
    stream.close()
    shown = b""
    with contextlib.suppress(OSError):  # EIO: nothing more will come.
        while data := os.read(reading, 1 << 16):
            shown += data
    return shown.decode()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_bar_on_a_real_terminal(
    terminal: tuple[int, io.TextIOWrapper], clock: Clock, columns: int
) -> None:
    """On a terminal of the operating system, the bar is drawn and fits its width."""
    termios.tcsetwinsize(terminal[0], (24, columns))
    text = shown_on(terminal, clock)
    assert "50/100" in text
    assert "5 failed" in text or columns < 80
    assert max(len(line) for line in re.split("[\r\n]", text)) <= columns


def test_terminal_of_unknown_size(terminal: tuple[int, io.TextIOWrapper], clock: Clock) -> None:
    """A terminal that doesn't know its size, as containers have, is not left without a word."""
    assert "5 failed" in shown_on(terminal, clock)


def test_silent_progress() -> None:
    """The display of a Python call takes everything in and says nothing."""
    progress = Progress()
    progress.expect(3)
    progress.kept(1)
    progress.worker_ready(WorkerFacts("host", 1, "cpu"))
    progress.shard_done(ShardReport(1, 0))
    progress.notice("x")
    progress.tick()
    progress.close()
