"""How a network is trained: the numbers that are chosen once for each network, by measurement."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Everything about a training but its data, its network and its seed.

    `folds` is how many parts of the patients validate in turn. With 1, a fifth of the patients
    validates and the rest trains the network that is kept; with more, the kept network is trained
    on all.

    `keep` is `best`: the weights after the epoch with the lowest validation loss, at a learning
    rate that falls when the loss doesn't; or `last`: those at the end of a schedule, which begins
    with a linear rise over the share `warm_up` of all steps and falls as a cosine to zero.

    `averaging` is the momentum of an exponential moving average of the weights, 0 for none;
    `weight_decay` that of AdamW (Loshchilov and Hutter 2019), not applied to biases and to
    normalisation; `label_smoothing` the share of the label given to the other classes (Szegedy et
    al. 2016). `balanced` weighs the images so that each class has the same sum of weights.
    `changes` names the random changes of `training.augmentation`. For `settling` more epochs, at
    `settling_rate` on a schedule of its own, images stay where they are (no "move"): every moved
    image is interpolated, and a network that has only seen such finds untouched ones odd (Touvron
    et al., "Fixing the train-test resolution discrepancy", 2019, settle likewise).
    """

    epochs: int
    batch_size: int
    folds: int
    keep: str
    learning_rate: float
    warm_up: float
    averaging: float
    weight_decay: float
    label_smoothing: float
    balanced: bool
    changes: tuple[str, ...]
    settling: int = 0
    settling_rate: float = 0.0

    def for_card(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return {**asdict(self), "changes": list(self.changes)}


ARTICLE = Recipe(
    epochs=10,
    batch_size=32,
    folds=1,
    keep="best",
    learning_rate=1e-3,
    warm_up=0.0,
    averaging=0.0,
    weight_decay=0.0,
    label_smoothing=0.0,
    balanced=False,
    changes=("nudge", "exposure"),
)
"""The article's: Adam, plain cross-entropy, mild augmentation, the best epoch."""

SHIFT = Recipe(
    epochs=24,
    batch_size=64,
    folds=5,
    keep="last",
    learning_rate=2e-3,
    warm_up=0.1,
    averaging=0.99,
    weight_decay=0.02,
    label_smoothing=0.05,
    balanced=True,
    changes=(
        "move",
        "flip",
        "tone",
        "sharpness",
        "coarseness",
        "noise",
        "jpeg",
        "frame",
        "patches",
    ),
    settling=3,
    settling_rate=5e-4,
)
"""Ours, for images from elsewhere; docs/training.md tells what each part brings."""
