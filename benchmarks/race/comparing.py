"""Are the scores of a peer ours? A fast wrong answer does not count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

Scores = dict[str, float]
"""By path, relative to the archive, with `/` between its parts."""


@dataclass(frozen=True)
class Tolerance:
    """How far scores may be from ours: on average, and in 99 of 100 images."""

    mean: float
    most: float

    def __str__(self) -> str:
        return f"on average within {self.mean:g}, 99 of 100 within {self.most:g}"


SAME_PIXELS = Tolerance(mean=1e-5, most=1e-4)
"""For what decodes as batchscan does: only the network's rounding may differ."""

OTHER_PIXELS = Tolerance(mean=0.005, most=0.05)
"""For what decodes whole images and reduces them by itself: grey levels differ by 0.4 on average,
and by many at a few edges. The network read otherwise (wrong scale, wrong order of colours, pixels
skipped in place of averaged) differs by far more."""


@dataclass(frozen=True)
class Comparison:
    """A peer's scores beside ours; `problem` says in words why they do not count, or is None."""

    problem: str | None
    mean: float | None = None
    largest: float | None = None


def read_scores(out: Path, archive: Path) -> Scores:
    """Read the Parquet file or folder that a peer wrote.

    Raises `ValueError` where it is none, or holds a path twice or outside of the archive.
    """
    try:
        table = ds.dataset(out, format="parquet").to_table(columns=["path", "score"])
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise ValueError(f"no scores can be read from {out.name}: {error}") from error
    paths = [_relative(path, archive) for path in table["path"].to_pylist()]
    scores = dict(zip(paths, table["score"].to_pylist(), strict=True))
    if len(scores) < len(paths):
        raise ValueError(f"{len(paths) - len(scores)} images have more than one score")
    return scores


def compare(scores: Scores, ours: Scores, tolerance: Tolerance) -> Comparison:
    """Compare a peer's scores with ours: every image must be there, and be scored alike."""
    if scores.keys() != ours.keys():
        missing, surplus = len(ours.keys() - scores.keys()), len(scores.keys() - ours.keys())
        return Comparison(f"{missing} images without a score, {surplus} that are not in ours")
    pairs = np.array([(scores[path], ours[path]) for path in ours], dtype=np.float64)
    if not np.isfinite(pairs).all():
        return Comparison("some scores are no numbers")
    distance = np.abs(pairs[:, 0] - pairs[:, 1])
    mean, most = float(distance.mean()), float(np.quantile(distance, 0.99))
    problem = None
    if mean > tolerance.mean or most > tolerance.most:
        problem = f"other scores than ours: mean {mean:.2g}, 99% within {most:.2g}"
    return Comparison(problem, mean, float(distance.max()))


def _relative(path: str, archive: Path) -> str:
    if path.startswith("file:"):
        path = unquote(urlsplit(path).path)
    if not path.startswith("/"):
        return path
    try:
        return Path(path).relative_to(archive).as_posix()
    except ValueError:
        raise ValueError(f"{path} is not in the archive") from None
