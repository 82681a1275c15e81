"""training.network, training.augmentation and training.export: what is trained and written."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from batchscan.bundle import load_bundle
from batchscan.card import MODEL_FILES
from batchscan.errors import BatchscanError, BundleError, UsageError
from batchscan.image import decode
from batchscan.model import open_scorer
from training.device import open_device
from training.network import FIVE_BLOCK, Architecture, build, find_architecture

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

import keras  # noqa: E402
from keras import layers  # noqa: E402

from training import augmentation, export  # noqa: E402

# Keras saves TensorFlow's variables in a way that NumPy is going to change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TINY = Architecture("tiny", 24, ((4, 0.0), (6, 0.1), (8, 0.1)), ((8, 0.2),))


def randomised(model: Any, seed: int = 0) -> Any:
    """Give every weight, the moving statistics included, a value that lets signals through."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        name = weight.path.rsplit("/", 1)[1]
        if name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif name == "depthwise_kernel":
            weight.assign(random.normal(0, np.prod(weight.shape[:2]) ** -0.5, weight.shape))
        elif name.endswith("kernel"):
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(random.normal(0, (2 / fan_in) ** 0.5, weight.shape))
        else:
            weight.assign(random.uniform(-0.1, 0.1, weight.shape))
    return model


def images(count: int, size: int) -> np.ndarray:
    """Grey levels of all kinds: dark, bright, and noisy ones, uint8 (count, size, size)."""
    random = np.random.default_rng(0)
    levels = random.uniform(0, 255, (count, 1, 1))
    noise = random.normal(0, 40, (count, size, size))
    return np.clip(levels + noise, 0, 255).astype(np.uint8)


def test_article_network() -> None:
    """The default network is the article's, layer by layer, with its 2,314,049 parameters."""
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


def test_unknown_network() -> None:
    """A network that doesn't exist is refused with the names of those that do."""
    with pytest.raises(UsageError, match="expected a network of five-block; found 'resnet'"):
        find_architecture("resnet")


def test_mixed_precision_keeps_the_score_exact() -> None:
    """With float16 inside, weights and score stay float32."""
    model = build(TINY, "mixed_float16")
    assert model.layers[2].compute_dtype == "float16"
    assert model.layers[-1].compute_dtype == "float32"
    assert all(weight.dtype == "float32" for weight in model.weights)


def test_augmentation_only_while_training() -> None:
    """Outside training nothing changes; in training every image changes, and stays in range."""
    changes = augmentation.build(seed=1)
    given = images(6, 32)[..., np.newaxis].astype(np.float32)
    np.testing.assert_array_equal(changes(given, training=False), given)
    changed = np.asarray(changes(given, training=True))
    assert changed.shape == given.shape
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert all(np.abs(a - b).mean() > 0.5 for a, b in zip(changed, given, strict=True))


def test_augmentation_never_mirrors() -> None:
    """What lies left stays left, what lies at the top stays at the top."""
    marked = np.full((64, 48, 48, 1), 30, dtype=np.float32)
    marked[:, 8:20, 8:20] = 220
    changed = np.asarray(augmentation.build(seed=2)(marked, training=True))[..., 0]
    quadrants = [changed[:, :24, :24], changed[:, :24, 24:], changed[:, 24:, :24]]
    upper_left, upper_right, lower_left = (part.mean(axis=(1, 2)) for part in quadrants)
    assert np.all(upper_left > upper_right)
    assert np.all(upper_left > lower_left)


@pytest.mark.parametrize("architecture", [TINY, FIVE_BLOCK], ids=lambda a: a.name)
def test_onnx_computes_the_same(architecture: Architecture) -> None:
    """The exported graph has the contract's input and output, and Keras' scores within 1e-4."""
    model = randomised(build(architecture))
    content = export.to_onnx(model)
    graph = onnx.load_from_string(content).graph
    shape = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert [value.name for value in graph.input] == ["images"]
    assert shape == ["N", architecture.input_size, architecture.input_size]
    assert [value.name for value in graph.output] == ["score"]
    files = {"model.onnx": content, "model.keras": export.to_keras(model)}
    sample = images(40, architecture.input_size)
    difference = export.check_parity(files, sample, input_size=architecture.input_size, threads=1)
    assert difference <= 1e-4
    scores = open_scorer("onnx", content, input_size=architecture.input_size).score(sample)
    assert np.ptp(scores) > 0.01, "the scores must differ, or the test could not fail"


