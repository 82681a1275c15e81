"""The installed command, in processes of its own: codes, messages, displays, bare environments."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import termios
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import (
    COMMAND,
    PATIENCE,
    environment,
    rows,
    run,
    sabotaged,
    without_modules,
    write_images,
)
from conftest import FAILED, SCORED, write_archive

import batchscan
from batchscan import errors

SUBCOMMANDS = (
    "run",
    "metrics",
    "report",
    "train",
    "model",
    "model show",
    "model check",
    "demo",
    "completion",
)
PLAIN_LINE = re.compile(r"batchscan: [\x20-\x7e]+")


class Shop:
    """A small archive and the words of a command that scans it without Ray."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.archive = folder / "archive"
        self.out = folder / "results.parquet"
        self.metrics = folder / "results.metrics.parquet"
        self.model = model
        self.words: list[str | Path] = [
            "run", self.archive, "--out", self.out, "--model", model, "--workers", "0",
        ]  # fmt: skip

    def scan(self, *more: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*self.words, *more)


@pytest.fixture
def shop(tmp_path: Path, tiny_bundle: Path) -> Shop:
    """Return a shop with the shared small archive: 8 images to score, 4 damaged."""
    write_archive(tmp_path / "archive")
    return Shop(tmp_path, tiny_bundle)


