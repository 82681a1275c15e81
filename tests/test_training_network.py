"""training.network, training.normalization and training.device: what is trained, and on what."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_networks import TINY, TINY_FIVE_BLOCK

from batchscan.errors import UsageError
from training import export
from training.device import open_device
from training.network import COMPACT, FIVE_BLOCK, NETWORKS, Architecture, build, find_architecture

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

import keras  # noqa: E402
import tensorflow  # noqa: E402

from training.normalization import FusedBatchNormalization  # noqa: E402

# Keras saves TensorFlow's variables in a way that NumPy is going to change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_article_network() -> None:
    """`five-block` is the article's network, layer by layer, with its 2,314,049 parameters."""
    model = build(FIVE_BLOCK)
    short = {
        "Conv2D": "C", "SeparableConv2D": "S", "BatchNormalization": "B", "MaxPooling2D": "M",
        "Dropout": "d", "Flatten": "F", "Dense": "D", "Rescaling": "r", "InputLayer": "i",
    }  # fmt: skip
    sequence = "".join(short[type(layer).__name__] for layer in model.layers)
    assert sequence == "ir" + "CCM" + "SSBM" + "SSBM" + "SSBMd" + "SSBMd" + "F" + "DdDdDd" + "D"
    kind = {name: [x for x in model.layers if type(x).__name__ == name] for name in short}
    convolutions = kind["Conv2D"] + kind["SeparableConv2D"]
    assert [layer.filters for layer in convolutions] == [16, 16, 32, 32, 64, 64, 128, 128, 256, 256]
    assert all(layer.kernel_size == (3, 3) and layer.padding == "same" for layer in convolutions)
    assert all(layer.activation.__name__ == "relu" for layer in convolutions)
    assert [layer.rate for layer in kind["Dropout"]] == [0.2, 0.2, 0.7, 0.5, 0.3]
    assert [layer.units for layer in kind["Dense"]] == [512, 128, 64, 1]
    assert kind["Dense"][-1].activation.__name__ == "sigmoid"
    assert model.input_shape == (None, 150, 150, 1)
    assert model.count_params() == 2_314_049


def test_compact_network_is_small() -> None:
    """`compact` has at most 2 million parameters; its two files have less than 10 MB together."""
    model = build(COMPACT)
    assert model.count_params() <= 2_000_000
    assert len(export.to_onnx(model)) + len(export.to_keras(model)) < 10_000_000


@pytest.mark.parametrize("architecture", [TINY, TINY_FIVE_BLOCK], ids=lambda a: a.name)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_output_is_probabilities(architecture: Architecture, classes: int) -> None:
    """Two classes have one probability, more have one each, which sum up to 1."""
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1)).astype(np.float32)
    scores = build(architecture, classes).predict(images, verbose=0)
    assert scores.shape == (4, 1 if classes == 2 else classes)
    assert scores.dtype == np.float32
    assert np.all((scores >= 0) & (scores <= 1))
    if classes > 2:
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_unknown_network() -> None:
    """A network that doesn't exist is refused with the names of those that do."""
    with pytest.raises(UsageError, match="of compact, five-block; found 'resnet'"):
        find_architecture("resnet")
    assert [find_architecture(name) for name in NETWORKS] == [COMPACT, FIVE_BLOCK]


@pytest.mark.parametrize("architecture", [COMPACT, FIVE_BLOCK], ids=lambda a: a.name)
def test_mixed_precision_keeps_score_and_weights(architecture: Architecture) -> None:
    """With float16 inside, the weights and the score stay float32."""
    model = build(architecture, dtype="mixed_float16")
    convolutions = [layer for layer in model.layers if "Conv2D" in type(layer).__name__]
    assert {layer.compute_dtype for layer in convolutions} == {"float16"}
    assert model.layers[-1].compute_dtype == "float32"
    assert all(weight.dtype == "float32" for weight in model.weights if weight.trainable)


def test_fused_normalization_is_keras_own() -> None:
    """While training, the fast normalisation gives what Keras' own gives, and the same averages.

    Of the variance, it averages the unbiased estimate: n / (n - 1) of Keras', n places a channel.
    """
    random = np.random.default_rng(0)
    fused, usual = FusedBatchNormalization(momentum=0.9), keras.layers.BatchNormalization()
    usual.momentum = 0.9
    for layer in (fused, usual):
        layer.build((None, 5, 5, 3))
    weights = [random.uniform(0.5, 1.5, 3).astype(np.float32) for _ in usual.weights]
    for layer in (fused, usual):
        layer.set_weights(weights)
    for _ in range(3):
        images = random.normal(5, 2, (4, 5, 5, 3)).astype(np.float32)
        np.testing.assert_allclose(
            fused(images, training=True), usual(images, training=True), atol=1e-4
        )
    np.testing.assert_allclose(fused.moving_mean, usual.moving_mean, atol=1e-4)
    assert not np.allclose(fused.moving_mean, weights[2], atol=0.1), "nothing was averaged"
    old, places = weights[3] * 0.9**3, 4 * 5 * 5
    expected = old + (np.asarray(usual.moving_variance) - old) * places / (places - 1)
    np.testing.assert_allclose(fused.moving_variance, expected, atol=1e-4)
    np.testing.assert_allclose(fused(images), usual(images), rtol=0.01, atol=0.01)


def test_fused_normalization_learns_alike() -> None:
    """Its gradients are those of Keras' own."""
    images = np.random.default_rng(1).normal(1, 2, (4, 5, 5, 3)).astype(np.float32)
    found = []
    for layer in (FusedBatchNormalization(), keras.layers.BatchNormalization()):
        layer.build(images.shape)
        with tensorflow.GradientTape() as tape:
            given = tensorflow.convert_to_tensor(images)
            tape.watch(given)
            loss = tensorflow.reduce_sum(layer(given, training=True) ** 3)
        variables = [each.value for each in layer.trainable_variables]
        found.append(tape.gradient(loss, [given, *variables]))
    for fused, usual in zip(*found, strict=True):
        np.testing.assert_allclose(fused, usual, atol=2e-3)
        assert np.abs(usual).max() > 0.1, "nothing to learn from"


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((9, 0), "mixed_float16"), ((7, 0), "mixed_float16"), ((6, 1), "float32"), (None, "float32")],
)
def test_gpu_is_used_where_there_is_one(
    capability: tuple[int, int] | None, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU takes memory as it needs it, and float16 only where it has units for it."""
    growing = []
    details = {"device_name": "Some GPU"} | (
        {} if capability is None else {"compute_capability": capability}
    )
    config = tensorflow.config
    monkeypatch.setattr(config, "list_physical_devices", lambda _kind: ["gpu 0", "gpu 1"])
    monkeypatch.setattr(config.experimental, "get_device_details", lambda _gpu: details)
    monkeypatch.setattr(
        config.experimental, "set_memory_growth", lambda gpu, on: growing.append((gpu, on))
    )
    device = open_device(verbose=False)
    assert (device.name, device.dtype) == ("Some GPU", dtype)
    assert growing == [("gpu 0", True), ("gpu 1", True)]


def test_cpu_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TensorFlow sees no GPU, the CPU trains in float32."""
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda _kind: [])
    device = open_device(verbose=False)
    assert (device.name, device.dtype) == ("CPU", "float32")
