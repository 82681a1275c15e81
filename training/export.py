"""Keras network -> the two model files of a bundle, and the proof that they agree.

The ONNX graph is written layer by layer: a dozen kinds of layers, each a few lines, and anything
else is an error. tf2onnx, which Keras calls for `model.export(format="onnx")`, works too; but it
traces TensorFlow's graph (four more packages that must fit together, a layout and names of its
own), and its result runs slower than the graph written here, whose batch normalisations stay whole
for ONNX Runtime to lay out together with the convolutions.

The graph's contract: input `images`, uint8 [N, S, S] with any N; output `score`, float32 [N], or
[N, C] for C classes. What the last dense layer makes the score of is an output as well: `features`,
float32 [N, F]. A network whose last dense layer follows global average pooling has a third:
`activation`, float32 [N, h, w] or [N, C, h, w], the class activation map (Zhou et al.,
"Learning Deep Features for Discriminative Localization", 2016): what each place of the last feature
map adds to the logit, in logits; its mean over all places is the logit of the score.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from batchscan.errors import BatchscanError, BundleError
from batchscan.model.scorer import open_scorer
from batchscan.version import VERSION

OPSET = 17  # ONNX 1.12 (2022): every operator needed here, in every ONNX Runtime since 1.13
IR_VERSION = 8  # the file format of the same release
FEATURES = "features"
TOLERANCE = 1e-4  # largest difference of a score, Keras against ONNX


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
    graph = _Graph()
    shape = np.array([-1, 1, size, size], dtype=np.int64)
    planes = graph.add("Reshape", "images", graph.constant(shape))
    names = {id(network.inputs[0]): graph.add("Cast", planes, to=TensorProto.FLOAT)}
    for layer in network.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if kind not in _WRITERS:
            raise BatchscanError(f"layer {layer.name}: {kind} cannot be exported to ONNX")
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        names[id(layer.output)] = _WRITERS[kind](graph, layer, *(names[id(i)] for i in inputs))
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


class _Graph:
    """The nodes and constants of an ONNX graph under construction. Pixels are [N, C, H, W]."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its only output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def to_bytes(
        self,
        name: str,
        size: int,
        classes: int,
        features: int | None,
        maps: tuple[int, int] | None,
    ) -> bytes:
        """Return the finished model.

        `features` is how many there are, and `maps` the height and width of `activation`, if any.
        """
        several: list[str | int | None] = [] if classes == 1 else [classes]
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size])
        shapes: dict[str, list[str | int | None]] = {"score": ["N", *several]}
        if features:
            shapes[FEATURES] = ["N", features]
        if maps:
            shapes["activation"] = ["N", *several, *maps]
        outputs = [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
            for output, shape in shapes.items()
        ]
        model = helper.make_model(
            helper.make_graph(self.nodes, name, [images], outputs, self.constants),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="batchscan",
            producer_version=VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def _features(graph: _Graph, network: Any, names: dict[int, str]) -> int | None:
    """Add the output `features`, if a dense layer makes the score of them; return their number."""
    last = network.layers[-1]
    if type(last).__name__ != "Dense":
        return None
    graph.add("Identity", names[id(last.input)], output=FEATURES)
    return int(last.input.shape[-1])


def _class_activation(graph: _Graph, network: Any, names: dict[int, str]) -> tuple[int, int] | None:
    """Add the output `activation`, if the network has one; return its height and width."""
    pooled = [layer for layer in network.layers if type(layer).__name__ == _POOLED]
    dense = [layer for layer in network.layers if type(layer).__name__ == "Dense"]
    if len(pooled) != 1 or len(dense) != 1:
        return None
    kernel = _weights(dense[0].kernel).T[:, :, np.newaxis, np.newaxis]
    inputs = [graph.constant(kernel), *_bias(graph, dense[0])]
    maps = graph.add("Conv", names[id(pooled[0].input)], *inputs)
    height, width = pooled[0].input.shape[1:3]
    classes = kernel.shape[0]
    shape = [-1, height, width] if classes == 1 else [-1, classes, height, width]
    graph.add("Reshape", maps, graph.constant(np.array(shape)), output="activation")
    return height, width


def _rescaling(graph: _Graph, layer: Any, data: str) -> str:
    scaled = graph.add("Mul", data, graph.constant(np.array(layer.scale, dtype=np.float32)))
    if not layer.offset:
        return scaled
    return graph.add("Add", scaled, graph.constant(np.array(layer.offset, dtype=np.float32)))


def _convolution(graph: _Graph, layer: Any, data: str) -> str:
    kernel = _weights(layer.kernel).transpose(3, 2, 0, 1)  # H, W, in, out -> out, in, H, W
    inputs = [graph.constant(kernel), *_bias(graph, layer)]
    return _activation(graph, layer, graph.add("Conv", data, *inputs, **_sliding(layer)))


def _separable(graph: _Graph, layer: Any, data: str) -> str:
    kernel = _weights(layer.depthwise_kernel)  # H, W, in, multiplier
    height, width, channels, multiplier = kernel.shape
    each = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    depthwise = graph.add("Conv", data, graph.constant(each), group=channels, **_sliding(layer))
    mixing = _weights(layer.pointwise_kernel).transpose(3, 2, 0, 1)
    inputs = [graph.constant(mixing), *_bias(graph, layer)]
    return _activation(graph, layer, graph.add("Conv", depthwise, *inputs))


def _normalization(graph: _Graph, layer: Any, data: str) -> str:
    if layer.axis not in (-1, 3) or not (layer.scale and layer.center):
        raise BatchscanError(f"layer {layer.name}: only normalisation of channels is exported")
    values = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    inputs = [graph.constant(_weights(value)) for value in values]
    return graph.add("BatchNormalization", data, *inputs, epsilon=layer.epsilon)


def _standardization(graph: _Graph, layer: Any, data: str) -> str:
    """Write normalisation by the mean and the deviation of each whole image, without weights."""
    if list(layer.axis) != [1, 2, 3] or layer.scale or layer.center:
        raise BatchscanError(f"layer {layer.name}: only normalisation of whole images is exported")
    mean = graph.add("ReduceMean", data, axes=[1, 2, 3])
    centred = graph.add("Sub", data, mean)
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[1, 2, 3])
    epsilon = graph.constant(np.array(layer.epsilon, dtype=np.float32))
    deviation = graph.add("Sqrt", graph.add("Add", variance, epsilon))
    return graph.add("Div", centred, deviation)


