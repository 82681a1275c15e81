"""Tests of the one place that runs a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tiny_bundle import tiny_class_onnx, tiny_onnx

from batchscan.errors import BundleError, UsageError, WorkerError
from batchscan.image.decode import decode
from batchscan.model.bundle import load_bundle
from batchscan.model.scorer import BATCH, Scorer, open_scorer


@pytest.fixture(scope="module")
def tiny() -> Scorer:
    return open_scorer("onnx", tiny_onnx(), input_size=150)


@pytest.fixture(scope="module")
def default() -> Scorer:
    """Open the network that the package ships."""
    bundle = load_bundle()
    return open_scorer("onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size)


def noise(count: int, seed: int = 0, size: int = 150) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)


def bits(scores: NDArray[np.float32]) -> list[int]:
    assert scores.dtype == np.float32
    return [int(value) for value in scores.view(np.uint32)]


def test_scores_are_probabilities(tiny: Scorer) -> None:
    """Black scores near 0, mid-grey one half, white near 1: float32, one for each image."""
    greys = np.array([0, 128, 255], dtype=np.uint8)
    scores = tiny.score(np.broadcast_to(greys[:, None, None], (3, 150, 150)))
    assert scores.dtype == np.float32
    assert scores.shape == (3,)
    assert scores == pytest.approx([0.018, 0.504, 0.982], abs=0.01)


def test_no_images(tiny: Scorer) -> None:
    """No images, no scores."""
    assert tiny.score(noise(0)).shape == (0,)


@pytest.mark.parametrize("count", [1, 2, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_every_batch_is_full(count: int) -> None:
    """Whatever the number of images, the network sees batches of one size."""
    shapes = []

    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        shapes.append(batch.shape)
        return batch[:, 0, 0].astype(np.float32)

    images = noise(count)
    scores = Scorer(forward, 150, "test").score(images)
    assert scores.tolist() == images[:, 0, 0].tolist()
    assert set(shapes) == {(BATCH, 150, 150)}
    assert len(shapes) == -(-count // BATCH)


IMAGES = noise(80)


@given(st.lists(st.integers(0, 79), min_size=1, max_size=70))
@settings(max_examples=40)
def test_score_is_independent_of_its_batch(tiny: Scorer, chosen: list[int]) -> None:
    """An image's score is the same, bit for bit, alone, in any company and at any place."""
    alone = bits(np.concatenate([tiny.score(IMAGES[number : number + 1]) for number in chosen]))
    assert bits(tiny.score(IMAGES[chosen])) == alone


def test_score_of_the_shipped_network_is_independent_of_its_batch(default: Scorer) -> None:
    """The same holds for the network that the package ships, in shuffled and partial batches."""
    rng = np.random.default_rng(1)
    images = noise(BATCH + 8, size=default.input_size)
    images[::3] = 0
    images[1::3] //= 4
    expected = bits(default.score(images))
    for _ in range(3):
        order = rng.permutation(len(images))
        assert bits(default.score(images[order])) == [expected[number] for number in order]
    for number in (0, 1, 2, 31, 32, len(images) - 1):
        assert bits(default.score(images[number : number + 1])) == [expected[number]]
    assert len(set(expected)) > 10


def test_scores_of_real_images_are_independent_of_their_batch(
    default: Scorer, real_images: Path
) -> None:
    """And for real X-rays: a score that is quoted can be found again from the one file."""
    files = sorted(real_images.rglob("*.jpeg"))[::4][:24]
    images = np.stack([decode(file.read_bytes(), default.input_size).pixels for file in files])
    expected = bits(default.score(images))
    assert bits(default.score(images[::-1])) == expected[::-1]
    assert [bits(default.score(images[n : n + 1]))[0] for n in range(0, 24, 6)] == expected[::6]


def test_two_sessions_agree(default: Scorer) -> None:
    """Another session of the same network, as in another worker, gives the same bits."""
    bundle = load_bundle()
    other = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size)
    images = noise(5, seed=2, size=default.input_size)
    assert bits(other.score(images)) == bits(default.score(images))


