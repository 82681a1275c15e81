"""The options of a training run, checked once."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from batchscan.errors import UsageError
from training.network import COMPACT, Architecture, find_architecture
from training.recipe import Recipe

SINGLE_SPLIT = 5  # parts of the patients, one of which validates, when there is one fold only


@dataclass(frozen=True)
class TrainingOptions:
    """What the user chose. Raises `UsageError` for values that cannot work.

    Where they are None, `epochs`, `batch_size` and `folds` are those of the network's recipe,
    `workers` (threads that decode) one per core, and `name` (the bundle's) is made of the network
    and the data. `target_sensitivity` sets the operating point of a model with two classes; None
    means Youden's. `leave_out_groups` trains once more without each group that file names tell.
    """

    network: str = COMPACT.name
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0
    folds: int | None = None
    target_sensitivity: float | None = 0.95
    leave_out_groups: bool = False
    workers: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        find_architecture(self.network)
        for name, lowest, highest in (
            ("epochs", 1, 100_000),
            ("batch_size", 1, 4096),
            ("seed", 0, 2**31 - 2),
            ("folds", 1, 100),
            ("workers", 1, 256),
        ):
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                raise UsageError(f"expected {name} from {lowest} to {highest}, found {value}")
        if self.name is not None and not (0 < len(self.name) <= 100 and self.name.isprintable()):
            raise UsageError(
                f"expected a name of 1 to 100 printable characters, found {self.name!r}"
            )
        if self.target_sensitivity is not None and not 0 < self.target_sensitivity < 1:
            raise UsageError(
                "expected target_sensitivity between 0 and 1, such as 0.95; "
                f"found {self.target_sensitivity}"
            )
        if self.recipe.keep == "best" and self.recipe.folds > 1:
            raise UsageError(
                f"expected folds 1 for {self.network}, whose best epoch is chosen on the images "
                f"that validate; found {self.folds}"
            )
        if self.recipe.keep == "best" and self.leave_out_groups:
            raise UsageError(
                f"leave_out_groups needs a network that keeps its last epoch; {self.network} keeps "
                "its best one, which the left-out group would choose"
            )

    @property
    def architecture(self) -> Architecture:
        """The network that was chosen by name."""
        return find_architecture(self.network)

    @property
    def recipe(self) -> Recipe:
        """The network's recipe, with what the user chose otherwise."""
        usual = self.architecture.recipe
        return replace(
            usual,
            epochs=self.epochs or usual.epochs,
            batch_size=self.batch_size or usual.batch_size,
            folds=self.folds or usual.folds,
        )

    @property
    def parts(self) -> int:
        """Into how many parts the patients are divided."""
        return self.recipe.folds if self.recipe.folds > 1 else SINGLE_SPLIT

    @property
    def threads(self) -> int:
        """How many threads decode and score."""
        return self.workers or len(os.sched_getaffinity(0))
