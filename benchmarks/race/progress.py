"""How a run went, from the moments at which images were done: start-up and steady rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Marks = list[tuple[float, int]]
"""Moments (seconds since 1970), and how many images were done at each."""

_WINDOW = (0.1, 0.9)


def read_marks(file: Path) -> Marks:
    """Read what `benchmarks.race.task.mark` wrote; nothing where there is no file."""
    if not file.exists():
        return []
    lines = [line.split() for line in file.read_text().splitlines()]
    return sorted((float(moment), int(images)) for moment, images in lines)


class PartWatcher:
    """Sees batchscan commit its parts, from outside: it is run as a user runs it, without marks."""

    def __init__(self, out: Path) -> None:
        self._folder = out.with_name(out.name + ".work")
        self._seen: set[Path] = set()
        self.marks: Marks = []

    def look(self) -> None:
        """Note the parts that are new. They appear whole; a part that is gone again is not one."""
        for part in sorted(set(self._folder.rglob("*.parquet")) - self._seen):
            try:
                moment, rows = part.stat().st_mtime, pq.read_metadata(part).num_rows
            except (OSError, pa.ArrowInvalid):
                continue
            self._seen.add(part)
            self.marks.append((moment, rows))


def steady_rate(marks: Sequence[tuple[float, int]]) -> float | None:
    """Return images per second between a tenth and nine tenths of all; None if too few marks.

    The slope of a straight line (least squares) through the images done so far: workers that
    commit at the same moment do not bend it, as they would the ratio of two points.
    """
    marks = sorted(marks)
    moments = np.array([moment for moment, _ in marks])
    done = np.cumsum([images for _, images in marks])
    if not len(done):
        return None
    inside = (done >= _WINDOW[0] * done[-1]) & (done <= _WINDOW[1] * done[-1])
    moments, done = moments[inside], done[inside]
    if len(done) < 3 or moments[-1] - moments[0] < 1e-3:
        return None
    return float(np.polyfit(moments - moments[0], done, 1)[0])
