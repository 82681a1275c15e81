"""Measuring a bundle again, on a folder of labelled images, as a scan would score them.

Everything happens in this process: images are listed, decoded by a few threads and scored by ONNX
Runtime, some at a time. What is held of each image is its score, its class, and a line of the data
set's fingerprint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa

from batchscan.archive.labelled_folder import FolderNotes, check_labelled_folder, labelled_images
from batchscan.errors import NoImagesFound, TooManyFailures, UsageError
from batchscan.labels.lookup import folder_labels
from batchscan.metrics.measure import MetricsReport, measure
from batchscan.metrics.outcomes import predictions
from batchscan.model.bundle import Bundle
from batchscan.model.scorer import BATCH, Scorer, open_scorer
from batchscan.model.training_overlap import Overlap, OverlapFinder
from batchscan.model.verdict import Comparison, compare
from batchscan.run.observer import Progress, ShardReport
from batchscan.run.provenance import load_matching_bundle
from batchscan.run.shard import Shard, score_shard
from batchscan.signals import check_signals

AT_A_TIME = 4 * BATCH
MOST_THREADS = 16


@dataclass(frozen=True)
class ModelCheck:
    """What came out of measuring a bundle again.

    `failed` has path and reason of each labelled image without a score: those are counted in
    `report`, and part of no figure.
    """

    bundle: Bundle
    dataset: Path
    report: MetricsReport
    comparison: Comparison
    overlap: Overlap
    failed: tuple[tuple[str, str], ...]
    notes: FolderNotes


@dataclass
class _Seen:
    """What is remembered of the images that were scored, beside their outcomes."""

    finder: OverlapFinder
    failed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, table: pa.Table, labels: pa.Array) -> int:
        """Take scored images; returns how many have no score."""
        columns = [table[name].to_pylist() for name in ("path", "error", "sha256")]
        before = len(self.failed)
        for path, error, digest, label in zip(*columns, labels.to_pylist(), strict=True):
            self.finder.add(path, label, digest)
            if error is not None:
                self.failed.append((path, error))
        return len(self.failed) - before


def check_model(folder: Path | None, dataset: Path, progress: Progress | None = None) -> ModelCheck:
    """Measure the bundle in `folder` (None: the one included) on the labelled folder `dataset`.

    Raises `BundleError` for the bundle, `UsageError` for a folder that has no labelled image or
    holds others' folders, `NoImagesFound` where there is no image at all, and `TooManyFailures`
    where none of the labelled images can be scored.
    """
    bundle = load_matching_bundle(folder)
    check_labelled_folder(dataset, bundle.classes)
    seen, notes = _Seen(OverlapFinder(bundle)), FolderNotes()
    images = labelled_images(dataset, bundle.classes, notes)
    progress = progress or Progress()
    try:
        batches = _scored(images, dataset, bundle, seen, progress)
        model = {"name": bundle.name, "digest": bundle.digest, "classes": bundle.classes}
        report = measure(batches, {"model": model, "threshold": bundle.threshold})
    finally:
        progress.close()
    _require_scored(dataset, bundle, report, seen, notes)
    comparison = compare(report, bundle.card)
    overlap, failed = seen.finder.overlap(), tuple(seen.failed)
    return ModelCheck(bundle, dataset, report, comparison, overlap, failed, notes)


def _scored(
    images: Iterator[str], root: Path, bundle: Bundle, seen: _Seen, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """Yield rows of images with the columns that figures need: score, prediction, label."""
    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
    scorer = _open(bundle, threads)
    own_name = root.resolve().name
    with ThreadPoolExecutor(threads) as pool:
        while some := tuple(islice(images, AT_A_TIME)):
            table = score_shard(
                os.fspath(root), Shard("", some), scorer, pool.map, classes=bundle.classes
            )
            labels = folder_labels(table["path"], bundle.classes, own_name)
            progress.shard_done(ShardReport(len(some), seen.add(table, labels)))
            progress.tick()
            check_signals()
            table = table.append_column("label", labels)
            predicted = predictions(table, bundle.classes, bundle.threshold)
            yield from table.append_column("prediction", predicted).combine_chunks().to_batches()


def _open(bundle: Bundle, threads: int) -> Scorer:
    return open_scorer(
        "onnx",
        bundle.model_bytes("onnx"),
        input_size=bundle.input_size,
        class_count=len(bundle.classes),
        threads=threads,
    )


def _require_scored(
    dataset: Path, bundle: Bundle, report: MetricsReport, seen: _Seen, notes: FolderNotes
) -> None:
    """Refuse to report on nothing."""
    if not report.images:
        if notes.unlabelled:
            raise UsageError(
                f"{dataset}: expected images in folders named {' or '.join(bundle.classes)}, found "
                f"{notes.unlabelled:,} images outside of such folders; sort them into folders"
            )
        raise NoImagesFound(
            f"{dataset}: expected images in folders named "
            f"{' or '.join(bundle.classes)}, found none; check the path"
        )
    if len(seen.failed) == report.images:
        path, reason = seen.failed[0]
        raise TooManyFailures(
            f"{dataset}: none of {report.images:,} labelled images can be scored; the first is "
            f"{path}: {reason}"
        )
