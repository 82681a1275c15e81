"""One training: batches from the cache, a recipe, and the weights that the recipe keeps.

A recipe that keeps the best epoch learns at a rate that falls to 0.3 of itself (the article's
factor) after two epochs without a lower validation loss, and five such epochs end it. A recipe that
keeps the last one follows its schedule to the end and keeps the moving average of the weights; no
epoch is chosen, so the validation images stay unseen by every decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from batchscan.errors import BatchscanError, Interrupted
from batchscan.signals import as_interrupted, forget_signals
from training import network
from training.augmentation import Augmentation
from training.batches import Batches, TrainingImages
from training.checkpoint import MONITOR, Checkpoint, best_epoch
from training.device import Device
from training.display import Display
from training.network import Architecture
from training.normalization import FusedBatchNormalization
from training.progress import say
from training.recipe import Recipe

SLOW_DOWN_AFTER = 2  # epochs without a better one
SLOW_DOWN_BY = 0.3
STOP_AFTER = 5
CTRL_C = 130  # exit code of a process that SIGINT ended


@dataclass(frozen=True)
class Training:
    """What is to be trained: `name` is for people, `seed` for weights, order and augmentation.

    `ends_early` says that a signal ends the training with the best epoch so far, if the recipe
    keeps the best; else a signal is passed on, to be gone on from later.
    """

    name: str
    architecture: Architecture
    recipe: Recipe
    seed: int
    ends_early: bool = False


@dataclass(frozen=True)
class Fitted:
    """`model` is the trained network, in float32, without an optimizer.

    `history` has one row for each finished epoch, and `kept_epoch` says which one the weights are
    of. `exit_code` is 0, or that of the signal which ended the training early: 130 for Ctrl-C, 143
    for SIGTERM.
    """

    model: Any
    history: tuple[dict[str, float], ...]
    kept_epoch: int
    exit_code: int

    @property
    def interrupted(self) -> bool:
        """Tells whether a signal ended the training early."""
        return self.exit_code != 0


def fit(training: Training, images: TrainingImages, device: Device, folder: Path) -> Fitted:
    """Train, let it settle if the recipe says so, and return the network.

    The state after each epoch goes into `folder`. A state that is there already is gone on from:
    the result is the same as without the interruption. The same seed gives the same weights on the
    same machine with the same packages and number of threads; elsewhere sums are rounded in another
    order.

    In the first epoch, Ctrl-C or a signal is always passed on. Raises `BatchscanError` when the
    loss isn't a number.
    """
    fitted = _fit(training, images, device, folder)
    if not training.recipe.settling or fitted.interrupted:
        return fitted
    return settle(training, fitted, images, device, folder / "settling")


def settle(
    training: Training, fitted: Fitted, images: TrainingImages, device: Device, folder: Path
) -> Fitted:
    """Go on from a network with images that stay where they are; see `Recipe`."""
    recipe = training.recipe
    settling = replace(
        training,
        name=f"{training.name}, settling",
        recipe=replace(
            recipe,
            epochs=recipe.settling,
            learning_rate=recipe.settling_rate,
            changes=tuple(name for name in recipe.changes if name != "move"),
        ),
        seed=training.seed + 1,
    )
    settled = _fit(settling, images, device, folder, fitted.model.get_weights())
    done = len(fitted.history)
    later = ({**row, "epoch": row["epoch"] + done} for row in settled.history)
    return replace(settled, history=(*fitted.history, *later), kept_epoch=done + settled.kept_epoch)


def _fit(
    training: Training,
    images: TrainingImages,
    device: Device,
    folder: Path,
    weights: Sequence[Any] | None = None,
) -> Fitted:
    """Train once, from these weights or from random ones."""
    keras.utils.set_random_seed(training.seed)
    trainable = network.build(
        training.architecture, images.classes, device.dtype, FusedBatchNormalization
    )
    if weights is not None:
        trainable.set_weights(weights)
    recipe = training.recipe
    model = _with_augmentation(trainable, training)
    steps = math.ceil(len(images.train) / recipe.batch_size)
    if weights is None:
        recipe = replace(recipe, averaging=_momentum(recipe.averaging, steps * recipe.epochs))
    _compile(model, images.classes, recipe, device, steps)
    others = _callbacks(recipe)
    checkpoint = Checkpoint(folder, others, keep_best=recipe.keep == "best")
    ended = _has_ended(checkpoint.history, recipe)
    exit_code = 0 if ended else _run(model, training, images, checkpoint, others)
    kept = _keep(model, checkpoint, recipe)
    plain = _in_float32(trainable, training.architecture, images.classes)
    return Fitted(plain, tuple(checkpoint.history), kept, exit_code)


def _momentum(wanted: float, steps: int) -> float:
    """Return a momentum that averages over a tenth of the steps at most.

    On a small data set, a longer average would still hold much of the random weights.
    """
    return max(0.0, min(wanted, 1 - 10 / steps))


def _run(
    model: Any,
    training: Training,
    images: TrainingImages,
    checkpoint: Checkpoint,
    others: list[Any],
) -> int:
    """Train until the epochs are over, nothing gets better or a signal comes; see `exit_code`."""
    recipe, done = training.recipe, len(checkpoint.history)
    batches = Batches(
        images,
        images.train,
        recipe.batch_size,
        balanced=recipe.balanced,
        seed=training.seed,
        epoch=done,
    )
    validation = Batches(images, images.validation, recipe.batch_size)
    display = Display(training.name, recipe.epochs, len(batches), len(validation))
    try:
        with as_interrupted(lambda _number: None):  # the words follow below
            model.fit(
                batches,
                validation_data=validation if len(images.validation) else None,
                initial_epoch=done,
                epochs=recipe.epochs,
                shuffle=False,  # the batches shuffle themselves
                callbacks=[*others, checkpoint, display],
                verbose=0,
            )
    except (KeyboardInterrupt, Interrupted) as stop:
        if not (training.ends_early and recipe.keep == "best" and checkpoint.history):
            say(f"{training.name}: interrupted; run the same command again to go on")
            raise
        say(f"{training.name}: interrupted; its best epoch is kept")
        forget_signals()
        return stop.exit_code if isinstance(stop, Interrupted) else CTRL_C
    finally:
        display.close()
    return 0


def _has_ended(history: Sequence[Mapping[str, float]], recipe: Recipe) -> bool:
    """Tells of a training that is gone on from whether it had ended before its last epoch.

    Keras asks that after an epoch only, and would train one more.
    """
    if not history:
        return False
    if not math.isfinite(history[-1]["loss"]):
        return True
    return recipe.keep == "best" and len(history) - (best_epoch(history) or 0) >= STOP_AFTER


def _keep(model: Any, checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Give the model the weights to be kept; return their epoch."""
    best = best_epoch(checkpoint.history)
    numbers = [row["loss"] for row in checkpoint.history]
    if recipe.keep == "best":
        if best is None:
            raise _no_number("validation loss")
        model.load_weights(checkpoint.weights)
        return best
    if not numbers or numbers[-1] != numbers[-1]:
        raise _no_number("loss")
    if recipe.averaging:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return len(numbers)