def one_error(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check that a command ended with this code and one line of error that has these words."""
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("batchscan: error: ")
    for word in words:
        assert word in line


# -------------------------------------------------------------------- help


@pytest.mark.parametrize("words", [[], *(name.split() for name in SUBCOMMANDS)])
def test_help(words: list[str]) -> None:
    """Every command explains itself, the main ones with examples that begin as they are typed."""
    for flag in ("--help", "-h"):
        done = run(*words, flag)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: batchscan")
    if words != ["demo"]:
        assert re.search(r"Examples:\n +(batchscan|eval)", done.stdout)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["model", "check", "--help"]])
def test_exit_codes_in_help(words: list[str]) -> None:
    """The help lists every exit code that the program's errors have."""
    kinds = [errors.BatchscanError, *all_subclasses(errors.BatchscanError)]
    codes = {kind.exit_code for kind in kinds} | {0, 130, 143}
    listed = re.findall(r"^ +(\d+) {2}", run(*words).stdout, re.MULTILINE)
    assert {int(code) for code in listed} == codes


def all_subclasses(kind: type) -> list[type]:
    return [each for child in kind.__subclasses__() for each in (child, *all_subclasses(child))]


def test_version() -> None:
    """--version says the version of the package, also through the installed script."""
    script = Path(sysconfig.get_path("scripts")) / "batchscan"
    for command in (COMMAND, [str(script)]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"batchscan, version {batchscan.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """Each shell gets a script; what it asks for, it gets: commands and options."""
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_BATCHSCAN_COMPLETE" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)
    asked = {
        "bash": {"COMP_WORDS": "batchscan run --thr", "COMP_CWORD": "2"},
        "zsh": {"COMP_WORDS": "batchscan run --thr", "COMP_CWORD": "2"},
        "fish": {"COMP_WORDS": "batchscan run --thr", "COMP_CWORD": "--thr"},
    }[shell]
    answer = run(env=environment(_BATCHSCAN_COMPLETE=f"{shell}_complete", **asked))
    assert "--threshold" in answer.stdout


# -------------------------------------------------------- codes and messages


def test_done(shop: Shop) -> None:
    """A finished scan is code 0: the summary on standard output, nothing on standard error."""
    done = shop.scan()
    assert done.returncode == 0
    assert done.stderr == ""
    assert f"12 images: {len(SCORED)} scored, {len(FAILED)} failed" in done.stdout
    assert "truncated 2" in done.stdout
    assert str(shop.out) in done.stdout
    assert str(shop.metrics) in done.stdout
    for figure in ("accuracy", "precision", "recall", "specificity", "f1", "auc"):
        assert re.search(figure, done.stdout, re.IGNORECASE)
    again = shop.scan()
    assert "0 scored in" in again.stdout
    assert "12 unchanged from earlier runs" in again.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run"], ["ARCHIVE"]),
        (["run", "/"], ["--out"]),
        (["run", "/nowhere", "--out", "r"], ["/nowhere", "found nothing"]),
        (["run", sys.executable, "--out", "r"], [sys.executable, "found a file"]),
        (["run", "/", "--out", "/nowhere/r"], ["/nowhere"]),
        (["run", "/", "--out", "/"], ["found a folder"]),
        (["run", "/", "--out", "r", "--threshold", "7"], ["--threshold 7", "0 to 1"]),
        (["run", "/", "--out", "r", "--threshold", "high"], ["--threshold", "high"]),
        (["run", "/", "--out", "r", "--max-failures", "few"], ["--max-failures few"]),
        (["run", "/", "--out", "r", "--workers", "-1"], ["--workers -1"]),
        (["run", "/", "--out", "r", "--shard-size", "0"], ["--shard-size 0"]),
        (["run", "/", "--out", "r", "--runtime", "abacus"], ["abacus", "onnx"]),
        (["run", "/", "--out", "r", "--model", "/nowhere"], ["/nowhere"]),
        (["run", "/", "--out", "r", "--colour"], ["--colour"]),
        (["run", "/", "--out", "r", "--workers", "0", "--address", "auto"], ["--address"]),
        (["scan", "/"], ["scan"]),
        (["metrics", "/nowhere.parquet"], ["/nowhere.parquet"]),
        (["metrics", sys.executable], [sys.executable]),
        (["completion", "tcsh"], ["tcsh", "bash"]),
        (["train", "/nowhere", "--out", "model"], ["/nowhere"]),
        (["model", "show", "/nowhere"], ["/nowhere", "found nothing"]),
        (["model", "check", "/nowhere"], ["--on"]),
        (["model", "check", "--on", "/nowhere"], ["/nowhere", "found nothing"]),
        (["model", "weigh"], ["weigh", "batchscan model --help"]),
    ],
)
def test_usage(tmp_path: Path, words: list[str], named: list[str]) -> None:
    """What can't be used is code 2 and one line that names it, without a traceback or a trace."""
    one_error(run(*words, cwd=tmp_path), 2, *named)
    assert not list(tmp_path.iterdir())


def test_verbose_has_the_traceback(shop: Shop) -> None:
    """--verbose adds the traceback to the line, and changes nothing about the code."""
    shop.out.write_text("dear diary")
    one_error(shop.scan(), 2, "no readable Parquet")
    verbose = shop.scan("--verbose")
    assert verbose.returncode == 2
    assert "Traceback" in verbose.stderr
    assert "no readable Parquet" in verbose.stderr.splitlines()[-1]
    assert shop.out.read_text() == "dear diary"


@pytest.mark.parametrize(("limit", "code"), [("4", 0), ("3", 3), ("34%", 0), ("33.3%", 3)])
def test_max_failures(shop: Shop, limit: str, code: int) -> None:
    """More failures than allowed are code 3, and the results are written all the same."""
    done = shop.scan("--max-failures", limit)
    assert done.returncode == code
    assert len(rows(shop.out)) == 12
    if code:
        one_error(done, 3, "4 of 12 images failed", limit, str(shop.out))
        assert "12 images: 8 scored, 4 failed" in done.stdout


def test_every_image_failed(shop: Shop) -> None:
    """Without a limit, code 3 means that not one image could be scored."""
    for name in SCORED:
        (shop.archive / name).unlink()
    one_error(shop.scan(), 3, "4 of 4 images failed")
    assert len(rows(shop.out)) == 4


def test_no_image(shop: Shop) -> None:
    """No image is code 4, whatever else is there; an earlier result stays as it is."""
    shop.scan()
    before = shop.out.read_bytes()
    one_error(shop.scan("--include", "*.dcm"), 4, str(shop.archive), "--include")
    shutil.rmtree(shop.archive)
    shop.archive.mkdir()
    (shop.archive / "notes.txt").write_text("moved")
    one_error(shop.scan(), 4, str(shop.archive), "1 files")
    assert shop.out.read_bytes() == before
    assert {entry.name for entry in shop.folder.iterdir()} == {
        "archive", "results.parquet", "results.metrics.parquet",
    }  # fmt: skip


def test_other_model(shop: Shop) -> None:
    """Another model is code 2 with a line that names --fresh; with --fresh it's code 0."""
    from tiny_bundle import write_tiny_bundle

    shop.scan()
    other = write_tiny_bundle(shop.folder / "other", seed=1).folder
    one_error(shop.scan("--model", other), 2, "another model", "--fresh")
    done = shop.scan("--model", other, "--fresh")
    assert done.returncode == 0
    assert "8 scored in" in done.stdout


def test_unexpected_errors(shop: Shop) -> None:
    """A bug is code 1 and one line that says how to see the traceback."""
    plant = shop.folder / "plant"
    plant.mkdir()
    (plant / "sitecustomize.py").write_text(
        "import sys\n"
        "def spoil(event, arguments):\n"
        "    if event == 'open' and 'results.parquet.work' in str(arguments[0]):\n"
        "        raise LookupError('something odd')\n"
        "sys.addaudithook(spoil)\n"
    )
    done = run(*shop.words, env=environment(PYTHONPATH=plant))
    one_error(done, 1, "LookupError", "something odd", "--verbose")


def test_reader_that_goes_away(shop: Shop) -> None:
    """A pipe that is closed early (`| head`) costs neither the result nor a traceback."""
    words = " ".join(f"'{word}'" for word in [*COMMAND, *shop.words])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{words} | true"], capture_output=True, text=True, timeout=PATIENCE,
        env=environment(), check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert len(rows(shop.out)) == 12


def test_output_that_leads_nowhere(shop: Shop) -> None:
    """An --out whose folder isn't there, be it behind a link, is code 2, not an endless wait."""
    shop.out.symlink_to("/nowhere/results.parquet")
    one_error(shop.scan(), 2, "/nowhere")
    one_error(shop.scan("--out", "/proc/results.parquet"), 2, "/proc")


def test_closed_streams(shop: Shop) -> None:
    """Started with closed standard streams, as some daemons do, a scan works all the same."""
    words = " ".join(f"'{word}'" for word in [*COMMAND, *shop.words])
    command = ["/bin/sh", "-c", f"{words} <&- >&- 2>&-"]
    done = subprocess.run(command, env=environment(), timeout=PATIENCE, check=False)
    assert done.returncode == 0
    assert len(rows(shop.out)) == 12


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
@pytest.mark.parametrize("form", ["text", "json"])
def test_log_on_a_full_disk(shop: Shop, form: str) -> None:
    """A log that cannot be written, or whose reader has gone, costs neither result nor code."""
    words = " ".join(f"'{word}'" for word in [*COMMAND, *shop.words, "--log-format", form])
    for ending in ("2>/dev/full", "2>&1 >/dev/null | true"):
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", f"{words} {ending}"],
            capture_output=True, timeout=PATIENCE, env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == 0
        assert len(rows(shop.out)) == 12
        shop.out.unlink()
    wrong = ["/bin/sh", "-c", f"{words} --no-such-option 2>/dev/full"]
    assert subprocess.run(wrong, timeout=PATIENCE, env=environment(), check=False).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_output_on_a_full_disk(shop: Shop) -> None:
    """Standard output that cannot be written is a line that says so; the result is there."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *shop.words], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=PATIENCE, env=environment(), check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("batchscan: error: standard output cannot be written (No space")
    assert len(done.stderr.splitlines()) == 1
    assert len(rows(shop.out)) == 12


def test_working_folder_removed(shop: Shop, tmp_path: Path) -> None:
    """Started in a folder that has been removed since, a command says so, with code 2."""
    words = " ".join(f"'{word}'" for word in [*COMMAND, *shop.words])
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/bash", "-c", f"rmdir '{gone}'; exec {words}"], cwd=gone, capture_output=True,
        text=True, timeout=PATIENCE, env=environment(), check=False,
    )  # fmt: skip
    one_error(done, 2, "working folder", "removed", "cd /")
    assert not shop.out.exists()


# ----------------------------------------------------------------- metrics


def figures(file: Path) -> list[dict[str, object]]:
    return pq.read_table(file).to_pylist()


def test_metrics_later(shop: Shop) -> None:
    """`batchscan metrics` gives the figures and the table that the run gave, to the bit."""
    during = shop.scan()
    before = figures(shop.metrics)
    shop.metrics.unlink()
    later = run("metrics", shop.out)
    assert later.returncode == 0, later.stderr
    assert figures(shop.metrics) == before
    table = later.stdout.split("\n  metrics ")[0].strip()
    assert table
    assert table in during.stdout
    footer = pq.read_schema(shop.metrics).metadata[b"batchscan"]
    assert json.loads(footer)["model"]["name"] == "tiny"


def test_metrics_with_labels_that_come_later(shop: Shop) -> None:
    """Labels given to `metrics` give what they would have given to `run`."""
    labels = shop.folder / "truth.csv"
    names = ["NORMAL", "PNEUMONIA", "PNEUMONIA", "NORMAL"]
    lines = [f"{path},{names[number % 4]}" for number, path in enumerate(sorted(SCORED))]
    labels.write_text("\n".join(["path,label", *lines]))
    shop.scan()
    result = shop.out.read_bytes()
    assert run("metrics", shop.out, "--labels", labels).returncode == 0
    later = figures(shop.metrics)
    assert shop.out.read_bytes() == result, "metrics do not touch the result"
    shop.scan("--labels", labels)
    assert figures(shop.metrics) == later


def test_metrics_without_labels(shop: Shop) -> None:
    """A result without any label has no metrics: one line says what is missing."""
    shutil.rmtree(shop.archive)
    write_images(shop.archive, "a.jpeg")
    shop.scan()
    assert not shop.metrics.exists()
    done = run("metrics", shop.out)
    one_error(done, 2, str(shop.out), "--labels")
    assert not shop.metrics.exists()


# ----------------------------------------------------------------- displays


def test_bar_on_a_terminal(shop: Shop) -> None:
    """On a terminal a bar moves: images, rate and failures; the summary goes elsewhere."""
    plant = shop.folder / "plant"
    env = sabotaged(plant) | {"TERM": "xterm"}
    write_images(shop.archive, "gated.jpeg")
    words = [*COMMAND, *map(str, shop.words), "--shard-size", "1"]
    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 100))
    scan = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=side, env=env, text=True)
    os.close(side)
    try:
        shown = read_until(terminal, r"\d+ images.*images/s.*, \d failed")
        (plant / "gate").touch()
        shown += read_until(terminal, None)
        summary, _ = scan.communicate(timeout=PATIENCE)
    finally:
        scan.kill()
        scan.wait()
        os.close(terminal)
    assert scan.returncode == 0
    assert "\r" in shown
    assert "13 images: 9 scored" in summary
    assert "13 images: 9 scored" not in shown


def read_until(terminal: int, pattern: str | None) -> str:
    """Read what a terminal shows until a pattern is there, or (None) until its other end closes."""
    shown = ""
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # Linux tells in this way that the other end has closed.
            break
        if pattern and re.search(pattern, shown, re.DOTALL):
            return shown
    assert pattern is None, f"expected {pattern}, found {shown!r}"
    return shown


def test_lines_without_a_terminal(shop: Shop) -> None:
    """Without a terminal there are plain lines from time to time, and no control character.

    The clock of this run is so fast that half a minute passes with each image.
    """
    plant = shop.folder / "plant"
    plant.mkdir()
    (plant / "sitecustomize.py").write_text(
        "import time\n_clock = time.monotonic\ntime.monotonic = lambda: _clock() * 1e6\n"
    )
    done = run(*shop.words, "--shard-size", "1", env=environment(PYTHONPATH=plant))
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert all(PLAIN_LINE.fullmatch(line) for line in lines), lines
    assert len(lines) > 3
    line = r"batchscan: 12 (of about 1\d )?images, 4 failed, [\d.]+ images/s.*"
    assert re.fullmatch(line, lines[-1])


# ------------------------------------------------------------------- places


BARE = {"PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_cron(shop: Shop, workers: str) -> None:
    """Without HOME, terminal, PATH or a folder of one's own it works, and logs plain text only."""
    done = run(*shop.words, "--workers", workers, env=BARE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.fullmatch(r"[\n\x20-\x7e]*", done.stdout)
    assert "12 images: 8 scored, 4 failed" in done.stdout
    assert len(rows(shop.out)) == 12


def test_odd_places(shop: Shop) -> None:
    """A home that is not there, and a TMPDIR too long for sockets (107 bytes), do not matter.

    Paths on the command line are relative to where it is called, for Ray's workers as well.
    """
    deep = shop.folder / ("a-long-name-" * 9)
    deep.mkdir()
    env = BARE | {"HOME": "/proc/nobody", "TMPDIR": str(deep)}
    words = ["run", "archive", "--out", "r.parquet", "--model", shop.model, "--workers", "1"]
    done = run(*words, env=env, cwd=shop.folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(rows(shop.folder / "r.parquet")) == 12
    assert not list(deep.iterdir())


def test_nothing_new_starts_nothing(shop: Shop) -> None:
    """A second run, with workers asked for, does not so much as import Ray."""
    shop.scan()
    env = without_modules(shop.folder / "plant", "ray")
    done = run(*shop.words, "--workers", "2", env=env)
    assert done.returncode == 0, done.stderr
    assert "0 scored in" in done.stdout


def test_chatter(shop: Shop) -> None:
    """What Ray and ONNX Runtime have to say is shown with --verbose, and else not at all."""
    quiet = shop.scan("--workers", "1")
    assert quiet.stderr == ""
    assert "ray" not in quiet.stdout.lower().replace("x-ray", "")
    loud = shop.scan("--workers", "1", "--fresh", "--verbose")
    assert loud.returncode == 0
    assert "local Ray" in loud.stderr


def test_no_cluster_there(shop: Shop) -> None:
    """An --address where nothing answers is code 2 and one line that names it."""
    words = [word for word in shop.words if word not in ("--workers", "0")]
    one_error(run(*words, "--address", "127.0.0.1:1"), 2, "127.0.0.1:1", "--address")
    assert not shop.out.exists()


def test_demo(tmp_path: Path) -> None:
    """`batchscan demo` draws an archive, scans it, and says where everything is."""
    for _ in range(2):
        done = run("demo", "--images", "12", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert re.search(r"\d+ images: 12 scored, 4 failed", done.stdout)
    (code,) = re.findall(r'python3 -c "(.*)"', done.stdout)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    assert {entry.name for entry in (tmp_path / "batchscan-demo").iterdir()} == {
        "archive", "results.parquet", "results.metrics.parquet",
    }  # fmt: skip
