"""A model in memory: grey squares in, probabilities out. The one place that scores in a scan.

The network always gets the same number of images, the last ones padded: matrix kernels round
differently for different batch sizes, and a score must not depend on its neighbours. `forward`
takes `BATCH` of them; ONNX Runtime on a CPU gets pieces where the network takes any number.

What a network must take and give, for grey images of S x S pixels:

- `model.onnx`: one input, uint8 [N, S, S]; an output named `score`, float32 [N] (the probability of
  the last of two classes) or [N, C] (a softmax over C classes, three or more). It may have an
  output `features`, float32 [N, F]: what its last dense layer makes the score of. Further outputs,
  such as a class activation map, are not asked for.
- `model.keras`: one input, (B, S, S, 1); one output, (B, 1) or (B, C), likewise. If its last layer
  is a dense one, that layer's input are the features.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BundleError, UsageError, WorkerError
from batchscan.model.card import CARD, MODEL_FILES
from batchscan.model.session import open_session

BATCH = 32

_IN_CACHE = 8
"""Images in such a piece: what lies between the layers of so many stays in a core's cache."""

RUNTIMES = ("onnx", "tensorflow")

_SCORE, _FEATURES = "score", "features"

Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
ForwardBoth = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass(frozen=True)
class Features:
    """What a network has beside its scores: `forward` gives both, of uint8 (BATCH, S, S).

    Scores are as those of `Scorer.forward`, bit by bit; features are float32 (BATCH, count).
    """

    forward: ForwardBoth
    count: int


