"""The race (`benchmarks/race`): what it says of its contenders. None of them is needed here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscan.image.decode import decode
from batchscan.phantom import draw_archive
from benchmarks.race.archive import make_archive
from benchmarks.race.comparing import OTHER_PIXELS, SAME_PIXELS, compare, read_scores
from benchmarks.race.contenders import CONTENDERS, OURS, Contender
from benchmarks.race.process import run_program
from benchmarks.race.progress import PartWatcher, read_marks, steady_rate
from benchmarks.race.rounds import Course, Entry, Time, check_round
from benchmarks.race.table import as_json, as_markdown, as_text, rows_of
from benchmarks.race.task import Task, mark

OURS_SCORES = {f"0000/{n:08d}.jpeg": n / 200 for n in range(200)}


def _entry(name: str, seconds: list[float], *, problem: str | None = None) -> Entry:
    contender = next(each for each in CONTENDERS if each.name == name)
    times = [Time(each, start=each / 10, steady=1000 / each) for each in seconds]
    return Entry(contender, problem, peak_bytes=50_000_000, times=times)


def _write(out: Path, paths: list[str], scores: list[float]) -> None:
    out.mkdir(exist_ok=True)
    pq.write_table(pa.table({"path": paths, "score": pa.array(scores, pa.float32())}), out / "0.pq")


def test_equal_scores_count() -> None:
    """Scores that differ only by the network's rounding are ours."""
    nearly = {path: score + 1e-6 for path, score in OURS_SCORES.items()}
    assert compare(nearly, OURS_SCORES, SAME_PIXELS).problem is None


@pytest.mark.parametrize("tolerance", [SAME_PIXELS, OTHER_PIXELS])
def test_other_scores_do_not_count(tolerance: object) -> None:
    """A peer that scores otherwise is found out, also where that is 3 images in 100."""
    wrong = dict(OURS_SCORES)
    for path in list(wrong)[:6]:
        wrong[path] += 0.2
    found = compare(wrong, OURS_SCORES, tolerance)  # type: ignore[arg-type]
    assert found.problem is not None
    assert "other scores" in found.problem
    assert found.largest == pytest.approx(0.2)


def test_scores_near_one_are_told_apart() -> None:
    """Where all scores are near 1, a peer that says 1 of everything is found out."""
    ours = {path: 1 - 0.005 * score for path, score in OURS_SCORES.items()}
    constant = dict.fromkeys(ours, 1.0)
    assert compare(ours, ours, OTHER_PIXELS).problem is None
    assert compare(constant, ours, OTHER_PIXELS).problem is not None


@pytest.mark.parametrize("score", [float("nan"), None])
def test_scores_that_are_none_do_not_count(score: float | None) -> None:
    """A score that is no number is not taken for one that is near enough."""
    wrong = OURS_SCORES | {"0000/00000003.jpeg": score}
    assert compare(wrong, OURS_SCORES, OTHER_PIXELS).problem == "some scores are no numbers"


def test_missing_images_do_not_count() -> None:
    """Who leaves images out is faster, and does not count."""
    fewer = dict(list(OURS_SCORES.items())[1:])
    assert compare(fewer, OURS_SCORES, OTHER_PIXELS).problem == (
        "1 images without a score, 0 that are not in ours"
    )


def test_paths_of_all_spellings(tmp_path: Path) -> None:
    """Relative, absolute and `file:` paths of one archive are the same."""
    archive = tmp_path / "an archive"
    out = tmp_path / "out"
    paths = ["0/a.jpeg", str(archive / "0/b.jpeg"), (archive / "0/c.jpeg").as_uri()]
    _write(out, [*paths, f"file:{archive}/0/d.jpeg"], [0.0, 0.25, 0.5, 0.75])
    assert read_scores(out, archive) == {
        **{"0/a.jpeg": 0.0, "0/b.jpeg": 0.25},
        **{"0/c.jpeg": 0.5, "0/d.jpeg": 0.75},
    }


@pytest.mark.parametrize(
    ("paths", "message"),
    [(["0/a", "0/a"], "more than one score"), (["/elsewhere/a", "0/b"], "not in the archive")],
)
def test_unusable_scores(tmp_path: Path, paths: list[str], message: str) -> None:
    """An image that is scored twice, or is from elsewhere, is told."""
    _write(tmp_path / "out", paths, [0.0, 1.0])
    with pytest.raises(ValueError, match=message):
        read_scores(tmp_path / "out", tmp_path)


def test_no_scores_at_all(tmp_path: Path) -> None:
    """A peer that wrote nothing is told, and does not end the race."""
    with pytest.raises(ValueError, match="no scores can be read"):
        read_scores(tmp_path / "out", tmp_path)


def test_steady_rate_leaves_the_ends_out() -> None:
    """A slow start and a slow end do not change the rate; bursts of two workers do not, either."""
    bursts = [(10 + second + late, 50) for second in range(20) for late in (0.0, 0.001)]
    marks = [(0.0, 10), *bursts, (500.0, 10)]
    assert steady_rate(marks) == pytest.approx(100, rel=0.05)
    assert steady_rate(list(reversed(marks))) == steady_rate(marks)


@pytest.mark.parametrize("marks", [[], [(1.0, 5)], [(1.0, 5), (2.0, 5)]])
def test_steady_rate_of_too_few(marks: list[tuple[float, int]]) -> None:
    """Where there is too little to tell, there is no rate."""
    assert steady_rate(marks) is None


