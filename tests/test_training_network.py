"""training.network, training.augmentation and training.device: what is trained, and on what."""

from __future__ import annotations

import numpy as np
import pytest

from batchscan.errors import UsageError
from training.device import open_device
from training.network import FIVE_BLOCK, build, find_architecture

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

import tensorflow  # noqa: E402

from training import augmentation  # noqa: E402


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
    model = build(FIVE_BLOCK, "mixed_float16")
    assert model.layers[2].compute_dtype == "float16"
    assert model.layers[-1].compute_dtype == "float32"
    assert all(weight.dtype == "float32" for weight in model.weights)


def test_augmentation_only_while_training() -> None:
    """Outside training nothing changes; in training every image changes, and stays in range."""
    changes = augmentation.build(seed=1)
    random = np.random.default_rng(0)
    given = random.integers(0, 256, (6, 32, 32, 1)).astype(np.float32)
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
