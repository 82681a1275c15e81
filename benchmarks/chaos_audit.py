"""What a scan under chaos is judged by: its rows, and which images its workers opened, and when."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

Row = dict[str, object]

_HOOK = r"""
import os, sys, time
def _log(event, arguments):
    if event != "open" or not isinstance(arguments[0], str):
        return
    root = os.environ["CHAOS_ARCHIVE"]
    if arguments[0].startswith(root) and "default_worker" in sys.argv[0]:
        line = f"{time.time_ns()} {os.getpid()} {arguments[0][len(root) + 1:]}\n"
        log = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, line.encode())
        os.close(log)
sys.addaudithook(_log)
"""
"""Notes when which process opens which file of the archive, in Ray's workers."""


def watched(folder: Path, archive: Path) -> dict[str, str]:
    """Return the environment in which workers log what they open; `folder` is for that alone."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK)
    return {
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(":"),
        "CHAOS_ARCHIVE": str(archive.resolve()),
        "CHAOS_LOG": str(folder / "opened"),
    }


@dataclass(frozen=True)
class Verdict:
    """How a result differs from a calm run's, and what was read in vain. All numbers are images.

    `read_again` counts readings beyond the first, the price of what was in work at a kill;
    `finished_read_again` those of images whose rows were on disk when something was killed.
    """

    lost: int
    doubled: int
    differing: int
    read_again: int
    finished_read_again: int
    examples: tuple[str, ...] = field(repr=False)


class Audit:
    """Follows one scan: `note` comes before each kill, `verdict` at its end."""

    def __init__(self, out: Path, log: Path) -> None:
        self._work = out.with_name(out.name + ".work")
        self._out = out
        self._log = log
        self._known: set[str] = set()
        self._finished: dict[str, int] = {}
        log.unlink(missing_ok=True)

    @property
    def finished(self) -> int:
        """How many images had their rows on disk when `note` was called last."""
        return len(self._finished)

    def parts(self) -> int:
        """Return how many parts the scan has on disk."""
        return sum(1 for _ in self._work.glob("g*.parquet"))

    def note(self) -> None:
        """Remember which images are finished: none of them may be opened from now on."""
        for file in self._work.glob("g*.parquet"):
            if file.name not in self._known:
                paths = pq.read_table(file, columns=["path"])["path"].to_pylist()
                now = time.time_ns()
                for path in paths:
                    self._finished.setdefault(path, now)
                self._known.add(file.name)

    def verdict(self, calm: Path) -> Verdict:
        """Compare a finished scan with a calm one: each column of each row, scores to the bit."""
        expected, found = _rows(calm), _rows(self._out)
        counts = Counter(path for path, _ in found)
        by_path = dict(found)
        read_again, finished_read_again = self._readings()
        differing = {path for path, row in expected if by_path.get(path, row) != row}
        differing |= by_path.keys() - {path for path, _ in expected}
        return Verdict(
            lost=sum(path not in by_path for path, _ in expected),
            doubled=sum(count - 1 for count in counts.values()),
            differing=len(differing),
            read_again=read_again,
            finished_read_again=finished_read_again,
            examples=tuple(_difference(dict(expected), by_path, path) for path in differing)[:5],
        )

    def _readings(self) -> tuple[int, int]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        seen: dict[tuple[str, str], int] = {}
        for line in lines:
            moment, process, path = line.split(" ", 2)
            seen.setdefault((process, path), int(moment))
        late = sum(
            moment > self._finished[path]
            for (_, path), moment in seen.items()
            if path in self._finished
        )
        return len(seen) - len({path for _, path in seen}), late


def _rows(file: Path) -> list[tuple[str, Row]]:
    rows = pq.read_table(file).to_pylist()
    return [(row["path"], {name: _exact(value) for name, value in row.items()}) for row in rows]


def _difference(expected: dict[str, Row], found: dict[str, Row], path: str) -> str:
    """Say in which columns a row differs."""
    before, after = expected.get(path, {}), found[path]
    columns = [name for name in after if before.get(name) != after[name]]
    return f"{path}: " + ", ".join(f"{c} {before.get(c)} -> {after[c]}" for c in columns)


def _exact(value: object) -> object:
    return value.hex() if isinstance(value, float) else value
