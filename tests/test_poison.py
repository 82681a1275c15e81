"""Images that really kill or hang the process that decodes them: each becomes one row, alone."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import poisoned, rows, run, running, wait_until, write_images, write_poison
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscan import scan_job
from batchscan.rules import Rules
from batchscan.run.desk import Desk, LastWords, Work, last_words
from batchscan.run.observer import Progress
from batchscan.run.shard import Shard
from batchscan.run.watchdog import Watchdog
from batchscan.run.worker import Job, commit_part, note_file
from batchscan.schema import ScoreRow, score_table

SOUND = [f"m{number:02d}.jpeg" for number in range(12)]
POISON = {
    "a-first.jpeg": ("abort", "decoder_crash"),
    "m03-x.jpeg": ("kill", "decoder_crash"),
    "m03-y.jpeg": ("hang", "timeout"),
    "m07-x.jpeg": ("stall", "timeout"),
    "z-last.jpeg": ("abort", "decoder_crash"),
}


def opened(plant: Path) -> Counter[str]:
    """Count how often each image was opened; each time may be several lines of the log."""
    lines = Counter((plant / "opened").read_text().splitlines())
    once = min(lines.values())
    return Counter({name: count // once for name, count in lines.items()})


def test_poison(tmp_path: Path, tiny_bundle: Path) -> None:
    """Five kinds of poison in one shard, first and last, cost five rows and bounded work.

    All others are scored. Sound images are read twice at most, and poison is, too.
    """
    archive = write_images(tmp_path / "archive", *SOUND)
    for name, (kind, _) in POISON.items():
        write_poison(archive / name, kind)
    env, out = poisoned(tmp_path / "plant"), tmp_path / "results.parquet"
    command = ["run", archive, "--out", out, "--model", tiny_bundle, "--decode-seconds", "3"]
    done = run(*command, "--workers", "1", env=env)
    assert done.returncode == 0, done.stderr
    found = {str(row["path"]): row for row in rows(out)}
    assert len(found) == len(SOUND) + len(POISON)
    assert {name for name, row in found.items() if row["status"] == "scored"} == {*SOUND}
    for name, (_, category) in POISON.items():
        assert (found[name]["failure"], found[name]["score"]) == (category, None)
        assert found[name]["bytes"] == (archive / name).stat().st_size
    reads = opened(tmp_path / "plant")
    assert set(reads) == set(found)
    assert max(reads.values()) <= 2
    assert reads["m03-y.jpeg"] == 1, "what took too long is not waited for again"
    assert "(raylet)" not in done.stdout + done.stderr
    (tmp_path / "plant" / "opened").unlink()
    again = run(*command, "--workers", "1", env=env)
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "plant" / "opened").exists(), "poison is not tried again"


def test_other_limit(tmp_path: Path, tiny_bundle: Path) -> None:
    """An image that took too long is tried again when another time is allowed."""
    archive = write_images(tmp_path / "archive", "a.jpeg", "gated.jpeg")
    env, out = poisoned(tmp_path / "plant"), tmp_path / "results.parquet"
    command = ["run", archive, "--out", out, "--model", tiny_bundle, "--workers", "1"]
    done = run(*command, "--decode-seconds", "2", env=env)
    assert done.returncode == 0, done.stderr
    assert [row["failure"] for row in rows(out)] == [None, "timeout"]
    (tmp_path / "plant" / "gate").touch()
    (tmp_path / "plant" / "opened").unlink()
    assert run(*command, "--decode-seconds", "90", env=env).returncode == 0
    assert set(opened(tmp_path / "plant")) == {"gated.jpeg"}
    assert {row["status"] for row in rows(out)} == {"scored"}


def test_without_workers(tmp_path: Path, tiny_bundle: Path) -> None:
    """With --workers 0 an image that hangs ends the run, which names it; a worker gets past it."""
    archive = write_images(tmp_path / "archive", "a.jpeg")
    write_poison(archive / "b\n.jpeg", "hang")
    env, out = poisoned(tmp_path / "plant"), tmp_path / "results.parquet"
    command = ["run", archive, "--out", out, "--model", tiny_bundle, "--shard-size", "1"]
    done = run(*command, "--decode-seconds", "2", "--workers", "0", env=env)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert r"b\n.jpeg" in line
    assert "--workers 1" in line
    assert not out.exists()
    again = run(*command, "--decode-seconds", "2", "--workers", "1", env=env)
    assert again.returncode == 0, again.stderr
    assert [row["failure"] for row in rows(out)] == [None, "timeout"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_image_that_stops_its_worker(tmp_path: Path, tiny_bundle: Path, workers: str) -> None:
    """An image whose decoder stops the whole process, watchdog and all, costs its row, no more."""
    archive = write_images(tmp_path / "archive", "a.jpeg", "z.jpeg")
    write_poison(archive / "m.jpeg", "stop")
    env, out = poisoned(tmp_path / "plant"), tmp_path / "results.parquet"
    command = ["run", archive, "--out", out, "--model", tiny_bundle, "--decode-seconds", "1"]
    done = run(*command, "--workers", workers, env=env)
    assert done.returncode == 0, done.stderr
    assert "stands still" in done.stderr
    assert [row["failure"] for row in rows(out)] == [None, "decoder_crash", None]


def test_stopped_worker(tmp_path: Path, tiny_bundle: Path) -> None:
    """A worker that was stopped for longer than an image may take blames no image."""
    archive = write_images(tmp_path / "archive", "a.jpeg", "gated.jpeg")
    env, out = poisoned(tmp_path / "plant"), tmp_path / "results.parquet"
    command = ["run", archive, "--out", out, "--model", tiny_bundle, "--decode-seconds", "6"]
    with running(*command, "--workers", "1", env=env) as started:
        log = tmp_path / "plant" / "opened"
        started.wait_for(lambda: log.exists() and "gated" in log.read_text(), "the gate")
        (worker,) = started.workers()
        worker.send_signal(signal.SIGSTOP)
        time.sleep(8)
        (tmp_path / "plant" / "gate").touch()
        worker.send_signal(signal.SIGCONT)
        assert started.ends() == 0, started.stderr
    assert {row["status"] for row in rows(out)} == {"scored"}


# ------------------------------------------------- without Ray: who is given what


def die_as_told(job: Job, shard: Shard, poison: dict[str, str], threads: int) -> int:
    """Work on a shard in a process of its own, which dies of poison; returns its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        note = note_file(job, shard)

        def load(name: str) -> ScoreRow:
            with (Path(job.parts) / "reads").open("a") as log:
                log.write(f"{name}\n")
            if poison.get(name) == "hang":
                (number,) = [place for place, image in enumerate(shard.images) if image == name]
                (work,) = [work for work in desk.works() if work.number == number]
                desk.mark_late(work)
            if name in poison:
                os.kill(os.getpid(), signal.SIGKILL)
            return ScoreRow(name, "scored", 0.5)

        with Desk(shard.images, note) as desk, ThreadPoolExecutor(threads) as pool:
            table = score_table(pool.map(desk.noting(load), shard.images))
        commit_part(job, shard, table)
        os._exit(0)
    finally:
        os._exit(1)


