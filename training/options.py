"""The options of a training run, checked once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from batchscan.errors import UsageError
from training.network import FIVE_BLOCK, Architecture, find_architecture


@dataclass(frozen=True)
class TrainingOptions:
    """What the user chose. Raises `UsageError` for values that cannot work.

    The fractions are of the training images of each class, for sides that the data set doesn't
    give; a test fraction of 0 makes no test side. `workers` threads decode; None is one per core.
    `name` is the bundle's; None makes one of the network and the data.
    """

    network: str = FIVE_BLOCK.name
    epochs: int = 10
    batch_size: int = 32
    seed: int = 0
    validation_fraction: float = 0.15
    test_fraction: float = 0.1
    workers: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        find_architecture(self.network)
        for name, lowest, highest in (
            ("epochs", 1, 100_000),
            ("batch_size", 1, 4096),
            ("seed", 0, 2**32 - 16),  # augmentation counts up from it; seeds are 32 bits
            ("workers", 1, 256),
        ):
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                raise UsageError(f"expected {name} from {lowest} to {highest}, found {value}")
        if self.name is not None and not (0 < len(self.name) <= 100 and self.name.isprintable()):
            raise UsageError(f"expected a name of 1 to 100 characters, found {self.name!r}")
        if not 0 < self.validation_fraction < 1:
            raise _no_fraction("validation_fraction above 0", self.validation_fraction)
        if not 0 <= self.test_fraction < 1 - self.validation_fraction:
            raise _no_fraction("test_fraction from 0, below 1 with validation", self.test_fraction)

    @property
    def architecture(self) -> Architecture:
        """The network that was chosen by name."""
        return find_architecture(self.network)

    @property
    def threads(self) -> int:
        """How many threads decode and score."""
        return self.workers or len(os.sched_getaffinity(0))


def _no_fraction(expected: str, found: float) -> UsageError:
    return UsageError(f"expected {expected}, found {found}")