def _no_number(what: str) -> BatchscanError:
    return BatchscanError(f"expected a {what}, found no number; the data may be degenerate")


def _compile(model: Any, classes: int, recipe: Recipe, device: Device, steps: int) -> None:
    """Choose optimizer, loss and metrics; an epoch has `steps` batches."""
    optimizer = _optimizer(recipe, steps * recipe.epochs)
    if device.dtype == "mixed_float16":  # small gradients would vanish in float16
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    loss = (
        keras.losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing)
        if classes == 2
        else keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    )
    model.compile(
        optimizer=optimizer,
        loss=loss,
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
        jit_compile=False,  # compiled by XLA, the same training was 7 times slower on a CPU
    )


def _optimizer(recipe: Recipe, steps: int) -> Any:
    rate: Any = recipe.learning_rate
    if recipe.keep == "last":
        rising = max(1, round(recipe.warm_up * steps))
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 100, max(1, steps - rising), warmup_target=rate, warmup_steps=rising
        )
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=recipe.weight_decay,
        use_ema=recipe.averaging > 0,
        ema_momentum=recipe.averaging,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _callbacks(recipe: Recipe) -> list[Any]:
    if recipe.keep == "last":
        return [keras.callbacks.TerminateOnNaN()]
    watch = {"monitor": MONITOR, "mode": "min"}
    return [
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.ReduceLROnPlateau(factor=SLOW_DOWN_BY, patience=SLOW_DOWN_AFTER, **watch),
        keras.callbacks.EarlyStopping(patience=STOP_AFTER, **watch),
    ]


def _with_augmentation(trainable: Any, training: Training) -> Any:
    size = training.architecture.input_size
    inputs = keras.Input((size, size, 1), dtype="uint8")
    changed = Augmentation(training.recipe.changes, training.seed)(inputs)
    return keras.Model(inputs, trainable(changed))


def _in_float32(trainable: Any, architecture: Architecture, classes: int) -> Any:
    """Return the same network with float32 computation, uncompiled, so without an optimizer."""
    plain = network.build(architecture, classes)
    plain.set_weights(trainable.get_weights())
    return plain