@settings(max_examples=15)
@given(
    st.dictionaries(st.integers(0, 19), st.sampled_from(["crash", "hang"]), max_size=4),
    st.integers(4, 20),
    st.sampled_from([1, 1, 4]),
)
def test_any_poison(
    tmp_path_factory: pytest.TempPathFactory, places: dict[int, str], size: int, threads: int
) -> None:
    """Wherever poison lies: each image has one row, the right ones fail, none is read thrice."""
    scan_job()
    from batchscan_jobs.attempts import Attempts

    folder = tmp_path_factory.mktemp("parts")
    images = [f"{number:02d}" for number in range(20)]
    poison = {images[place]: kind for place, kind in places.items()}
    job = Job(str(folder), str(folder), 1, "onnx", 24, rules=Rules())
    cut = [images[start : start + size] for start in range(0, len(images), size)]
    shards = (Shard(f"s{number}", tuple(names)) for number, names in enumerate(cut))
    attempts, deaths = Attempts(job, Progress(), shards), 0
    while (attempt := attempts.next(alone=True)) is not None:
        if die_as_told(job, attempt.shard, poison, threads):
            deaths += 1
            attempts.died(attempt)
    parts = [pq.read_table(part).to_pylist() for part in sorted(folder.glob("*.parquet"))]
    found = {row["path"]: row["failure"] for part in parts for row in part}
    assert sum(map(len, parts)) == len(found) == len(images)
    expected = {
        name: "timeout" if kind == "hang" else "decoder_crash" for name, kind in poison.items()
    }
    assert {name: failure for name, failure in found.items() if failure} == expected
    reads = Counter((folder / "reads").read_text().splitlines())
    limit = 2 if threads == 1 else 2 + len(poison)
    assert max(reads.values()) <= limit
    if threads == 1:
        assert deaths == sum(1 if kind == "hang" else 2 for kind in poison.values())


def test_note_without_a_disk(tmp_path: Path) -> None:
    """Where no note can be written, images are loaded all the same."""
    with Desk(["a"], tmp_path / "nowhere" / "note") as desk:
        assert desk.noting(str.upper)("a") == "A"
    assert last_words(tmp_path / "nowhere" / "note") == LastWords()


@pytest.mark.parametrize("text", ["", "rubbish", "1 work", "  3 late\n", "\0" * 48])
def test_damaged_note(tmp_path: Path, text: str) -> None:
    """A note that a crash of the machine has damaged is read as far as it goes, and removed."""
    file = tmp_path / "note"
    file.write_text(text)
    words = last_words(file)
    assert len(words.in_work) + len(words.late) <= 1
    assert not file.exists()


def test_watchdog_names_the_late_image() -> None:
    """Of several images in work the watchdog names the one that takes too long."""
    late: list[Work] = []

    def load(name: str) -> str:
        if name == "slow":
            wait_until(lambda: bool(late), "the watchdog's bark")
        return name

    images = [*map(str, range(50)), "slow", *map(str, range(50, 100))]
    with Desk(images) as desk, Watchdog(desk, 0.2, late.append), ThreadPoolExecutor(3) as pool:
        assert list(pool.map(desk.noting(load), images)) == images
    assert {(work.number, work.name) for work in late} == {(50, "slow")}
    assert desk.works() == []