def _activation_layer(graph: _Graph, layer: Any, data: str) -> str:
    return _activation(graph, layer, data)


def _add(graph: _Graph, layer: Any, *data: str) -> str:
    if len(data) != 2:
        raise BatchscanError(f"layer {layer.name}: only sums of two are exported")
    return graph.add("Add", *data)


def _max_pooling(graph: _Graph, layer: Any, data: str) -> str:
    _require_channels_last(layer)
    return graph.add(
        "MaxPool",
        data,
        kernel_shape=layer.pool_size,
        strides=layer.strides,
        auto_pad=_PADDING[layer.padding],
    )


def _average(graph: _Graph, layer: Any, data: str) -> str:
    _require_channels_last(layer)
    pooled = graph.add("GlobalAveragePool", data)
    return pooled if layer.keepdims else graph.add("Flatten", pooled)


def _flatten(graph: _Graph, layer: Any, data: str) -> str:
    """Keras flattens height, width, channels, in this order, and its dense weights follow it."""
    _require_channels_last(layer)
    if len(layer.input.shape) == 4:
        data = graph.add("Transpose", data, perm=[0, 2, 3, 1])
    return graph.add("Flatten", data)


def _dense(graph: _Graph, layer: Any, data: str) -> str:
    if len(layer.input.shape) != 2:
        raise BatchscanError(f"layer {layer.name}: only dense layers on flat data are exported")
    inputs = [graph.constant(_weights(layer.kernel)), *_bias(graph, layer)]
    return _activation(graph, layer, graph.add("Gemm", data, *inputs))


def _nothing(_graph: _Graph, _layer: Any, data: str) -> str:
    """Write a layer that only does something while training."""
    return data


_POOLED = "GlobalAveragePooling2D"

_WRITERS: dict[str, Callable[..., str]] = {
    "Activation": _activation_layer,
    "Add": _add,
    "LayerNormalization": _standardization,
    "Rescaling": _rescaling,
    "Conv2D": _convolution,
    "SeparableConv2D": _separable,
    "BatchNormalization": _normalization,
    "MaxPooling2D": _max_pooling,
    _POOLED: _average,
    "Flatten": _flatten,
    "Dense": _dense,
    "Dropout": _nothing,
    "SpatialDropout2D": _nothing,
}

_AFTER_DENSE = ("Reshape", "Sigmoid", "Softmax", "Squeeze", "Identity")

_PADDING = {"same": "SAME_UPPER", "valid": "VALID"}  # TensorFlow puts the odd pixel at the end

_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "softmax": "Softmax", "tanh": "Tanh"}


def _sliding(layer: Any) -> dict[str, Any]:
    """Return the ONNX attributes of a Keras convolution."""
    _require_channels_last(layer)
    if getattr(layer, "groups", 1) != 1:
        raise BatchscanError(f"layer {layer.name}: convolutions in groups are not exported")
    return {
        "kernel_shape": layer.kernel_size,
        "strides": layer.strides,
        "dilations": layer.dilation_rate,
        "auto_pad": _PADDING[layer.padding],
    }


def _activation(graph: _Graph, layer: Any, data: str) -> str:
    name = layer.activation.__name__
    if name == "linear":
        return data
    if name not in _ACTIVATIONS:
        raise BatchscanError(f"layer {layer.name}: activation {name} cannot be exported to ONNX")
    return graph.add(_ACTIVATIONS[name], data)


def _bias(graph: _Graph, layer: Any) -> list[str]:
    return [graph.constant(_weights(layer.bias))] if layer.use_bias else []


def _weights(variable: Any) -> NDArray[np.float32]:
    return np.asarray(variable, dtype=np.float32)


def _require_channels_last(layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise BatchscanError(f"layer {layer.name}: expected channels_last data")