def test_marks_are_read_as_they_were_written(tmp_path: Path) -> None:
    """What a peer marks is what is read; one that marks nothing is read as such."""
    assert read_marks(tmp_path / "marks") == []
    mark(tmp_path / "marks", 64)
    mark(tmp_path / "marks", 8)
    assert [images for _, images in read_marks(tmp_path / "marks")] == [64, 8]


def test_parts_are_seen_once(tmp_path: Path) -> None:
    """Each part of batchscan counts once, however often one looks."""
    watcher = PartWatcher(tmp_path / "out.parquet")
    watcher.look()
    _write(tmp_path / "out.parquet.work", ["a", "b"], [0.0, 1.0])
    (tmp_path / "out.parquet.work" / "0.pq").rename(
        tmp_path / "out.parquet.work" / "g00001-a.parquet"
    )
    watcher.look()
    watcher.look()
    assert [images for _, images in watcher.marks] == [2]


def test_ratios_are_taken_within_rounds() -> None:
    """Ratios are medians over rounds: a machine that slows down for a round changes none."""
    ours, peer = rows_of(
        [_entry(OURS, [10.0, 30.0, 10.0]), _entry("tf_data_keras", [20.0, 60.0, 20.0])]
    )
    assert ours.whole == (10.0, 10.0, 30.0)
    assert peer.whole_ratio == pytest.approx(2)
    assert peer.steady_ratio == pytest.approx(2)


def test_a_wrong_answer_has_no_time() -> None:
    """A peer whose scores do not count has no figures in any form of the table, but a reason."""
    rows = rows_of(
        [_entry(OURS, [10.0]), _entry("tf_data_keras", [1.0], problem="other scores than ours")]
    )
    assert rows[1].whole is None
    assert rows[1].whole_ratio is None
    for table in (as_text(rows), as_markdown(rows)):
        assert "tf.data with Keras: other scores than ours" in table
        assert "fastest peer" not in table
    assert json.loads(json.dumps(as_json(rows)))[1]["problem"] == "other scores than ours"


def test_headlines_name_the_fastest_peer() -> None:
    """The fastest peers are systems of their own, no references; tuned ones are named apart."""
    rows = rows_of(
        [
            _entry(OURS, [10.0]),
            _entry("tf_data_keras", [20.0]),
            _entry("daft_class", [30.0]),
            _entry("torch_loader_tuned", [15.0]),
            _entry("plain_processes", [5.0]),
            _entry("decoding_by_pillow", [9.0]),
            _entry("decoding_alone", [8.0]),
        ]
    )
    text = as_text(rows)
    assert "as documented, tf.data with Keras, takes 2.00 times as long as batchscan." in text
    assert "tuned by us, PyTorch loader, takes 1.50 times as long as batchscan." in text
    assert "batchscan has 0.90 of the rate of decoding alone with Pillow" in text
    assert "batchscan has 0.80 of the rate of decoding alone with its own code" in text


def test_a_missing_peer_is_told(tmp_path: Path) -> None:
    """A peer that is not installed is reported as that, and nothing is run for it."""
    absent = Contender("absent", "Absent", modules=("no_such_module_here",))
    entries = [Entry(absent)]
    task = Task(tmp_path, tmp_path / "out", tmp_path, 144, tmp_path / "marks")
    (tmp_path / "log.txt").touch()
    check_round(entries, Course(task, images=1, limit=1.0))
    assert entries[0].problem == "not installed: no_such_module_here"


def test_a_hung_program_is_killed_with_its_tree(tmp_path: Path) -> None:
    """Who never ends is killed, with what it started in another session."""
    starts = (
        "import subprocess, sys, time\n"
        "lasting = [sys.executable, '-c', 'import time; time.sleep(10000)']\n"
        "child = subprocess.Popen(lasting, start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(10000)\n"
    )
    log = tmp_path / "log"
    ended = run_program([sys.executable, "-c", starts], log=log, limit=3.0, watch_memory=True)
    assert ended.hung
    assert ended.problem is not None
    assert ended.problem.startswith("hung")
    assert ended.peak_bytes is not None
    assert ended.peak_bytes > 1_000_000
    assert not psutil.pid_exists(int(log.read_text().split()[0]))


def test_orphans_of_a_program_are_killed(tmp_path: Path) -> None:
    """What a program leaves behind does not run on, and its exit code is told."""
    log = tmp_path / "log"
    leaves = "sleep 10000 & echo $!; exit 7"
    ended = run_program(["/bin/sh", "-c", leaves], log=log, limit=100.0, grace=0.1)
    assert ended.problem == "failed with exit code 7"
    assert not psutil.pid_exists(int(log.read_text()))


def test_an_archive_repeats_sound_jpegs(tmp_path: Path) -> None:
    """What is no JPEG, or damaged, is left out, and the rest repeated under new names."""
    draw_archive(tmp_path / "source", images=6)
    archive = make_archive(tmp_path / "source", tmp_path / "race", 7)
    files = sorted(archive.rglob("*"))
    images = [file for file in files if file.is_file()]
    assert [image.name for image in images] == [f"{number:08d}.jpeg" for number in range(7)]
    assert all(decode(image.read_bytes(), 64).format == "jpeg" for image in images)
