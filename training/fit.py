"""The training itself: batches from the cache, callbacks on the validation images, the best epoch.

Adam, binary cross-entropy. The classes are left as unbalanced as they are, as in the article: the
scores then reflect how common pneumonia is in the training data, and the threshold, which is chosen
afterwards, makes up for it.

The best epoch is the one with the lowest validation loss. Its weights are kept on disk and restored
at the end, also after an interruption. The learning rate falls to 0.3 of itself (the article's
factor) after two epochs without a better one, and five such epochs end the training.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from batchscan.errors import BatchscanError, Interrupted
from training import augmentation, network
from training.device import Device
from training.options import TrainingOptions

MONITOR = "val_loss"
SLOW_DOWN_AFTER = 2  # epochs without a better one
SLOW_DOWN_BY = 0.3
STOP_AFTER = 5


@dataclass(frozen=True)
class Fitted:
    """`model` is the network of the best epoch, in float32, without an optimizer.

    `history` has one row for each finished epoch. `interrupted` tells of Ctrl-C or a signal.
    """

    model: Any
    history: tuple[dict[str, float], ...]
    best_epoch: int
    interrupted: bool


@dataclass(frozen=True)
class TrainingImages:
    """`pixels`: uint8 (N, S, S), may lie on disk; `labels`: (N,), 0 or 1; the rest: positions."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of (pixels uint8 (B, S, S, 1), labels float32 (B, 1)), read when they are needed.

    With a seed, every epoch has another order, the same in every run with this seed.
    """

    def __init__(
        self,
        images: TrainingImages,
        positions: NDArray[np.int64],
        batch_size: int,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self._images = images
        self._positions = positions
        self._batch_size = batch_size
        self._random = None if seed is None else np.random.default_rng(seed)
        self._order = positions
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self._positions) / self._batch_size)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        start = number * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        labels = self._images.labels[chosen].astype(np.float32)
        return self._images.pixels[chosen][..., np.newaxis], labels[:, np.newaxis]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        if self._random is not None:
            self._order = self._random.permutation(self._positions)


@dataclass
class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Prints a line for each epoch, a bar within it on a terminal, and collects the history."""

    epochs: int
    steps: int
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._epoch_started = time.monotonic()
        self._bar = tqdm(
            total=self.steps,
            desc=f"epoch {epoch + 1}/{self.epochs}",
            unit="batch",
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._bar.close()
        now = time.monotonic()
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        self.history.append({**row, "seconds": round(now - self._epoch_started, 3)})
        left = (now - self._started) / (epoch + 1) * (self.epochs - epoch - 1)
        print(
            f"epoch {epoch + 1}/{self.epochs}: loss {row['loss']:.4f}, "
            f"accuracy {row['accuracy']:.4f}; validation loss {row['val_loss']:.4f}, "
            f"accuracy {row['val_accuracy']:.4f}, AUC {row['val_auc']:.4f}; "
            f"{now - self._epoch_started:.0f} s, about {left / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )


def fit(images: TrainingImages, device: Device, folder: Path, options: TrainingOptions) -> Fitted:
    """Train, and return the network of the best epoch. Checkpoints go into `folder`.

    The seed makes the first weights, the order of images, the augmentation and the dropout
    repeatable. The trained weights still differ in their last digits between runs, machines and
    versions, because sums are computed in parallel in no fixed order.

    Ctrl-C or a signal ends it early. Raises `BatchscanError` when no epoch was finished by then, or
    when the loss isn't a number.
    """
    architecture, seed = options.architecture, options.seed
    keras.utils.set_random_seed(seed)
    trainable = network.build(architecture, device.dtype)
    model = _with_augmentation(trainable, architecture.input_size, seed)
    optimizer = keras.optimizers.Adam()
    if device.dtype == "mixed_float16":  # small gradients would vanish in float16
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
        jit_compile=False,  # compiled by XLA, the same training was 7 times slower on a CPU
    )
    best = folder / "best.weights.h5"
    batches = Batches(images, images.train, options.batch_size, seed)
    progress = _Progress(options.epochs, len(batches))
    interrupted = False
    try:
        model.fit(
            batches,
            validation_data=Batches(images, images.validation, options.batch_size),
            epochs=options.epochs,
            shuffle=False,  # the batches shuffle themselves
            callbacks=[*_callbacks(best), progress],
            verbose=0,
        )
    except (KeyboardInterrupt, Interrupted):
        interrupted = True
    if not best.exists():
        raise BatchscanError(
            "training was interrupted before its first epoch was finished; nothing is written"
            if interrupted
            else "expected a validation loss, found no number; the data may be degenerate"
        )
    model.load_weights(best)
    history = tuple(progress.history)
    return Fitted(_in_float32(trainable, architecture), history, _best(history), interrupted)


def _callbacks(best: Path) -> list[Any]:
    watch = {"monitor": MONITOR, "mode": "min"}
    return [
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.ModelCheckpoint(best, save_best_only=True, save_weights_only=True, **watch),
        keras.callbacks.ReduceLROnPlateau(factor=SLOW_DOWN_BY, patience=SLOW_DOWN_AFTER, **watch),
        keras.callbacks.EarlyStopping(patience=STOP_AFTER, **watch),
    ]


def _with_augmentation(trainable: Any, size: int, seed: int) -> Any:
    inputs = keras.Input((size, size, 1), dtype="uint8")
    return keras.Model(inputs, trainable(augmentation.build(seed)(inputs)))


def _in_float32(trainable: Any, architecture: network.Architecture) -> Any:
    """Return the same network with float32 computation, uncompiled, so without an optimizer."""
    plain = network.build(architecture)
    plain.set_weights(trainable.get_weights())
    return plain


def _best(history: tuple[dict[str, float], ...]) -> int:
    usable = (row for row in history if math.isfinite(row[MONITOR]))
    return int(min(usable, key=lambda row: row[MONITOR])["epoch"])
