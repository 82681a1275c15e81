"""Batches of decoded images, read from the cache when they are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray


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
