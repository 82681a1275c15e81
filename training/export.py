"""Keras network -> the two model files of a bundle, and the proof that they agree.

The ONNX graph is written layer by layer: a dozen kinds of layers, each a few lines, and anything
else is an error. tf2onnx, which Keras calls for `model.export(format="onnx")`, works too; but it
traces TensorFlow's graph (four more packages that must fit together, a layout and names of its
own), and its result runs slower than the graph written here, whose batch normalisations stay whole
for ONNX Runtime to lay out together with the convolutions.

The kinds of layers are in `onnx_layers`, the inputs and outputs of the graph in `onnx_graph`.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from batchscan.errors import BatchscanError, BundleError
from batchscan.model.scorer import open_scorer
from training.onnx_graph import FEATURES, Graph
from training.onnx_layers import POOLED, WRITERS, bias, weights

TOLERANCE = 1e-4  # largest difference of a score, Keras against ONNX

_AFTER_DENSE = ("Reshape", "Sigmoid", "Softmax", "Squeeze", "Identity")


def to_keras(network: Any) -> bytes:
    """Return the content of a `.keras` file. The network should be uncompiled: no optimizer."""
    with tempfile.TemporaryDirectory(prefix="batchscan-") as folder:
        path = Path(folder) / "model.keras"
        network.save(path)
        return _without_times(path)


def _without_times(path: Path) -> bytes:
    """Return a zip file's content with all times set to its format's first: same in, same out."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(content, "w") as target:
        for name in sorted(source.namelist()):
            target.writestr(zipfile.ZipInfo(name), _untimed(name, source.read(name)))
    return content.getvalue()


def _untimed(name: str, content: bytes) -> bytes:
    """Return a file of a `.keras` archive without the date that its metadata holds."""
    if name != "metadata.json":
        return content
    kept = {key: value for key, value in json.loads(content).items() if key != "date_saved"}
    return json.dumps(kept).encode()


def from_keras(content: bytes) -> Any:
    """Return the Keras model that a `.keras` file holds, uncompiled."""
    with tempfile.TemporaryDirectory(prefix="batchscan-") as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def to_onnx(network: Any) -> bytes:
    """Return the content of an `.onnx` file that computes the same as this Keras model.

    The model takes (B, S, S, 1) and returns (B, 1), or (B, C) for C classes. Raises
    `BatchscanError` for a layer or a setting that isn't known here.
    """
    size = network.input_shape[1]
    graph = Graph()
    shape = np.array([-1, 1, size, size], dtype=np.int64)
    planes = graph.add("Reshape", "images", graph.constant(shape))
    names = {id(network.inputs[0]): graph.add("Cast", planes, to=TensorProto.FLOAT)}
    for layer in network.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if kind not in WRITERS:
            raise BatchscanError(f"layer {layer.name}: {kind} cannot be exported to ONNX")
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        names[id(layer.output)] = WRITERS[kind](graph, layer, *(names[id(i)] for i in inputs))
    classes = network.output_shape[-1]
    shape = np.array([-1] if classes == 1 else [-1, classes], dtype=np.int64)
    graph.add("Reshape", names[id(network.outputs[0])], graph.constant(shape), output="score")
    features = _features(graph, network, names)
    maps = _class_activation(graph, network, names)
    return graph.to_bytes(network.name, size, classes, features, maps)


def add_features(content: bytes) -> bytes:
    """Return an `.onnx` file with the output `features`, for one that was written without it.

    Nothing else changes. Raises `BundleError` where no dense layer (Gemm) makes the score.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    node = makers.get("score")
    while node is not None and node.op_type in _AFTER_DENSE:
        node = makers.get(node.input[0])
    weights = {} if node is None else {value.name: value for value in graph.initializer}
    if node is None or node.op_type != "Gemm" or node.input[1] not in weights:
        raise BundleError(
            "model.onnx: expected a dense layer right before the output score, found "
            f"{'none' if node is None else node.op_type}; export the network with an output "
            f"named {FEATURES}, float32 [N, F]"
        )
    count = weights[node.input[1]].dims[0]
    graph.node.append(helper.make_node("Identity", [node.input[0]], [FEATURES], name=FEATURES))
    graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", count]))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def check_parity(
    files: dict[str, bytes],
    images: NDArray[np.uint8],
    *,
    input_size: int,
    class_count: int = 2,
    threads: int,
) -> float:
    """Return the largest difference of a score between the two files, over images (B, S, S).

    Both are loaded and run as in a scan. Raises `BatchscanError` above `TOLERANCE`.
    """
    load = partial(open_scorer, input_size=input_size, class_count=class_count, threads=threads)
    onnx_scores = load("onnx", files["model.onnx"]).score(images)
    keras_scores = load("tensorflow", files["model.keras"]).score(images)
    difference = float(np.abs(onnx_scores - keras_scores).max())
    if not difference <= TOLERANCE:  # also where it is not a number
        raise BatchscanError(
            f"the exported ONNX network is not the trained one: expected scores within {TOLERANCE} "
            f"on {len(images)} images, found a difference of {difference:.2g}; no bundle is written"
        )
    return difference


def _features(graph: Graph, network: Any, names: dict[int, str]) -> int | None:
    """Add the output `features`, if a dense layer makes the score of them; return their number."""
    last = network.layers[-1]
    if type(last).__name__ != "Dense":
        return None
    graph.add("Identity", names[id(last.input)], output=FEATURES)
    return int(last.input.shape[-1])


def _class_activation(graph: Graph, network: Any, names: dict[int, str]) -> tuple[int, int] | None:
    """Add the output `activation`, if the network has one; return its height and width."""
    pooled = [layer for layer in network.layers if type(layer).__name__ == POOLED]
    dense = [layer for layer in network.layers if type(layer).__name__ == "Dense"]
    if len(pooled) != 1 or len(dense) != 1:
        return None
    kernel = weights(dense[0].kernel).T[:, :, np.newaxis, np.newaxis]
    inputs = [graph.constant(kernel), *bias(graph, dense[0])]
    maps = graph.add("Conv", names[id(pooled[0].input)], *inputs)
    height, width = pooled[0].input.shape[1:3]
    classes = kernel.shape[0]
    shape = [-1, height, width] if classes == 1 else [-1, classes, height, width]
    graph.add("Reshape", maps, graph.constant(np.array(shape)), output="activation")
    return height, width
