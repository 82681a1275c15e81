"""training.export: the two model files of a bundle compute the same, or there is no bundle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_bundle import tiny_onnx
from tiny_networks import TINY, TINY_FIVE_BLOCK

from batchscan.errors import BatchscanError, BundleError
from batchscan.image.decode import decode
from batchscan.model.bundle import load_bundle
from batchscan.model.card import MODEL_FILES
from batchscan.model.scorer import open_scorer
from batchscan.phantom import draw_phantom
from training.device import open_device
from training.network import COMPACT, FIVE_BLOCK, Architecture, build

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

import keras  # noqa: E402
import onnxruntime  # noqa: E402
from keras import layers  # noqa: E402

from training import export  # noqa: E402

# Keras saves TensorFlow's variables in a way that NumPy is going to change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STANDARDISED = replace(TINY, name="standardised", standardised=True)


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
    """Grey levels of all kinds: smooth and noisy, dark and bright, uint8 (count, size, size)."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:size, 0:size] / size
    level, height, across, down, phase = random.uniform(0, 1, (5, count, 1, 1))
    waves = np.sin(20 * across * columns + 20 * down * rows + 6 * phase)
    noise = random.normal(0, 40, (count, size, size)) * random.uniform(0, 1, (count, 1, 1))
    return np.clip(255 * level + 100 * height * waves + noise, 0, 255).astype(np.uint8)


def outputs(content: bytes, sample: np.ndarray) -> dict[str, np.ndarray]:
    """Return what an ONNX file computes of images (B, S, S), by the name of the output."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": sample}), strict=True))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "architecture", [STANDARDISED, TINY_FIVE_BLOCK, COMPACT, FIVE_BLOCK], ids=lambda a: a.name
)
def test_onnx_computes_the_same(architecture: Architecture, classes: int) -> None:
    """The exported graph has the contract's input and output, and Keras' scores within 1e-4."""
    model = randomised(build(architecture, classes))
    content = export.to_onnx(model)
    graph = onnx.load_from_string(content).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    size, several = architecture.input_size, [] if classes == 2 else [classes]
    assert shapes.pop("images") == ["N", size, size]
    assert shapes.pop("score") == ["N", *several]
    assert shapes.pop("features") == ["N", model.layers[-1].input.shape[-1]]
    assert shapes.keys() <= {"activation"}
    files = {"model.onnx": content, "model.keras": export.to_keras(model)}
    sample = images(12, size)
    difference = export.check_parity(files, sample, input_size=size, class_count=classes, threads=1)
    assert difference <= 1e-4
    scores = outputs(content, sample)["score"]
    assert scores.shape == (12, *several)
    assert np.ptp(scores, axis=0).max() > 0.01, "the scores must differ, or the test cannot fail"


@pytest.mark.parametrize(
    ("classes", "shape"), [(2, (6, 9, 9)), (3, (6, 3, 9, 9))], ids=["two", "three"]
)
def test_activation_adds_up_to_the_score(classes: int, shape: tuple[int, ...]) -> None:
    """The second output says what each place adds: its mean is the logit of the score."""
    content = export.to_onnx(randomised(build(COMPACT, classes)))
    found = outputs(content, images(6, COMPACT.input_size))
    assert found["activation"].shape == shape
    logits = found["activation"].mean(axis=(-2, -1))
    if classes == 2:
        expected = 1 / (1 + np.exp(-logits))
    else:
        exponents = np.exp(logits)
        expected = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["score"], expected, atol=1e-5)
    assert found["activation"].std(axis=(-2, -1)).min() > 0.01, "a map must show something"


def test_no_activation_without_pooling() -> None:
    """The article's network flattens its last feature map: it has no class activation map."""
    content = export.to_onnx(build(TINY_FIVE_BLOCK))
    found = [value.name for value in onnx.load_from_string(content).graph.output]
    assert found == ["score", "features"]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("architecture", [COMPACT, TINY_FIVE_BLOCK], ids=lambda a: a.name)
def test_features_make_the_score(architecture: Architecture, classes: int) -> None:
    """The last dense layer makes the score of the output `features`, and of nothing else."""
    model = randomised(build(architecture, classes))
    found = outputs(export.to_onnx(model), images(6, architecture.input_size))
    kernel, bias = (np.asarray(value) for value in model.layers[-1].get_weights())
    logits = found["features"] @ kernel + bias
    exponents = np.exp(logits)
    expected = (
        1 / (1 + np.exp(-logits[:, 0]))
        if classes == 2
        else exponents / exponents.sum(axis=1, keepdims=True)
    )
    np.testing.assert_allclose(found["score"], expected, atol=1e-5)
    assert found["features"].std(axis=0).max() > 0.01


@pytest.mark.parametrize("classes", [2, 3])
def test_features_are_added_later(classes: int) -> None:
    """A network without the output gets it, the same as if exported with it; scores keep bits."""
    content = export.to_onnx(randomised(build(COMPACT, classes)))
    plain = onnx.load_from_string(content)
    (output,) = [value for value in plain.graph.output if value.name == "features"]
    (node,) = [node for node in plain.graph.node if node.output[0] == "features"]
    plain.graph.output.remove(output)
    plain.graph.node.remove(node)
    sample = images(6, COMPACT.input_size)
    before = outputs(plain.SerializeToString(), sample)
    after = outputs(export.add_features(plain.SerializeToString()), sample)
    wanted = outputs(content, sample)
    assert "features" not in before
    np.testing.assert_array_equal(after["score"], before["score"])
    np.testing.assert_array_equal(after["features"], wanted["features"])


