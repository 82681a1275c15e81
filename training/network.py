"""The networks that can be trained, as Keras models.

`five-block` is the separable network of A. Sagar's article "Deep Learning for Detecting Pneumonia
from X-ray Images" (2019), built as in the code published with it: same-padded convolutions, and
batch normalisation once in each separable block, after the block's second convolution (and its
ReLU) and before its pooling; none in the first block. Two things differ from that code: the input
is one grey channel instead of the same grey three times, and grey levels are divided by 255 inside
the network, so that training and every runtime feed it the same bytes.

`compact` is our own, a small residual network (He et al. 2016). Inside it, each image is brought to
mean 0 and deviation 1, so that no scan can forget to, and exposure counts little. Each convolution
is followed by its normalisation at once, so that the two can be folded into one. It ends in global
average pooling and a single dense layer: the class activation map follows from the last feature map
and that layer's weights alone, and few weights depend on where in the image something is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchscan.errors import UsageError
from training.recipe import ARTICLE, SHIFT, Recipe


@dataclass(frozen=True)
class FiveBlock:
    """The shape of a network like the article's: the first block ordinary, the others separable.

    `input_size` is in pixels. `blocks` has one (filters, dropout rate) for each pair of
    convolutions, `dense` one (units, dropout rate) for each hidden dense layer.
    """

    name: str
    input_size: int
    blocks: tuple[tuple[int, float], ...]
    dense: tuple[tuple[int, float], ...]
    recipe: Recipe = ARTICLE

    def layers(self, images: Any, dtype: str, normalization: Any) -> Any:
        """Return the last hidden tensor (B, units) for grey levels (B, S, S, 1)."""
        from keras import layers

        tensor = layers.Rescaling(1 / 255, dtype=dtype)(images)
        for number, (filters, dropout) in enumerate(self.blocks):
            convolution = layers.SeparableConv2D if number else layers.Conv2D
            for _ in range(2):
                tensor = convolution(filters, 3, padding="same", activation="relu", dtype=dtype)(
                    tensor
                )
            if number:
                tensor = normalization(dtype=dtype)(tensor)
            tensor = layers.MaxPooling2D(2, dtype=dtype)(tensor)
            if dropout:
                tensor = layers.Dropout(dropout, dtype=dtype)(tensor)
        tensor = layers.Flatten(dtype=dtype)(tensor)
        for units, dropout in self.dense:
            tensor = layers.Dense(units, activation="relu", dtype=dtype)(tensor)
            tensor = layers.Dropout(dropout, dtype=dtype)(tensor)
        return tensor


@dataclass(frozen=True)
class Compact:
    """The shape of a small residual network.

    `input_size` is in pixels. `stem` is the number of filters of the first convolution, 5 x 5 in
    steps of 2. `stages` has one (filters, convolutions, step of the first) for each stage of 3 x 3
    convolutions; all but the first of a stage are residual. `dropout` is that before the last
    layer. `standardised` brings each image to mean 0 and deviation 1.
    """

    name: str
    input_size: int
    stem: int
    stages: tuple[tuple[int, int, int], ...]
    dropout: float
    standardised: bool = True
    recipe: Recipe = SHIFT

    def layers(self, images: Any, dtype: str, normalization: Any) -> Any:
        """Return the pooled features (B, filters) for grey levels (B, S, S, 1)."""
        from keras import layers

        tensor = layers.Rescaling(1 / 255, dtype="float32")(images)
        if self.standardised:
            tensor = layers.LayerNormalization(  # of each whole image, without weights
                axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3, dtype="float32"
            )(tensor)
        tensor = layers.Activation("relu", dtype=dtype)(
            _normalised(tensor, self.stem, 5, 2, dtype, normalization)
        )
        for filters, convolutions, step in self.stages:
            tensor = layers.Activation("relu", dtype=dtype)(
                _normalised(tensor, filters, 3, step, dtype, normalization)
            )
            for _ in range(convolutions - 1):
                change = _normalised(tensor, filters, 3, 1, dtype, normalization)
                tensor = layers.Add(dtype=dtype)([tensor, change])
                tensor = layers.Activation("relu", dtype=dtype)(tensor)
        tensor = layers.GlobalAveragePooling2D(dtype="float32")(tensor)
        return layers.Dropout(self.dropout, dtype="float32")(tensor)


Architecture = FiveBlock | Compact

FIVE_BLOCK = FiveBlock(
    name="five-block",
    input_size=150,
    blocks=((16, 0.0), (32, 0.0), (64, 0.0), (128, 0.2), (256, 0.2)),
    dense=((512, 0.7), (128, 0.5), (64, 0.3)),
)

COMPACT = Compact(
    name="compact",
    input_size=144,
    stem=16,
    stages=((32, 1, 2), (64, 2, 2), (96, 2, 2), (128, 2, 1)),
    dropout=0.3,
)

NETWORKS: dict[str, Architecture] = {COMPACT.name: COMPACT, FIVE_BLOCK.name: FIVE_BLOCK}


def find_architecture(name: str) -> Architecture:
    """Return the architecture of this name. Raises `UsageError` when there is none."""
    if name not in NETWORKS:
        raise UsageError(f"expected a network of {', '.join(NETWORKS)}; found {name!r}")
    return NETWORKS[name]


def build(
    architecture: Architecture,
    classes: int = 2,
    dtype: str = "float32",
    normalization: Any = None,
) -> Any:
    """Return an untrained Keras model: grey levels (B, S, S, 1), 0 to 255 -> float32 (B, 1).

    The output is the probability of the second of two classes; with more classes, the
    probabilities of all, (B, classes). `dtype` is a Keras dtype policy, such as `mixed_float16`,
    for the hidden layers: a sigmoid in float16 is 1 from 0.9998 up. `normalization` is a layer
    class to be used for batch normalisation instead of Keras' own.
    """
    import keras
    from keras import layers

    size = architecture.input_size
    inputs = keras.Input((size, size, 1), name="images")
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    last = layers.Dense(units, activation=activation, dtype="float32", name="score")
    hidden = architecture.layers(inputs, dtype, normalization or layers.BatchNormalization)
    return keras.Model(inputs, last(hidden), name=architecture.name.replace("-", "_"))


def _normalised(
    tensor: Any, filters: int, size: int, step: int, dtype: str, normalization: Any
) -> Any:
    """Return the batch-normalised convolution of a tensor, to be activated."""
    from keras import layers

    convolution = layers.Conv2D(
        filters,
        size,
        strides=step,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        dtype=dtype,
    )
    return normalization(momentum=0.9, dtype=dtype)(convolution(tensor))