def test_threads_change_nothing(default: Scorer) -> None:
    """A worker with several threads, as beside a GPU, gives the same bits."""
    bundle = load_bundle()
    threaded = open_scorer(
        "onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size, threads=2
    )
    images = noise(5, seed=3, size=default.input_size)
    assert bits(threaded.score(images)) == bits(default.score(images))


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 3])
def test_scores_of_classes(count: int) -> None:
    """With three classes an image has three scores that sum to 1; a second output is ignored."""
    scorer = open_scorer("onnx", tiny_class_onnx(), input_size=150, class_count=3)
    greys = np.linspace(0, 255, count).astype(np.uint8)
    scores = scorer.score(np.broadcast_to(greys[:, None, None], (count, 150, 150)))
    assert (scores.dtype, scores.shape) == (np.float32, (count, 3))
    assert scores.sum(axis=1) == pytest.approx(np.ones(count), abs=1e-6)
    if count > 3:
        assert scores.argmax(axis=1).tolist() == sorted(scores.argmax(axis=1))
        assert set(scores.argmax(axis=1)) == {0, 1, 2}


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 3])
def test_features(count: int) -> None:
    """Features come with the scores, which are the same bits as without them."""
    scorer = open_scorer("onnx", tiny_onnx(features=True), input_size=150)
    images = noise(count)
    scores, features = scorer.score_with_features(images)
    assert features is not None
    assert (features.dtype, features.shape) == (np.float32, (count, 2))
    halves = images.reshape(count, 2, 75 * 150).mean(axis=2) / 255
    assert features == pytest.approx(halves, abs=1e-5)
    assert bits(scores) == bits(scorer.score(images))
    plain = open_scorer("onnx", tiny_onnx(), input_size=150)
    assert bits(scores) == bits(plain.score(images))
    assert plain.score_with_features(images)[1] is None


def test_features_of_another_shape() -> None:
    """An output called features that is no vector for each image is passed over."""
    network = tiny_class_onnx(map_name="features")
    scorer = open_scorer("onnx", network, input_size=150, class_count=3)
    assert scorer.features is None
    assert scorer.score_with_features(noise(2))[1] is None


def test_features_of_the_shipped_network(default: Scorer) -> None:
    """The shipped network's features do not depend on their company either."""
    images = noise(BATCH + 3, size=default.input_size)
    scores, features = default.score_with_features(images)
    assert features is not None
    assert features.shape == (BATCH + 3, 128)
    assert bits(scores) == bits(default.score(images))
    for number in (0, 17, BATCH + 2):
        alone = default.score_with_features(images[number : number + 1])[1]
        assert alone is not None
        assert bits(alone[0]) == bits(features[number])


def test_classes_that_do_not_fit() -> None:
    """A network is refused when it is loaded if it has not one score for each class."""
    for network, count, found in (
        (tiny_class_onnx(), 2, "float32 [32, 3]"),
        (tiny_class_onnx(), 4, "float32 [32, 3]"),
        (tiny_onnx(), 3, "float32 [32]"),
    ):
        with pytest.raises(BundleError, match=re.escape(f"{count} classes, found {found};")):
            open_scorer("onnx", network, input_size=150, class_count=count)


def test_a_network_for_whole_batches_only() -> None:
    """A network that takes `BATCH` images and no other number gets them."""
    model = onnx.load_model_from_string(tiny_onnx())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = BATCH
    scorer = open_scorer("onnx", model.SerializeToString(), input_size=150)
    free = open_scorer("onnx", tiny_onnx(), input_size=150)
    assert scorer.score(noise(5)) == pytest.approx(free.score(noise(5)), abs=1e-6)


@pytest.mark.parametrize(("shape", "found"), [([], "[]"), ([8], "[8]"), ([BATCH + 1], "[33]")])
def test_scores_that_are_not_one_for_each_image(shape: list[int], found: str) -> None:
    """A network with another number of scores than images is refused when it is loaded."""
    model = onnx.load_model_from_string(tiny_onnx())
    model.graph.node.pop()
    scores = numpy_helper.from_array(np.full(shape, 0.5, dtype=np.float32))
    model.graph.node.append(helper.make_node("Constant", [], ["score"], value=scores))
    with pytest.raises(BundleError, match=re.escape(f"found float32 {found};")):
        open_scorer("onnx", model.SerializeToString(), input_size=150)


def test_provider_is_named(tiny: Scorer) -> None:
    """What the network runs on is known, for the record in the result."""
    assert tiny.provider == "CPUExecutionProvider"
    assert tiny.input_size == 150


@pytest.mark.parametrize("model", [b"", b"no model", tiny_onnx()[:500], bytes(1000)])
def test_damaged_network(model: bytes) -> None:
    """Bytes that are no network are refused as a bundle's fault, not with a traceback."""
    with pytest.raises(BundleError, match=r"model\.onnx.* cannot be loaded .*copy the bundle"):
        open_scorer("onnx", model, input_size=150)


