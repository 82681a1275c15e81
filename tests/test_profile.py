"""`run --profile`: where the time goes."""

from __future__ import annotations

import collections
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import batchscan
from batchscan.cli import main
from batchscan.results.result import read_footer
from batchscan.run import pipeline
from batchscan.run.shard import Shard
from batchscan.run.stopwatch import STAGES, Profile, Stopwatch
from batchscan.run.worker import Job, ShardWorker
from batchscan.terminal.profile import render_profile


def ticking() -> Stopwatch:
    """Return a stopwatch whose clock is one second later at each look."""
    return Stopwatch(clock=itertools.count().__next__)


def test_stages_add_up() -> None:
    """A stage within another is taken out of it, so that no second counts twice."""
    stopwatch = ticking()
    with stopwatch.stage("rest"):  # 0
        with stopwatch.stage("read"):  # 1 to 2
            pass
        with stopwatch.stage("decode"):  # 3 to 4
            pass
    assert stopwatch.take() == {"rest": 3, "read": 1, "decode": 1}  # Ended at 5.


def test_waiting_fills_what_lies_between() -> None:
    """After `turn_to` the time in which no stage is open counts, as soon as one opens."""
    stopwatch = ticking()
    stopwatch.turn_to("wait")
    with stopwatch.stage("read"):
        pass
    assert stopwatch.take() == {"wait": 1, "read": 1}


def test_an_error_ends_its_stage() -> None:
    """An image that cannot be read does not leave its stage open."""
    stopwatch = ticking()
    try:
        with stopwatch.stage("read"):
            raise ValueError
    except ValueError:
        pass
    with stopwatch.stage("decode"):
        pass
    assert stopwatch.take() == {"read": 1, "decode": 1}


def test_each_thread_has_its_own_stage() -> None:
    """What another thread does meanwhile is no part of a thread's stage."""
    stopwatch = ticking()

    def read() -> None:
        with stopwatch.stage("read"):
            pass

    with stopwatch.stage("wait"):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert stopwatch.take() == {"wait": 3, "read": 1}


def test_making_items_is_timed_and_using_them_is_not() -> None:
    """Of an iterator the time counts in which it makes its items, to the last."""
    stopwatch = ticking()
    assert list(stopwatch.each("list", iter("ab"))) == ["a", "b"]
    assert stopwatch.take() == {"list": 3}  # The third time it finds that there are no more.


def test_off_it_measures_nothing() -> None:
    """Without --profile the clock is never looked at."""
    stopwatch = Stopwatch(measuring=False, clock=lambda: 1 / 0)
    stopwatch.turn_to("wait")
    with stopwatch.stage("read"):
        assert list(stopwatch.each("list", iter("ab"))) == ["a", "b"]
    assert stopwatch.take() == {}


def test_a_worker_tells_each_stage(archive: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """Report by report, a worker tells what it spent since the last one; in threads as well."""
    job = Job(str(archive), str(tmp_path), 1, "onnx", 150, profile=True)
    for threads in (1, 3):
        worker = ShardWorker(job, (tiny_bundle / "model.onnx").read_bytes(), threads=threads)
        worker.start()
        first = worker.run(Shard(f"a{threads}", ("NORMAL/plain.jpeg",)))
        second = worker.run(Shard(f"b{threads}", ("NORMAL/plain.jpeg",)))
        assert set(first.seconds) == set(STAGES) - {"list"}
        assert set(second.seconds) == set(STAGES) - {"list", "start"}


def test_a_worker_that_is_not_asked_tells_none(
    archive: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    """Without --profile a report is what it was."""
    worker = ShardWorker(
        Job(str(archive), str(tmp_path), 1, "onnx", 150), (tiny_bundle / "model.onnx").read_bytes()
    )
    worker.start()
    assert not worker.run(Shard("a", ("NORMAL/plain.jpeg",))).seconds


def run(archive: Path, out: Path, bundle: Path, *options: str) -> str:
    """Run the command in this process; return what it says on standard error."""
    command = ["run", str(archive), "--out", str(out), "--model", str(bundle), "--workers", "0"]
    result = CliRunner().invoke(main, [*command, *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stderr


def test_the_command_prints_and_writes_the_profile(
    archive: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    """`run --profile` has a line for each stage, and the summary file has the seconds."""
    file = tmp_path / "summary.json"
    said = run(
        archive, tmp_path / "r.parquet", tiny_bundle, "--profile", "--summary", str(file)
    ).splitlines()
    table = said[said.index(next(line for line in said if "ms/image" in line)) + 1 :]
    assert [line.split()[0] for line in table] == [*STAGES, "first", "large"]
    profile = json.loads(file.read_text())["profile"]
    assert set(profile["driver"]) == {"list", "wait", "write", "rest"}
    assert set(profile["workers"]) == set(STAGES) - {"list"}
    assert profile["images"] == json.loads(file.read_text())["counts"]["found"]


def test_the_driver_leaves_nothing_out(
    archive: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's seconds are those of its run: metrics count, and what has no name of its own."""
    clock = itertools.count()
    slow = {"write_metrics": 1000, "begin": 100}
    for name, seconds in slow.items():
        plain = getattr(pipeline, name)

        def later(*given: Any, plain: Any = plain, seconds: int = seconds) -> Any:
            collections.deque(itertools.islice(clock, seconds), maxlen=0)
            return plain(*given)

        monkeypatch.setattr(pipeline, name, later)
    monkeypatch.setattr(pipeline, "Stopwatch", lambda **_: Stopwatch(clock=clock.__next__))
    out = tmp_path / "r.parquet"
    found = batchscan.scan(archive, out, model=tiny_bundle, workers=0, profile=True).profile
    assert found is not None
    assert found.driver["write"] > slow["write_metrics"]
    assert found.driver["rest"] > slow["begin"]
    assert sum(found.driver.values()) == next(clock) - 1


def test_no_profile_unless_asked(archive: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """Without the option there is no table, and with it the record of the result is the same."""
    file = tmp_path / "summary.json"
    said = run(archive, tmp_path / "r.parquet", tiny_bundle, "--summary", str(file))
    assert "ms/image" not in said
    assert "profile" not in json.loads(file.read_text())
    assert "profile" not in read_footer(tmp_path / "r.parquet")["options"]


def test_a_profile_of_nothing_divides_by_nothing() -> None:
    """Where every image was finished before, the table is one of zeros."""
    profile = Profile({}, {"list": 0.25}, images=0, first_part=None, short_cut=False)
    text = render_profile(profile)
    assert "0.2" in text
    assert "first part" not in text


@pytest.mark.parametrize(("there", "words"), [(True, "with the"), (False, "without the")])
def test_a_profile_tells_of_the_short_cut(there: bool, words: str) -> None:
    """Whoever asks where the time goes learns whether JPEGs are decoded the quick way."""
    text = render_profile(Profile({}, {}, images=0, first_part=None, short_cut=there))
    assert f"large JPEGs: {words} compiled short cut" in text
