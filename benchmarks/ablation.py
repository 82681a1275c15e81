"""What each part of the training recipe brings, on images unlike those that were trained on.

    python -m benchmarks.ablation DATASET --out ablation.csv [--only NAME]... [--epochs N]

DATASET is the data set of Kermany, Zhang and Goldbaum (2018). Each variant is trained twice, on one
series of normal images with one kind of pneumonia, and each time measured on the other series with
the other kind, so that every image is of a group that the network has never seen:

    crossing   trained on              measured on
    A          IM, bacteria            NORMAL2-IM, virus
    B          NORMAL2-IM, virus       IM, bacteria

A fifth of the patients of the trained groups is held out; on it the threshold is chosen (Youden's
J). `epochs` are those before settling. `auc_held_out` is of these images, all other figures are of
the unseen groups: as they are, and after each change of the shift suite at full strength, on about
600 of them. A row is added to the CSV file as soon as it is known; several processes may add to one
file.
"""

from __future__ import annotations

import csv
import fcntl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.statistics import roc_auc
from batchscan.model.scorer import Scorer, open_scorer
from training.crossvalidation import score
from training.dataset import find_dataset
from training.device import Device, open_device
from training.groups import group_of
from training.network import COMPACT, FIVE_BLOCK, Architecture
from training.operating_point import choose_threshold
from training.prepare import PreparedData, prepare
from training.recipe import SHIFT, Recipe
from training.shift import SHIFTS, STRENGTHS, shifted
from training.shift_report import ShiftReport, shift_report

CROSSINGS = {
    "A": (("IM", "bacteria"), ("NORMAL2-IM", "virus")),
    "B": (("NORMAL2-IM", "virus"), ("IM", "bacteria")),
}
SHIFTED_IMAGES = 600


@dataclass(frozen=True)
class Row:
    """The figures of one variant and crossing."""

    variant: str
    crossing: str
    epochs: int
    auc_held_out: float
    auc: float
    sensitivity: float
    specificity: float
    shifted_auc_mean: float
    shifted_auc_worst: float
    shifted_sensitivity_worst: float
    shifted_specificity_worst: float
    worst_at: str


def variants() -> dict[str, tuple[Architecture, Recipe]]:
    """Return the recipe as it is, and with one part changed at a time.

    Where nothing settles, the main phase is longer by as many epochs.
    """

    def without(*names: str) -> Recipe:
        return replace(SHIFT, changes=tuple(name for name in SHIFT.changes if name not in names))

    levels = [name for name in SHIFT.changes if name not in ("move", "flip")]
    return {
        "full recipe": (COMPACT, SHIFT),
        "no grey-level changes": (COMPACT, without(*levels)),
        "no tone": (COMPACT, without("tone")),
        "no sharpness, coarseness": (COMPACT, without("sharpness", "coarseness")),
        "no noise, JPEG": (COMPACT, without("noise", "jpeg")),
        "no frame, patches": (COMPACT, without("frame", "patches")),
        "no flip": (COMPACT, without("flip")),
        "no standardisation": (replace(COMPACT, standardised=False), SHIFT),
        "no class balance": (COMPACT, replace(SHIFT, balanced=False)),
        "no label smoothing": (COMPACT, replace(SHIFT, label_smoothing=0.0)),
        "no weight decay": (COMPACT, replace(SHIFT, weight_decay=0.0)),
        "no weight averaging": (COMPACT, replace(SHIFT, averaging=0.0)),
        "no warm-up": (COMPACT, replace(SHIFT, warm_up=0.0)),
        "no settling": (COMPACT, replace(SHIFT, settling=0)),
        "176 pixels": (replace(COMPACT, input_size=176), SHIFT),
        "128 pixels": (replace(COMPACT, input_size=128), SHIFT),
        "five-block, the article's recipe": (FIVE_BLOCK, FIVE_BLOCK.recipe),
        "five-block, this recipe": (FIVE_BLOCK, SHIFT),
    }


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A CSV file.")
@click.option("--only", multiple=True, help="This variant (repeatable).  [default: all]")
@click.option("--epochs", type=int, default=10, show_default=True)
@click.option("--threads", type=int, help="Threads of TensorFlow.  [default: one per core]")
def main(dataset: Path, out: Path, only: tuple[str, ...], epochs: int, threads: int | None) -> None:
    """Train variants of the recipe on DATASET and add their figures to a CSV file."""
    device = open_device(verbose=False)
    if threads:
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    known = variants()
    for name in only or known:
        architecture, recipe = known[name]
        recipe = replace(recipe, epochs=epochs + SHIFT.settling - recipe.settling)
        with tempfile.TemporaryDirectory(prefix="batchscan-") as place:
            data = prepare(
                find_dataset(dataset),
                Path(place),
                size=architecture.input_size,
                threads=2,
                folds=5,
                seed=0,
            )
            for crossing in CROSSINGS:
                row = measure(name, crossing, architecture, recipe, data, device, Path(place))
                add_row(out, row)
                click.echo(row)


