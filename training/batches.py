"""Batches of decoded images, read from the cache when they are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

Batch = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class TrainingImages:
    """`pixels`: uint8 (N, S, S), may lie on disk; `labels`: uint8 (N,), 0 to `classes` - 1.

    `train` and `validation` are positions; there may be none to validate on.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    classes: int
    train: NDArray[np.int64]
    validation: NDArray[np.int64]

    def targets(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the network should say: (B, 1) for two classes, else one-hot (B, C)."""
        labels = self.labels[positions]
        if self.classes == 2:
            return labels[:, np.newaxis].astype(np.float32)
        return np.eye(self.classes, dtype=np.float32)[labels]

    def class_weights(self) -> NDArray[np.float32]:
        """Return a weight for each class: equal sums over the training images, 1 in the mean."""
        counts = np.bincount(self.labels[self.train], minlength=self.classes)
        return (len(self.train) / self.classes / np.maximum(counts, 1)).astype(np.float32)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of (pixels uint8 (B, S, S, 1), targets float32, weights float32 (B,)).

    With a seed, every epoch has an order of its own, which follows from the seed and the number of
    the epoch alone; the first is `epoch`.
    """

    def __init__(
        self,
        images: TrainingImages,
        positions: NDArray[np.int64],
        batch_size: int,
        *,
        balanced: bool = False,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__()
        self._images = images
        self._positions = positions
        self._batch_size = batch_size
        self._weights = (
            images.class_weights() if balanced else np.ones(images.classes, dtype=np.float32)
        )
        self._seed = seed
        self._epoch = epoch
        self._order = self._ordered()

    def __len__(self) -> int:
        return math.ceil(len(self._positions) / self._batch_size)

    def __getitem__(self, number: int) -> Batch:
        start = number * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        weights = self._weights[self._images.labels[chosen]]
        pixels = self._images.pixels[chosen][..., np.newaxis]
        return pixels, self._images.targets(chosen), weights

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._epoch += 1
        self._order = self._ordered()

    def _ordered(self) -> NDArray[np.int64]:
        if self._seed is None:
            return self._positions
        return np.random.default_rng([self._seed, self._epoch]).permutation(self._positions)
