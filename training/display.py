"""How the epochs of a training show themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras

from training.progress import Steps, say


class Display(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows the steps of an epoch and of its validation, then a line with its figures."""

    def __init__(self, name: str, epochs: int, steps: int, validation_steps: int) -> None:
        super().__init__()
        self._name = name
        self._epochs = epochs
        self._steps = steps
        self._validation_steps = validation_steps
        self._finished_here = 0

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Take the time."""
        self._begun = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Show the steps of this epoch."""
        self._epoch_begun = time.monotonic()
        self._shown = Steps(
            f"{self._name}: epoch {epoch + 1}/{self._epochs}", self._steps, "batches"
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Count a step."""
        self._shown.update()

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Show the steps of the validation."""
        self._shown.close()
        self._shown = Steps(f"{self._name}: validating", self._validation_steps, "batches")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Count a step."""
        self._shown.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Print the line of this epoch."""
        self._shown.close()
        self._finished_here += 1
        now = time.monotonic()
        left = (now - self._begun) / self._finished_here * (self._epochs - epoch - 1)
        say(
            f"{self._name}: epoch {epoch + 1}/{self._epochs}: {_figures(logs)}; "
            f"{now - self._epoch_begun:.0f} s, about {left / 60:.1f} min left"
        )

    def close(self) -> None:
        """Take away the bar of an epoch that was interrupted."""
        if hasattr(self, "_shown"):
            self._shown.close()


def _figures(logs: Mapping[str, float]) -> str:
    text = f"loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.4f}"
    if "val_loss" not in logs:
        return text
    text += f"; validation loss {logs['val_loss']:.4f}, accuracy {logs['val_accuracy']:.4f}"
    return f"{text}, AUC {logs['val_auc']:.4f}" if "val_auc" in logs else text
