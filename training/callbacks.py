"""What happens around each epoch: progress, history, and the weights of the best one."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from training.interruption import signals_deferred
from training.progress import Steps, say

MONITOR = "val_loss"


def best_epoch(history: Sequence[dict[str, float]]) -> int | None:
    """Return the epoch with the lowest validation loss, the first of several; None without one."""
    usable = [row for row in history if math.isfinite(row[MONITOR])]
    return int(min(usable, key=lambda row: row[MONITOR])["epoch"]) if usable else None


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Collects a row for each finished epoch in `history`; keeps the best one's weights in a file.

    Keras' own ModelCheckpoint doesn't do: a signal in the middle of its writing leaves half a file,
    and after a loss that isn't a number it never finds a better one.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.weights = weights
        self.history: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Take the time."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add a row, and keep the weights if they are the best so far."""
        values = {name: float(value) for name, value in logs.items()}
        seconds = round(time.monotonic() - self._started, 3)
        with signals_deferred():
            self.history.append({"epoch": epoch + 1, **values, "seconds": seconds})
            if best_epoch(self.history) == epoch + 1:
                self.model.save_weights(self.weights, overwrite=True)


class Display(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows the steps of an epoch and its validation, then a line with its figures."""

    def __init__(self, epochs: int, steps: int, validation_steps: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._steps = steps
        self._validation_steps = validation_steps
        self._begun = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Show the steps of this epoch."""
        self._epoch_begun = time.monotonic()
        self._shown = Steps(f"epoch {epoch + 1}/{self._epochs}", self._steps, "batches")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Count a step."""
        self._shown.update()

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Show the steps of the validation."""
        self._shown.close()
        self._shown = Steps("validating", self._validation_steps, "batches")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Count a step."""
        self._shown.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Print the line of this epoch."""
        self._shown.close()
        now = time.monotonic()
        left = (now - self._begun) / (epoch + 1) * (self._epochs - epoch - 1)
        say(
            f"epoch {epoch + 1}/{self._epochs}: loss {logs['loss']:.4f}, "
            f"accuracy {logs['accuracy']:.4f}; validation loss {logs['val_loss']:.4f}, "
            f"accuracy {logs['val_accuracy']:.4f}, AUC {logs['val_auc']:.4f}; "
            f"{now - self._epoch_begun:.0f} s, about {left / 60:.1f} min left"
        )

    def close(self) -> None:
        """Take away the bar of an epoch that was interrupted."""
        if hasattr(self, "_shown"):
            self._shown.close()