@pytest.mark.parametrize(
    "middle",
    [
        lambda: [layers.Conv2D(3, 3, strides=2, padding="same", use_bias=False)],
        lambda: [layers.Conv2D(3, (2, 5), dilation_rate=(2, 1), activation="tanh")],
        lambda: [layers.SeparableConv2D(5, 3, strides=2, depth_multiplier=2, padding="same")],
        lambda: [layers.MaxPooling2D(3, strides=2, padding="same")],
        lambda: [layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()],
        lambda: [layers.GlobalAveragePooling2D(keepdims=True), layers.SpatialDropout2D(0.5)],
        lambda: [layers.Rescaling(2.0, offset=-1.0), layers.BatchNormalization()],
    ],
)
def test_onnx_of_each_layer(middle: Callable[[], list[Any]]) -> None:
    """Strides, dilation, odd padding and the other layers that the exporter knows agree too."""
    inputs = keras.Input((17, 17, 1))
    tensor = layers.Rescaling(1 / 255)(inputs)
    for layer in [*middle(), layers.Flatten(), layers.Dense(1, activation="sigmoid")]:
        tensor = layer(tensor)
    model = randomised(keras.Model(inputs, tensor))
    files = {"model.onnx": export.to_onnx(model), "model.keras": export.to_keras(model)}
    sample = images(8, 17)
    assert export.check_parity(files, sample, input_size=17, threads=1) <= 1e-5
    scores = open_scorer("onnx", files["model.onnx"], input_size=17).score(sample)
    assert np.ptp(scores) > 0.01, "the scores must differ, or the test could not fail"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.UpSampling2D(), "UpSampling2D cannot be exported"),
        (layers.Conv2D(2, 3, activation="gelu"), "activation gelu cannot be exported"),
        (layers.Conv2D(2, 3, groups=2), "in groups"),
        (layers.BatchNormalization(scale=False), "only normalisation of channels"),
        (layers.Dense(3), "only dense layers on flat data"),
    ],
)
def test_onnx_refuses_what_it_does_not_know(layer: Any, message: str) -> None:
    """A layer that the exporter cannot write is an error, never a wrong network."""
    inputs = keras.Input((9, 9, 1))
    tensor = layers.Conv2D(4, 3)(inputs)
    with pytest.raises(BatchscanError, match=message):
        export.to_onnx(keras.Model(inputs, layers.Flatten()(layer(tensor))))


def test_disagreement_is_an_error() -> None:
    """Two files that score differently are refused, with the difference."""
    files = {
        "model.onnx": export.to_onnx(randomised(build(TINY), seed=1)),
        "model.keras": export.to_keras(randomised(build(TINY), seed=2)),
    }
    with pytest.raises(BatchscanError, match=r"within 0\.0001 on 8 images, found a difference"):
        export.check_parity(files, images(8, 24), input_size=24, threads=1)


def test_keras_file_holds_no_optimizer() -> None:
    """The Keras file has the weights alone: about 4 bytes for each parameter."""
    model = build(FIVE_BLOCK)
    content = export.to_keras(model)
    assert len(content) < 4.2 * model.count_params()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert b"optimizer" not in archive.read("config.json").lower()


def test_keras_file_cannot_run_code() -> None:
    """A Keras file with a lambda layer, which carries code, is refused, and doesn't run it."""
    inputs = keras.Input((8, 8, 1))
    model = keras.Sequential([inputs, layers.Flatten(), layers.Dense(1)])
    model.add(layers.Lambda(lambda x: x + 0))
    with pytest.raises(BundleError, match=r"model\.keras cannot be loaded in safe mode"):
        open_scorer("tensorflow", export.to_keras(model), input_size=8)


def test_default_bundle_agrees_on_real_images(real_images: Any) -> None:
    """Both files of the shipped bundle give the same scores for real X-rays, within 1e-4."""
    bundle = load_bundle()
    chosen = sorted(real_images.rglob("*.jpeg"))[::6]
    sample = np.stack([decode(path.read_bytes(), bundle.input_size).pixels for path in chosen])
    files = {name: bundle.model_bytes(runtime) for runtime, name in MODEL_FILES.items()}
    assert export.check_parity(files, sample, input_size=bundle.input_size, threads=1) <= 1e-4
