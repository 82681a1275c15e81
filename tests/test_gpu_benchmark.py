"""The benchmark for one GPU and its host, on the CPU provider: the same code, without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from batchscan.errors import WorkerError
from batchscan.run.worker import has_gpu
from benchmarks.crew import run_crew
from benchmarks.gpu import Setting, hire

ROOT = Path(__file__).parents[1]


def benchmark(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip


def test_every_figure_is_printed(tmp_path: Path, archive: Path) -> None:
    """One worker, then two, deal with each image; what is not known is called so."""
    out = tmp_path / "figures.json"
    few = ("--images", 40, "--repeats", 1, "--workers", 1, 2)
    done = benchmark(archive, "--provider", "cpu", *few, "--json", out)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert list(figures) == [
        "decoding alone",
        "end to end, 1 worker",
        "end to end, 2 workers",
        "network alone, 32 a batch",
        "network alone, 256 a batch",
    ]
    assert all(runs[0]["rate"] > 0 and runs[0]["cores"] > 0 for runs in figures.values())
    assert all(f"\n{name} " in done.stdout for name in figures)
    assert "\n40 images; medians of 1\n" in done.stdout
    assert "\nend to end, 2 workers / decoding alone: " in done.stdout
    if not has_gpu():
        assert done.stdout.count("unknown") == len(figures)


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_no_gpu() -> None:
    """Where there is no GPU, the benchmark does not measure the CPU in its place."""
    done = benchmark("--images", 8)
    assert done.returncode == 1
    assert done.stderr == (
        "benchmarks.gpu: error: expected a GPU, found none; use --provider cpu\n"
    )


def test_a_worker_that_cannot_start(tmp_path: Path) -> None:
    """A worker that cannot start ends the others with what it said, and leaves nobody waiting."""
    setting = Setting(str(tmp_path / "gone"), ("a.jpeg",), "cpu")
    with pytest.raises(WorkerError, match="does not see the folder"):
        run_crew(setting.shards(1, 2), 2, partial(hire, setting, str(tmp_path), 1))