def measure(
    name: str,
    crossing: str,
    architecture: Architecture,
    recipe: Recipe,
    data: PreparedData,
    device: Device,
    place: Path,
) -> Row:
    """Train a variant on the seen groups of a crossing; return its figures."""
    import keras

    from training.batches import TrainingImages
    from training.export import to_onnx
    from training.fit import Training, fit

    keras.backend.clear_session()
    train, held_out, unseen = sides(crossing, data)
    images = TrainingImages(data.pixels, data.labels, 2, train, held_out)
    training = Training(f"{name}, {crossing}", architecture, recipe, seed=0)
    fitted = fit(training, images, device, place / crossing)
    scorer = open_scorer("onnx", to_onnx(fitted.model), input_size=architecture.input_size)
    known = score(scorer, data.pixels, held_out)
    threshold = choose_threshold(data.labels[held_out], known)
    report = robustness(scorer, data, unseen, threshold)
    scores = score(scorer, data.pixels, unseen)
    clean = shift_report(data.labels[unseen], {("none", ""): scores}, scores, threshold).clean
    return Row(
        name,
        crossing,
        recipe.epochs,
        round(roc_auc(data.labels[held_out] == 1, known) or 0, 4),
        *(round(clean[figure], 4) for figure in ("auc", "sensitivity", "specificity")),
        round(report.mean["auc"], 4),
        *(round(report.worst[figure], 4) for figure in ("auc", "sensitivity", "specificity")),
        "; ".join(f"{figure}: {where}" for figure, where in report.worst_at.items()),
    )


def sides(crossing: str, data: PreparedData) -> Iterator[NDArray[np.int64]]:
    """Yield the positions to train on, those held out of the same groups, and the unseen ones."""
    groups = np.array([group_of(Path(m.image.path).name) or "" for m in data.split.members])
    seen, unseen = (np.isin(groups, names) for names in CROSSINGS[crossing])
    yield np.flatnonzero(seen & (data.split.fold > 0))
    yield np.flatnonzero(seen & (data.split.fold == 0))
    yield np.flatnonzero(unseen & (data.split.fold >= 0))


def robustness(
    scorer: Scorer, data: PreparedData, unseen: NDArray[np.int64], threshold: float
) -> ShiftReport:
    """Return what full-strength shifts do to a part of the unseen images."""
    step = max(1, len(unseen) // SHIFTED_IMAGES)
    part = unseen[::step]
    images = data.pixels[part]
    scores = {
        (shift.name, STRENGTHS[-1]): scorer.score(shifted(images, shift, STRENGTHS[-1], threads=2))
        for shift in SHIFTS
    }
    return shift_report(data.labels[part], scores, scorer.score(images), threshold)


def add_row(path: Path, row: Row) -> None:
    """Append a row, with the names of the columns before the first."""
    with path.open("a", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow([field.name for field in fields(Row)])
        writer.writerow([getattr(row, field.name) for field in fields(Row)])


if __name__ == "__main__":
    main()
