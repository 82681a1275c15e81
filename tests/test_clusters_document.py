"""The commands of docs/clusters.md are commands that exist, with options that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment, run

from batchscan.cli import EXIT_CODES

DOCUMENT = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text()
LINES = "".join(re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)).splitlines()
OURS = [line.partition(">")[0] for line in LINES if line.startswith("batchscan ")]


def test_lines_begin_with_known_words() -> None:
    """Each command is one of ours, or of a program that the text is about."""
    known = {"batchscan", "sbatch", "kubectl", "RAY_API_SERVER_ADDRESS=http://HEAD:8265"}
    assert {line.split()[0] for line in LINES} == known
    done = subprocess.run(["bash", "-n"], input="\n".join(LINES), text=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("line", OURS)
def test_our_commands_parse(line: str, tmp_path: Path) -> None:
    """Definitions are made as they stand there; other commands have only options that exist."""
    words = shlex.split(line)[1:]
    more = [] if words[0] == "job" else ["--help"]
    done = run(*words, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_metrics_are_those_of_the_code() -> None:
    """The document names each metric, and no other."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n" + NAMES
    made = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment())
    named = set(re.findall(r"ray_(batchscan_\w+)", DOCUMENT))
    assert {name.removesuffix("_total") for name in named} == set(made.split())


NAMES = """
from unittest.mock import patch
made = []
class Kept:
    def __init__(self, name, description):
        made.append(name)
with patch("ray.util.metrics.Counter", Kept), patch("ray.util.metrics.Gauge", Kept):
    from jobs.meters import Meters
    Meters(None)
print(*made)
"""


def test_every_exit_code_of_a_run_is_in_the_table() -> None:
    """The table says for each exit code that a run can have what schedulers make of it."""
    codes = set(re.findall(r"^  (\d+)", EXIT_CODES, re.MULTILINE)) - {"6", "7"}
    assert codes >= {"0", "5"}
    for code in codes - {"130"}:
        assert re.search(rf"^\|[^|]*\b{code}\b", DOCUMENT, re.MULTILINE), code
