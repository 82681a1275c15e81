"""What a training leaves after each epoch, so that it can go on from there after a kill.

state.npz         the history, a row for each finished epoch, and every variable after the last:
                  weights, their moving averages, the optimizer's, the random generators'
best.weights.h5   the weights of the best epoch, where those are to be kept
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from batchscan.results.disk import replace_durably
from training.interruption import signals_deferred

MONITOR = "val_loss"


def best_epoch(history: Sequence[Mapping[str, float]]) -> int | None:
    """Return the epoch with the lowest validation loss, the first of several; None without one."""
    usable = [row for row in history if math.isfinite(row.get(MONITOR, math.nan))]
    return int(min(usable, key=lambda row: row[MONITOR])["epoch"]) if usable else None


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Collects `history` and keeps the state after each epoch in `folder`; restores it.

    Keras' BackupAndRestore doesn't do: it keeps neither the random generators nor the history.
    `others` are callbacks that count epochs without a better one; they are shown the restored
    history, since Keras has them begin anew.
    """

    def __init__(self, folder: Path, others: Sequence[Any], *, keep_best: bool) -> None:
        super().__init__()
        self.weights = folder / "best.weights.h5"
        self.history: list[dict[str, float]] = []
        self._folder = folder
        self._others = others
        self._keep_best = keep_best
        self._restored: list[Any] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Go on from the state that was read, if there was one."""
        for row in self.history:
            for other in self._others:
                other.on_epoch_end(int(row["epoch"]) - 1, row)
        if self._restored:
            for variable, value in zip(_variables(self.model), self._restored, strict=True):
                variable.assign(value)
            self._restored = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Take the time."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add a row; keep the state, and the weights if they are the best so far."""
        values = {name: float(value) for name, value in logs.items()}
        seconds = round(time.monotonic() - self._started, 3)
        with signals_deferred():
            self.history.append({"epoch": epoch + 1, **values, "seconds": seconds})
            if self._keep_best and best_epoch(self.history) == epoch + 1:
                partial = self._folder / "partial.weights.h5"
                self.model.save_weights(partial, overwrite=True)
                replace_durably(partial, self.weights)
            self._write()

    def _write(self) -> None:
        values = [np.asarray(variable) for variable in _variables(self.model)]
        history = np.frombuffer(json.dumps(self.history).encode(), dtype=np.uint8)
        partial = self._folder / "state.partial.npz"
        np.savez(partial, history, *values)
        replace_durably(partial, self._folder / "state.npz")

    def _read(self) -> None:
        path = self._folder / "state.npz"
        if path.exists():
            with np.load(path) as state:
                history, *self._restored = [state[name] for name in state.files]
            self.history = json.loads(history.tobytes())


def _variables(model: Any) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]
