"""One shard, whole: read, decode, score and tabulate its images. No Ray in it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchscan.archive.local_file import FileState
from batchscan.archive.reading import file_state, read_image
from batchscan.errors import ImageFailure, NotScored
from batchscan.image.decode import DecodedImage, decode
from batchscan.image.flags import flags_of
from batchscan.image.perceptual_hash import hashes_as_text, perceptual_hashes
from batchscan.model.reference import Reference
from batchscan.model.scorer import Scorer
from batchscan.privacy.pseudonym import path_column
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.run.stopwatch import OFF, Stopwatch
from batchscan.schema import (
    FAILED,
    OUT_OF_DISTRIBUTION,
    SCORED,
    SKIPPED,
    TWO_CLASSES,
    ScoreRow,
    score_table,
)

_LARGEST_SIDE = (1 << 31) - 1  # The columns `width` and `height` are int32.

Map = Callable[[Callable[[str], "Sample"], Iterable[str]], Iterator["Sample"]]


@dataclass(frozen=True)
class Shard:
    """A few hundred images that travel together. `name` is unique within a run."""

    name: str
    images: tuple[str, ...]

    def halves(self) -> tuple[Shard, Shard]:
        """Split in two, to find the image that kills its worker."""
        middle = len(self.images) // 2
        return (
            Shard(self.name + "a", self.images[:middle]),
            Shard(self.name + "b", self.images[middle:]),
        )


@dataclass(frozen=True)
class Sample:
    """An image that is ready to be scored (`image` is there), or the row that says why not."""

    row: ScoreRow
    image: DecodedImage | None = None


def score_shard(
    root: str,
    shard: Shard,
    scorer: Scorer,
    map_images: Map = map,
    *,
    classes: Sequence[str] = TWO_CLASSES,
    rules: Rules = DEFAULT_RULES,
    reference: Reference | None = None,
    stopwatch: Stopwatch = OFF,
) -> pa.Table:
    """Score every image of a shard: one row each, in the schema of a part for these classes.

    Without a `reference`, or features to compare with it, there is no `ood_score`. `map_images` may
    read and decode in several threads (`ThreadPoolExecutor.map`).
    """
    size = scorer.input_size
    samples = list(
        map_images(lambda name: load_sample(root, name, size, rules, stopwatch), shard.images)
    )
    ready = [sample for sample in samples if sample.image is not None]
    rows = [sample.row for sample in samples if sample.image is None]
    if ready:
        images = [sample.image for sample in ready if sample.image is not None]
        pixels = np.stack([image.pixels for image in images])
        with stopwatch.stage("score"):
            scores, unlike = _measured(pixels, scorer, reference)
        with stopwatch.stage("hash"):
            hashes = hashes_as_text(perceptual_hashes(pixels))
        flags = flags_of(pixels, [(image.width, image.height) for image in images])
        columns = scores.tolist(), hashes, flags, unlike
        rows += [
            _scored(sample.row, *found) for sample, *found in zip(ready, *columns, strict=True)
        ]
    return score_table(rows, classes)


def _measured(
    pixels: NDArray[np.uint8], scorer: Scorer, reference: Reference | None
) -> tuple[NDArray[np.float32], list[float] | list[None]]:
    """Return scores, and for each image its `ood_score` if there is one."""
    if reference is None:
        return scorer.score(pixels), [None] * len(pixels)
    scores, features = scorer.score_with_features(pixels)
    if features is None:
        return scores, [None] * len(pixels)
    return scores, reference.out_of_distribution(features).tolist()


def load_sample(
    root: str, name: str, size: int, rules: Rules = DEFAULT_RULES, stopwatch: Stopwatch = OFF
) -> Sample:
    """Read and decode one image. Whatever is wrong with it ends up in its row."""
    state = digest = None
    try:
        with stopwatch.stage("read"):
            data, state = read_image(root, name, rules)
        with stopwatch.stage("hash"):
            digest = hashlib.sha256(data).hexdigest()
        with stopwatch.stage("decode"):
            image = decode(data, size, rules)
    except NotScored as problem:
        row = row_without_score(name, problem, state or file_state(root, name), rules)
        return Sample(replace(row, sha256=digest))
    row = ScoreRow(
        path=path_column(name, rules),
        status=SCORED,
        flags=image.flags,
        width=image.width,
        height=image.height,
        format=image.format,
        bytes=state.bytes,
        modified=state.modified,
        sha256=digest,
        attributes=image.attributes,
    )
    return Sample(row, image)


def row_without_score(
    name: str, problem: NotScored, state: FileState | None, rules: Rules = DEFAULT_RULES
) -> ScoreRow:
    """Make the row of an image that cannot or should not be scored."""
    failed = isinstance(problem, ImageFailure)
    return ScoreRow(
        path=path_column(name, rules),
        status=FAILED if failed else SKIPPED,
        failure=problem.category if failed else None,
        skip=None if failed else problem.category,
        error=problem.reason,
        width=_side(problem.width),
        height=_side(problem.height),
        format=problem.format,
        bytes=state.bytes if state else None,
        modified=state.modified if state else None,
        attributes=problem.attributes,
    )


def _side(pixels: int | None) -> int | None:
    """Leave out what the column cannot hold: a damaged header may claim any number."""
    return pixels if pixels is not None and 0 <= pixels <= _LARGEST_SIDE else None


def _scored(
    row: ScoreRow,
    score: float | list[float],
    phash: str,
    seen: tuple[str, ...],
    unlike: float | None,
) -> ScoreRow:
    values = tuple(score) if isinstance(score, list) else (score,)
    for value in values:
        if not math.isfinite(value):
            reason = f"the model gave {value} instead of a probability"
            return replace(row, status=FAILED, failure="not_finite", error=reason, flags=None)
    unlike = unlike if unlike is not None and math.isfinite(unlike) else None
    flags = (row.flags or ()) + seen + ((OUT_OF_DISTRIBUTION,) if (unlike or 0) > 1 else ())
    final = values if isinstance(score, list) else score
    return replace(row, score=final, flags=flags, phash=phash, ood_score=unlike)
