"""The networks that can be trained, as Keras models.

`five-block` is the separable network of A. Sagar's article "Deep Learning for Detecting Pneumonia
from X-ray Images" (2019), built as in the code published with it: same-padded convolutions, and
batch normalisation once in each separable block, after the block's second convolution (and its
ReLU) and before its pooling; none in the first block. Two things differ from that code: the input
is one grey channel instead of the same grey three times, and grey levels are divided by 255 inside
the network, so that training and every runtime feed it the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchscan.errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """The shape of a network; the first block has ordinary convolutions, the others separable ones.

    `input_size` is in pixels. `blocks` has one (filters, dropout rate) for each pair of
    convolutions, `dense` one (units, dropout rate) for each hidden dense layer.
    """

    name: str
    input_size: int
    blocks: tuple[tuple[int, float], ...]
    dense: tuple[tuple[int, float], ...]


FIVE_BLOCK = Architecture(
    name="five-block",
    input_size=150,
    blocks=((16, 0.0), (32, 0.0), (64, 0.0), (128, 0.2), (256, 0.2)),
    dense=((512, 0.7), (128, 0.5), (64, 0.3)),
)

NETWORKS = {FIVE_BLOCK.name: FIVE_BLOCK}


def find_architecture(name: str) -> Architecture:
    """Return the architecture of this name. Raises `UsageError` when there is none."""
    if name not in NETWORKS:
        raise UsageError(f"expected a network of {', '.join(NETWORKS)}; found {name!r}")
    return NETWORKS[name]


def build(architecture: Architecture, dtype: str = "float32") -> Any:
    """Return an untrained Keras model: grey levels (B, S, S, 1), 0 to 255 -> float32 (B, 1).

    The output is the probability of the positive class. `dtype` is a Keras dtype policy, such as
    `mixed_float16`, for all layers but the last: a sigmoid in float16 is 1 from 0.9998 up.
    """
    import keras
    from keras import layers

    size = architecture.input_size
    inputs = keras.Input((size, size, 1), name="images")
    tensor = layers.Rescaling(1 / 255, dtype=dtype)(inputs)
    for number, (filters, dropout) in enumerate(architecture.blocks):
        convolution = layers.SeparableConv2D if number else layers.Conv2D
        for _ in range(2):
            tensor = convolution(filters, 3, padding="same", activation="relu", dtype=dtype)(tensor)
        if number:
            tensor = layers.BatchNormalization(dtype=dtype)(tensor)
        tensor = layers.MaxPooling2D(2, dtype=dtype)(tensor)
        if dropout:
            tensor = layers.Dropout(dropout, dtype=dtype)(tensor)
    tensor = layers.Flatten(dtype=dtype)(tensor)
    for units, dropout in architecture.dense:
        tensor = layers.Dense(units, activation="relu", dtype=dtype)(tensor)
        tensor = layers.Dropout(dropout, dtype=dtype)(tensor)
    score = layers.Dense(1, activation="sigmoid", dtype="float32", name="score")(tensor)
    return keras.Model(inputs, score, name=architecture.name.replace("-", "_"))
