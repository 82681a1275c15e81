"""Are the scores of a peer ours? A fast wrong answer does not count.

Compared are log odds, ln(p / (1 - p)), within the scores 0.0001 and 0.9999: most scores are near 0
or 1, those of drawn X-rays all near 1, where other pixels would hardly show in the scores.
"""

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
    """How far log odds may be from ours: on average, and in 99 of 100 images."""

    mean: float
    most: float

    def __str__(self) -> str:
        return f"log odds on average within {self.mean:g}, 99 of 100 within {self.most:g}"


SAME_PIXELS = Tolerance(mean=0.001, most=0.01)
"""For what decodes as batchscan does: only the network's rounding may differ."""

OTHER_PIXELS = Tolerance(mean=0.08, most=0.3)
"""For what decodes whole images and reduces them by itself: grey levels differ by 0.4 on average.
Measured on real X-rays and drawn ones: sound peers up to 0.05 and 0.17; pixels skipped in place of
averaged 0.16 and 0.48 or more; grey levels at half their value 0.09 or more on average."""

_EDGE = 1e-4


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
    inner = np.clip(pairs, _EDGE, 1 - _EDGE)
    apart = np.abs(np.diff(np.log(inner / (1 - inner))))
    mean, most = float(apart.mean()), float(np.quantile(apart, 0.99))
    problem = None
    if mean > tolerance.mean or most > tolerance.most:
        problem = f"other scores than ours: log odds differ by {mean:.2g}, 99% within {most:.2g}"
    distance = np.abs(np.diff(pairs))
    return Comparison(problem, float(distance.mean()), float(distance.max()))


def _relative(path: str, archive: Path) -> str:
    if path.startswith("file:"):
        path = unquote(urlsplit(path).path)
    if not path.startswith("/"):
        return path
    try:
        return Path(path).relative_to(archive).as_posix()
    except ValueError:
        raise ValueError(f"{path} is not in the archive") from None