@dataclass(frozen=True)
class Scorer:
    """A loaded network; `provider` says what it runs on.

    `forward` takes uint8 (BATCH, S, S). For `class_count` 2 it gives float32 (BATCH,), else
    (BATCH, class_count). `features` is None for a network that does not give any.
    """

    forward: Forward
    input_size: int
    provider: str
    class_count: int = 2
    features: Features | None = None

    def score(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score uint8 (B, S, S) grey levels: float32, probabilities from 0 to 1.

        With two classes (B,), of the positive class; with C of them (B, C), of each.
        """
        scores = np.empty(_shape(len(images), self.class_count), dtype=np.float32)
        for place, batch in _batches(images):
            scores[place] = self.forward(batch)[: len(scores[place])]
        return scores

    def score_with_features(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Score as `score` does, and return the features too: float32 (B, F), or None."""
        if self.features is None:
            return self.score(images), None
        scores = np.empty(_shape(len(images), self.class_count), dtype=np.float32)
        features = np.empty((len(images), self.features.count), dtype=np.float32)
        for place, batch in _batches(images):
            both = self.features.forward(batch)
            scores[place], features[place] = (values[: len(scores[place])] for values in both)
        return scores, features


def _batches(images: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yield where images stand, and `BATCH` images that begin with these."""
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        place = slice(start, start + len(batch))
        if len(batch) < BATCH:
            padding = np.zeros((BATCH - len(batch), *batch.shape[1:]), dtype=np.uint8)
            batch = np.concatenate([batch, padding])
        yield place, batch


def open_scorer(
    runtime: str,
    model: bytes,
    *,
    input_size: int,
    class_count: int = 2,
    threads: int = 1,
    device: str = "cpu",
) -> Scorer:
    """Load the bytes of a `model.onnx` (runtime `onnx`) or a `model.keras` (`tensorflow`).

    `device` is `cpu` or `gpu`, for ONNX also `tensorrt` (see `open_session`). Raises `BundleError`
    if the bytes are no such model, or if it does not give a score for each of `class_count`
    classes; `WorkerError` if the GPU was asked for and cannot be used: a run that was placed on
    GPUs must not crawl along on CPUs unnoticed.
    """
    if runtime == "onnx":
        forward, both, provider = _open_onnx(model, threads, device)
    elif runtime == "tensorflow":
        forward, both, provider = _open_keras(model, threads, device)
    else:
        raise UsageError(f"unknown runtime {runtime!r}: expected one of {', '.join(RUNTIMES)}")
    _check_output(forward, MODEL_FILES[runtime], input_size, class_count)
    shape = _shape(BATCH, class_count)
    features = None if both is None else _features(both, input_size, shape)
    return Scorer(
        lambda batch: forward(batch).reshape(shape), input_size, provider, class_count, features
    )


def _features(both: ForwardBoth, input_size: int, shape: tuple[int, ...]) -> Features | None:
    """Run one batch, to see how many there are; None if they are no vector for each image."""
    found = both(np.zeros((BATCH, input_size, input_size), dtype=np.uint8))[1]
    if found.dtype.kind != "f" or found.ndim != 2 or len(found) != BATCH:
        return None

    def forward(batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, features = both(batch)
        return scores.reshape(shape), features

    return Features(forward, found.shape[1])


def _shape(count: int, class_count: int) -> tuple[int, ...]:
    """Return the shape of the scores of `count` images."""
    return (count,) if class_count == 2 else (count, class_count)


def _check_output(forward: Forward, file: str, input_size: int, class_count: int) -> None:
    """Run one batch: a file may leave open which shapes it gives, and it may declare wrong ones."""
    found = np.asarray(forward(np.zeros((BATCH, input_size, input_size), dtype=np.uint8)))
    wanted = [_shape(BATCH, class_count)] + ([(BATCH, 1)] if class_count == 2 else [])
    if found.dtype.kind != "f" or found.shape not in wanted:
        shown = " or ".join(str(list(shape)) for shape in wanted)
        raise BundleError(
            f"{file}: expected float32 {shown} as the scores of {BATCH} images in {class_count} "
            f"classes, found {found.dtype} {list(found.shape)}; correct the classes in {CARD}, or "
            "export the network again"
        )


def _open_onnx(model: bytes, threads: int, device: str) -> tuple[Forward, ForwardBoth | None, str]:
    session = open_session(model, threads=threads, device=device)
    name, outputs = session.get_inputs()[0].name, [node.name for node in session.get_outputs()]
    if _SCORE not in outputs:
        raise BundleError(
            f"model.onnx: expected an output named {_SCORE}, found {', '.join(outputs)}; export "
            "the network again"
        )

    at_once = _at_once(session, device, [name for name in (_SCORE, _FEATURES) if name in outputs])

    def run(wanted: list[str], batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        found = [
            session.run(wanted, {name: batch[start : start + at_once]})
            for start in range(0, len(batch), at_once)
        ]
        if at_once == BATCH:
            return list(found[0])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return run([_SCORE], batch)[0]

    def both(batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, features = run([_SCORE, _FEATURES], batch)
        return scores, features

    return forward, both if _FEATURES in outputs else None, session.get_providers()[0]


def _at_once(session: Any, device: str, wanted: list[str]) -> int:
    """Say how many images to give a network at once: on a CPU fewer, if it takes any number."""
    node = session.get_inputs()[0]
    if device != "cpu" or [isinstance(side, int) for side in node.shape] != [False, True, True]:
        return BATCH
    for count in (1, _IN_CACHE):
        images = np.zeros((count, *node.shape[1:]), dtype=np.uint8)
        try:
            found = session.run(wanted, {node.name: images})
        except Exception:  # What is wrong with it comes out with a whole batch.
            return BATCH
        if any(np.shape(part)[:1] != (count,) for part in found):
            return BATCH
    return _IN_CACHE


def _open_keras(model: bytes, threads: int, device: str) -> tuple[Forward, ForwardBoth | None, str]:
    tensorflow, keras = _import_keras(threads)
    gpus = tensorflow.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise WorkerError(
            "a worker was placed on a GPU, but TensorFlow sees none; install "
            "'tensorflow[and-cuda]' on that machine, or use --runtime onnx"
        )
    network = _load_keras(keras, model)
    last = network.layers[-1]
    has_features = isinstance(last, keras.layers.Dense) and network.output is last.output
    if has_features:
        network = keras.Model(network.inputs, [network.output, last.input])
    place = "/GPU:0" if device == "gpu" else "/CPU:0"

    @tensorflow.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def call(batch: Any) -> Any:
        return network(batch, training=False)

    def run(batch: NDArray[np.uint8]) -> Any:
        with tensorflow.device(place):
            return call(tensorflow.constant(batch[..., np.newaxis]))

    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = run(batch)
        return np.asarray(found[0] if has_features else found, dtype=np.float32)

    def both(batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, features = run(batch)
        return np.asarray(scores, dtype=np.float32), np.asarray(features, dtype=np.float32)

    return forward, both if has_features else None, f"tensorflow{place}"


def _import_keras(threads: int) -> tuple[Any, Any]:
    try:
        import keras
        import tensorflow
    except ImportError as error:
        raise UsageError(
            "--runtime tensorflow needs TensorFlow, which is not installed: "
            "pip install 'batchscan[train]', or leave the option out to score with ONNX Runtime"
        ) from error
    # TensorFloat-32 rounds: a GPU's scores would differ from a CPU's by more than 1e-4.
    tensorflow.config.experimental.enable_tensor_float_32_execution(False)
    try:
        for gpu in tensorflow.config.list_physical_devices("GPU"):
            tensorflow.config.experimental.set_memory_growth(gpu, True)
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow is already at work in this process and stays as it is.
    return tensorflow, keras


def _load_keras(keras: Any, model: bytes) -> Any:
    """Load without running code from the file: safe mode refuses lambda layers and the like."""
    with tempfile.TemporaryDirectory(prefix="batchscan-") as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(model)
        try:
            return keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise BundleError(f"model.keras cannot be loaded in safe mode: {reason}") from error
