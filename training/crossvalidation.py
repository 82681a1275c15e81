"""Every training of a run: one for each fold, one without each group, and the one that is kept.

Each leaves its finished network in a folder of its own, and is skipped when that is there.
So a run that was killed goes on, and several processes can share the work: a training depends on
nothing but the decoded images and its own folder.
"""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchscan.model.scorer import Scorer, open_scorer
from batchscan.results.disk import replace_durably
from training.device import Device, open_device
from training.groups import group_of
from training.options import TrainingOptions
from training.prepare import PreparedData
from training.progress import say

if TYPE_CHECKING:
    from training.fit import Fitted

FINAL = "final"
WITHOUT = "without-"
FINISHED, ONNX, KERAS, STATE = "finished.json", "network.onnx", "network.keras", "state.npz"
SCORED_AT_A_TIME = 1024  # 26 MB of pixels


@dataclass(frozen=True)
class Task:
    """One training: its folder's name, the positions it trains on, and those it validates on."""

    name: str
    train: NDArray[np.int64]
    validation: NDArray[np.int64]


@dataclass(frozen=True)
class Finished:
    """A finished training: the network as files, a row for each epoch, and the epoch it is of.

    `exit_code` is 0, or that of the signal which ended it early.
    """

    task: Task
    onnx: bytes
    keras: bytes
    history: tuple[dict[str, float], ...]
    kept_epoch: int
    exit_code: int


def fold_tasks(data: PreparedData, options: TrainingOptions) -> list[Task]:
    """Return the training of each fold; it validates on the images that the fold holds out."""
    return [
        Task(f"fold-{fold + 1}", *data.split.fold_indices(fold))
        for fold in range(options.recipe.folds)
    ]


def group_tasks(data: PreparedData) -> list[Task]:
    """Return a training without each group of a class that has several.

    Held out are all images of the group, and the first fold's images of the other class. A name
    that is in both classes is no group. There are no such trainings for more than two classes.
    """
    if len(data.classes) > 2:
        say("note: groups are left out with two classes only")
        return []
    train, held_out = data.split.fold_indices(0)
    groups = np.array([group_of(Path(m.image.path).name) or "" for m in data.split.members])
    tasks = []
    for label in range(len(data.classes)):
        inside = (data.labels == label) & (data.split.fold >= 0)
        elsewhere = set(groups[data.labels != label])
        names = sorted(set(groups[inside]) - elsewhere - {""})
        for name in names if len(names) > 1 else ():
            left_out = inside & (groups == name)
            others = held_out[data.labels[held_out] != label]
            validation = np.union1d(np.flatnonzero(left_out), others)
            tasks.append(Task(f"{WITHOUT}{name}", train[~left_out[train]], validation))
    return tasks


def final_task(data: PreparedData) -> Task:
    """Return the training on all images that may be trained on; none are left to validate."""
    return Task(FINAL, np.flatnonzero(data.split.fold >= 0), np.array([], dtype=np.int64))


def finish(
    task: Task, data: PreparedData, device: Device, place: Path, options: TrainingOptions
) -> Finished:
    """Return the outcome of a training, from its folder if it was finished there before."""
    folder = place / task.name
    if not (folder / FINISHED).exists():
        from training.export import to_keras, to_onnx

        fitted = fit_task(task, data, device, folder, options)
        (folder / ONNX).write_bytes(to_onnx(fitted.model))
        (folder / KERAS).write_bytes(to_keras(fitted.model))
        facts = {
            "history": fitted.history,
            "kept_epoch": fitted.kept_epoch,
            "exit_code": fitted.exit_code,
        }
        _write_last(folder / FINISHED, facts)
        (folder / STATE).unlink(missing_ok=True)
    facts = json.loads((folder / FINISHED).read_text())
    facts["history"] = tuple(facts["history"])
    return Finished(task, (folder / ONNX).read_bytes(), (folder / KERAS).read_bytes(), **facts)


def pack(
    task: Task, data: PreparedData, device: Device, place: Path, options: TrainingOptions
) -> bytes:
    """Return a training as a pickled call, to be run in another process on this machine.

    The decoded images stay where they are: another process maps the same file.
    """
    pixels = data.pixels
    assert isinstance(pixels, np.memmap)
    where = str(pixels.filename), pixels.shape
    light = replace(data, pixels=np.empty(0, np.uint8))
    return pickle.dumps(partial(_finish_elsewhere, task, light, where, device, place, options))


def _finish_elsewhere(
    task: Task,
    data: PreparedData,
    where: tuple[str, tuple[int, ...]],
    device: Device,
    place: Path,
    options: TrainingOptions,
) -> None:
    """Run a training; its outcome is in its folder then."""
    open_device(verbose=False)
    file, shape = where
    pixels = np.memmap(file, dtype=np.uint8, mode="r", shape=shape)
    finish(task, replace(data, pixels=pixels), device, place, options)


def fit_task(
    task: Task, data: PreparedData, device: Device, folder: Path, options: TrainingOptions
) -> Fitted:
    """Train; the state after each epoch goes into `folder`."""
    import keras

    from training.batches import TrainingImages
    from training.fit import Training, fit

    keras.backend.clear_session()
    say(f"{task.name}: training {options.network} on {len(task.train):,} images")
    only = options.recipe.folds == 1 and not task.name.startswith(WITHOUT)
    training = Training(
        task.name, options.architecture, options.recipe, options.seed, ends_early=only
    )
    images = TrainingImages(
        data.pixels, data.labels, len(data.classes), task.train, task.validation
    )
    return fit(training, images, device, folder)


def _write_last(path: Path, facts: dict[str, Any]) -> None:
    """Write what says that the folder is finished; the files beside it are on the disk before."""
    for other in (ONNX, KERAS):
        with (path.parent / other).open("rb") as file:
            os.fsync(file.fileno())
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(facts))
    replace_durably(partial, path)


def open_network(finished: Finished, options: TrainingOptions, classes: int) -> Scorer:
    """Return the finished network, ready to score."""
    return open_scorer(
        "onnx",
        finished.onnx,
        input_size=options.architecture.input_size,
        class_count=classes,
        threads=options.threads,
    )


def score(
    scorer: Scorer, pixels: NDArray[np.uint8], positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the scores (N,) or (N, C) of the images at these positions."""
    parts = range(0, len(positions), SCORED_AT_A_TIME)
    return np.concatenate(
        [scorer.score(pixels[positions[n : n + SCORED_AT_A_TIME]]) for n in parts]
    )
