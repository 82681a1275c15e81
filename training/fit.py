"""The training itself: batches from the cache, callbacks on the validation images, the best epoch.

Adam, binary cross-entropy. The classes are left as unbalanced as they are, as in the article: the
scores then reflect how common pneumonia is in the training data, and the threshold, which is chosen
afterwards, makes up for it.

The best epoch is the one with the lowest validation loss. Its weights are kept on disk and restored
at the end, also after an interruption. The learning rate falls to 0.3 of itself (the article's
factor) after two epochs without a better one, and five such epochs end the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from batchscan.errors import BatchscanError, Interrupted
from batchscan.signals import as_interrupted, forget_signals
from training import augmentation, network
from training.batches import Batches, TrainingImages
from training.callbacks import MONITOR, Checkpoint, Display, best_epoch
from training.device import Device
from training.options import TrainingOptions
from training.progress import say

SLOW_DOWN_AFTER = 2  # epochs without a better one
SLOW_DOWN_BY = 0.3
STOP_AFTER = 5
CTRL_C = 130  # exit code of a process that SIGINT ended


@dataclass(frozen=True)
class Fitted:
    """`model` is the network of the best epoch, in float32, without an optimizer.

    `history` has one row for each finished epoch. `exit_code` is 0, or that of the signal which
    ended the training early: 130 for Ctrl-C, 143 for SIGTERM.
    """

    model: Any
    history: tuple[dict[str, float], ...]
    best_epoch: int
    exit_code: int

    @property
    def interrupted(self) -> bool:
        """Tells whether a signal ended the training early."""
        return self.exit_code != 0


def fit(images: TrainingImages, device: Device, folder: Path, options: TrainingOptions) -> Fitted:
    """Train, and return the network of the best epoch. Its checkpoint goes into `folder`.

    The seed makes the first weights, the order of images, the augmentation and the dropout
    repeatable. The trained weights still differ in their last digits between runs, machines and
    versions, because sums are computed in parallel in no fixed order.

    Ctrl-C or a signal ends it early, and passes on when no epoch was finished by then. Raises
    `BatchscanError` when the loss isn't a number.
    """
    keras.utils.set_random_seed(options.seed)
    trainable = network.build(options.architecture, device.dtype)
    model = _compiled(_with_augmentation(trainable, options), device)
    checkpoint = Checkpoint(folder / "best.weights.h5")
    exit_code = _run(model, images, options, checkpoint)
    best = best_epoch(checkpoint.history)
    if best is None:
        raise BatchscanError(
            "expected a validation loss, found no number; the data may be degenerate"
        )
    model.load_weights(checkpoint.weights)
    network_kept = _in_float32(trainable, options.architecture)
    return Fitted(network_kept, tuple(checkpoint.history), best, exit_code)


def _run(
    model: Any, images: TrainingImages, options: TrainingOptions, checkpoint: Checkpoint
) -> int:
    """Train until the epochs are over, nothing gets better or a signal comes; see `exit_code`."""
    batches = Batches(images, images.train, options.batch_size, options.seed)
    validation = Batches(images, images.validation, options.batch_size)
    display = Display(options.epochs, len(batches), len(validation))
    try:
        with as_interrupted(lambda _number: None):  # not the end of the command: no last words
            model.fit(
                batches,
                validation_data=validation,
                epochs=options.epochs,
                shuffle=False,  # the batches shuffle themselves
                callbacks=[*_callbacks(), checkpoint, display],
                verbose=0,
            )
    except (KeyboardInterrupt, Interrupted) as stop:
        if not checkpoint.history:
            say("interrupted before the first epoch was finished: nothing is written")
            raise
        forget_signals()
        return stop.exit_code if isinstance(stop, Interrupted) else CTRL_C
    finally:
        display.close()
    return 0


def _compiled(model: Any, device: Device) -> Any:
    optimizer = keras.optimizers.Adam()
    if device.dtype == "mixed_float16":  # small gradients would vanish in float16
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss="binary_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
        jit_compile=False,  # compiled by XLA, the same training was 7 times slower on a CPU
    )
    return model


def _callbacks() -> list[Any]:
    watch = {"monitor": MONITOR, "mode": "min"}
    return [
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.ReduceLROnPlateau(factor=SLOW_DOWN_BY, patience=SLOW_DOWN_AFTER, **watch),
        keras.callbacks.EarlyStopping(patience=STOP_AFTER, **watch),
    ]


def _with_augmentation(trainable: Any, options: TrainingOptions) -> Any:
    size = options.architecture.input_size
    inputs = keras.Input((size, size, 1), dtype="uint8")
    return keras.Model(inputs, trainable(augmentation.build(options.seed)(inputs)))


def _in_float32(trainable: Any, architecture: network.Architecture) -> Any:
    """Return the same network with float32 computation, uncompiled, so without an optimizer."""
    plain = network.build(architecture)
    plain.set_weights(trainable.get_weights())
    return plain