def test_features_that_cannot_be_found() -> None:
    """A network whose score no dense layer makes is refused in one line."""
    with pytest.raises(BundleError, match="expected a dense layer right before the output score"):
        export.add_features(tiny_onnx())


@pytest.mark.parametrize(("contrast", "brightness"), [(1.0, 40), (0.7, 0), (0.8, 60), (1.1, -15)])
def test_exposure_does_not_matter(contrast: float, brightness: float) -> None:
    """The normalisation of each image is in the network: a*x + b scores nearly as x does."""
    random = np.random.default_rng(0)
    coarse = random.integers(20, 210, (20, 4, 4))
    given = coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    other = np.rint(given * contrast + brightness).astype(np.uint8)
    difference = {}
    for architecture in (STANDARDISED, TINY):
        content = export.to_onnx(randomised(build(architecture)))
        scores, exposed = (outputs(content, sample)["score"] for sample in (given, other))
        difference[architecture.name] = np.abs(scores - exposed).max()
    assert difference["standardised"] < 0.01
    assert difference["tiny"] > 2 * difference["standardised"], "without it, exposure must matter"


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("architecture", [COMPACT, FIVE_BLOCK], ids=lambda a: a.name)
def test_flat_image_has_a_score(architecture: Architecture, level: int) -> None:
    """An image of one grey level, without any deviation, has a finite score."""
    flat = np.full((2, architecture.input_size, architecture.input_size), level, dtype=np.uint8)
    scores = outputs(export.to_onnx(randomised(build(architecture))), flat)["score"]
    assert np.all((scores >= 0) & (scores <= 1))


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
        lambda: [layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False)],
        lambda: [layers.Conv2D(4, 3), layers.Activation("relu"), layers.Dropout(0.5)],
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
        (layers.LayerNormalization(axis=(1, 2, 3)), "only normalisation of whole images"),
        (layers.LayerNormalization(center=False, scale=False), "only normalisation of whole"),
        (layers.Dense(3), "only dense layers on flat data"),
    ],
)
def test_onnx_refuses_what_it_does_not_know(layer: Any, message: str) -> None:
    """A layer that the exporter cannot write is an error, never a wrong network."""
    inputs = keras.Input((9, 9, 1))
    tensor = layers.Conv2D(4, 3)(inputs)
    with pytest.raises(BatchscanError, match=message):
        export.to_onnx(keras.Model(inputs, layers.Flatten()(layer(tensor))))


def test_sum_of_three_is_refused() -> None:
    """A sum that the exporter cannot write is an error."""
    inputs = keras.Input((9, 9, 1))
    several = [layers.Conv2D(2, 3)(inputs) for _ in range(3)]
    with pytest.raises(BatchscanError, match="only sums of two"):
        export.to_onnx(keras.Model(inputs, layers.Flatten()(layers.Add()(several))))


def test_disagreement_is_an_error() -> None:
    """Two files that score differently are refused, with the difference."""
    files = {
        "model.onnx": export.to_onnx(randomised(build(TINY), seed=1)),
        "model.keras": export.to_keras(randomised(build(TINY), seed=2)),
    }
    with pytest.raises(BatchscanError, match=r"within 0\.0001 on 8 images, found a difference"):
        export.check_parity(files, images(8, 16), input_size=16, threads=1)


def test_same_network_same_files() -> None:
    """Both files of a network are the same bytes whenever they are written: no time is in them."""
    network = build(TINY)
    content = export.to_keras(network)
    assert export.to_keras(network) == content
    assert export.to_onnx(network) == export.to_onnx(network)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b"date" not in archive.read("metadata.json")
    restored = export.from_keras(content)
    for one, other in zip(restored.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_keras_file_holds_no_optimizer() -> None:
    """The Keras file has the weights alone: about 4 bytes for each parameter."""
    model = build(FIVE_BLOCK)
    content = export.to_keras(model)
    assert len(content) < 4.2 * model.count_params()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert b"optimizer" not in archive.read("config.json").lower()


def test_keras_file_cannot_run_code(tmp_path: Path) -> None:
    """A Keras file with a lambda layer, which carries code, is refused, and its code never runs."""
    ran = tmp_path / "ran"
    path = str(ran)
    layer = layers.Lambda(lambda tensor: (open(path, "w").close(), tensor)[1])  # noqa: PTH123
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1), layer])
    content = export.to_keras(model)
    ran.unlink()
    with pytest.raises(BundleError, match=r"model\.keras cannot be loaded in safe mode") as caught:
        open_scorer("tensorflow", content, input_size=8)
    assert "\n" not in str(caught.value)
    assert not ran.exists()
    (tmp_path / "model.keras").write_bytes(content)
    keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    assert ran.exists(), "the code must run where it may, or the test could not fail"


def test_default_bundle_agrees_on_phantoms() -> None:
    """Both files of the shipped bundle give the same scores for drawn X-rays, within 1e-4."""
    random = np.random.default_rng(0)
    sample = np.stack([draw_phantom(random, number % 2 == 1, 144, 144) for number in range(12)])
    assert shipped_difference(sample) <= 1e-4


def test_default_bundle_agrees_on_real_images(real_images: Path) -> None:
    """Both files of the shipped bundle give the same scores for real X-rays, within 1e-4."""
    chosen = sorted(real_images.rglob("*.jpeg"))[::6]
    sample = np.stack([decode(file.read_bytes(), 144).pixels for file in chosen])
    assert shipped_difference(sample) <= 1e-4


def shipped_difference(sample: np.ndarray) -> float:
    bundle = load_bundle()
    files = {name: bundle.model_bytes(runtime) for runtime, name in MODEL_FILES.items()}
    return export.check_parity(files, sample, input_size=bundle.input_size, threads=1)