def test_unknown_runtime() -> None:
    """A runtime that doesn't exist is refused with the names of those that do."""
    with pytest.raises(UsageError, match="onnx, tensorflow"):
        open_scorer("torch", tiny_onnx(), input_size=150)


def test_gpu_that_cannot_be_used() -> None:
    """A worker that was placed on a GPU does not crawl along on a CPU unnoticed."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine's ONNX Runtime has a GPU provider")
    with pytest.raises(WorkerError, match="onnxruntime-gpu"):
        open_scorer("onnx", tiny_onnx(), input_size=150, device="gpu")


def test_onnx_needs_no_tensorflow() -> None:
    """Scoring with ONNX Runtime never imports TensorFlow, nor Ray."""
    code = (
        "import sys, batchscan.model.scorer as m, batchscan.model.bundle as b;"
        "bundle = b.load_bundle();"
        "m.open_scorer('onnx', bundle.model_bytes('onnx'), input_size=bundle.input_size);"
        "sys.exit(bool({'tensorflow', 'keras', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tensorflow_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TensorFlow is missing, the message says how to install it, or how to do without."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UsageError, match=r"pip install 'batchscan\[train\]'"):
        open_scorer("tensorflow", b"", input_size=150)


# --- TensorFlow ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensorflow_scorer() -> Scorer:
    pytest.importorskip("tensorflow")
    bundle = load_bundle()
    model = bundle.model_bytes("tensorflow")
    return open_scorer("tensorflow", model, input_size=bundle.input_size)


def test_tensorflow_agrees_with_onnx(default: Scorer, tensorflow_scorer: Scorer) -> None:
    """Both files of the shipped bundle hold the same network, within 1e-4."""
    images = noise(6, seed=4, size=default.input_size)
    images[:3] //= 3
    scores, features = tensorflow_scorer.score_with_features(images)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(default.score(images), abs=1e-4)
    assert features == pytest.approx(default.score_with_features(images)[1], abs=1e-4)
    assert tensorflow_scorer.provider == "tensorflow/CPU:0"


def test_tensorflow_score_is_independent_of_its_batch(tensorflow_scorer: Scorer) -> None:
    """TensorFlow, too, gives an image the same bits in any company."""
    images = noise(40, seed=5, size=tensorflow_scorer.input_size)
    expected = bits(tensorflow_scorer.score(images))
    order = np.random.default_rng(2).permutation(40)
    assert bits(tensorflow_scorer.score(images[order])) == [expected[n] for n in order]
    assert bits(tensorflow_scorer.score(images[39:])) == expected[39:]


def test_keras_file_with_classes(tmp_path: Path) -> None:
    """A .keras file whose output is (B, 3) scores three classes, and no other number of them."""
    keras = pytest.importorskip("keras")
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(inputs))
    network = keras.Model(inputs, outputs)
    network.save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    scorer = open_scorer("tensorflow", content, input_size=8, class_count=3)
    images = noise(3)[:, :8, :8]
    scores = scorer.score(images)
    assert (scores.dtype, scores.shape) == (np.float32, (3, 3))
    assert scores == pytest.approx(network(images[..., None]).numpy(), abs=1e-5)
    with pytest.raises(BundleError, match=r"model\.keras: expected .* 2 classes, found"):
        open_scorer("tensorflow", content, input_size=8)


def test_code_in_a_keras_file_is_not_run(tmp_path: Path) -> None:
    """A .keras file that carries code is refused, and its code is not run."""
    keras = pytest.importorskip("keras")
    proof = str(tmp_path / "proof")
    inputs = keras.Input((150, 150, 1))
    harm = keras.layers.Lambda(lambda x: (open(proof, "w").close(), x)[1])  # noqa: PTH123
    network = keras.Model(inputs, harm(inputs))
    network.save(tmp_path / "model.keras")
    Path(proof).unlink()
    with pytest.raises(BundleError, match="safe mode") as caught:
        open_scorer("tensorflow", (tmp_path / "model.keras").read_bytes(), input_size=150)
    assert not Path(proof).exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [b"", b"no model", bytes(1000)])
def test_damaged_keras_file(model: bytes) -> None:
    """Bytes that are no .keras file are refused as a bundle's fault."""
    pytest.importorskip("tensorflow")
    with pytest.raises(BundleError, match=r"model\.keras cannot be loaded"):
        open_scorer("tensorflow", model, input_size=150)
