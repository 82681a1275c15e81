"""Keras layers -> nodes of an ONNX graph: a dozen kinds of layers, each a few lines.

Each writer takes the graph, a layer and the names of its inputs, adds nodes, and returns the name
of its output. Raises `BatchscanError` for a setting that isn't known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BatchscanError
from training.onnx_graph import Graph


def _rescaling(graph: Graph, layer: Any, data: str) -> str:
    scaled = graph.add("Mul", data, graph.constant(np.array(layer.scale, dtype=np.float32)))
    if not layer.offset:
        return scaled
    return graph.add("Add", scaled, graph.constant(np.array(layer.offset, dtype=np.float32)))


def _convolution(graph: Graph, layer: Any, data: str) -> str:
    kernel = weights(layer.kernel).transpose(3, 2, 0, 1)  # H, W, in, out -> out, in, H, W
    inputs = [graph.constant(kernel), *bias(graph, layer)]
    return _activation(graph, layer, graph.add("Conv", data, *inputs, **_sliding(layer)))


def _separable(graph: Graph, layer: Any, data: str) -> str:
    kernel = weights(layer.depthwise_kernel)  # H, W, in, multiplier
    height, width, channels, multiplier = kernel.shape
    each = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    depthwise = graph.add("Conv", data, graph.constant(each), group=channels, **_sliding(layer))
    mixing = weights(layer.pointwise_kernel).transpose(3, 2, 0, 1)
    inputs = [graph.constant(mixing), *bias(graph, layer)]
    return _activation(graph, layer, graph.add("Conv", depthwise, *inputs))


def _normalization(graph: Graph, layer: Any, data: str) -> str:
    if layer.axis not in (-1, 3) or not (layer.scale and layer.center):
        raise BatchscanError(f"layer {layer.name}: only normalisation of channels is exported")
    values = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    inputs = [graph.constant(weights(value)) for value in values]
    return graph.add("BatchNormalization", data, *inputs, epsilon=layer.epsilon)


def _standardization(graph: Graph, layer: Any, data: str) -> str:
    """Write normalisation by the mean and the deviation of each whole image, without weights."""
    if list(layer.axis) != [1, 2, 3] or layer.scale or layer.center:
        raise BatchscanError(f"layer {layer.name}: only normalisation of whole images is exported")
    mean = graph.add("ReduceMean", data, axes=[1, 2, 3])
    centred = graph.add("Sub", data, mean)
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[1, 2, 3])
    epsilon = graph.constant(np.array(layer.epsilon, dtype=np.float32))
    deviation = graph.add("Sqrt", graph.add("Add", variance, epsilon))
    return graph.add("Div", centred, deviation)


def _activation_layer(graph: Graph, layer: Any, data: str) -> str:
    return _activation(graph, layer, data)


def _add(graph: Graph, layer: Any, *data: str) -> str:
    if len(data) != 2:
        raise BatchscanError(f"layer {layer.name}: only sums of two are exported")
    return graph.add("Add", *data)


def _max_pooling(graph: Graph, layer: Any, data: str) -> str:
    _require_channels_last(layer)
    return graph.add(
        "MaxPool",
        data,
        kernel_shape=layer.pool_size,
        strides=layer.strides,
        auto_pad=_PADDING[layer.padding],
    )


def _average(graph: Graph, layer: Any, data: str) -> str:
    _require_channels_last(layer)
    pooled = graph.add("GlobalAveragePool", data)
    return pooled if layer.keepdims else graph.add("Flatten", pooled)


def _flatten(graph: Graph, layer: Any, data: str) -> str:
    """Keras flattens height, width, channels, in this order, and its dense weights follow it."""
    _require_channels_last(layer)
    if len(layer.input.shape) == 4:
        data = graph.add("Transpose", data, perm=[0, 2, 3, 1])
    return graph.add("Flatten", data)


def _dense(graph: Graph, layer: Any, data: str) -> str:
    if len(layer.input.shape) != 2:
        raise BatchscanError(f"layer {layer.name}: only dense layers on flat data are exported")
    inputs = [graph.constant(weights(layer.kernel)), *bias(graph, layer)]
    return _activation(graph, layer, graph.add("Gemm", data, *inputs))


def _nothing(_graph: Graph, _layer: Any, data: str) -> str:
    """Write a layer that only does something while training."""
    return data


POOLED = "GlobalAveragePooling2D"

WRITERS: dict[str, Callable[..., str]] = {
    "Activation": _activation_layer,
    "Add": _add,
    "LayerNormalization": _standardization,
    "Rescaling": _rescaling,
    "Conv2D": _convolution,
    "SeparableConv2D": _separable,
    "BatchNormalization": _normalization,
    "MaxPooling2D": _max_pooling,
    POOLED: _average,
    "Flatten": _flatten,
    "Dense": _dense,
    "Dropout": _nothing,
    "SpatialDropout2D": _nothing,
}

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


def _activation(graph: Graph, layer: Any, data: str) -> str:
    name = layer.activation.__name__
    if name == "linear":
        return data
    if name not in _ACTIVATIONS:
        raise BatchscanError(f"layer {layer.name}: activation {name} cannot be exported to ONNX")
    return graph.add(_ACTIVATIONS[name], data)


def bias(graph: Graph, layer: Any) -> list[str]:
    """Add a layer's bias, if it has one, and return its name."""
    return [graph.constant(weights(layer.bias))] if layer.use_bias else []


def weights(variable: Any) -> NDArray[np.float32]:
    """Return what a Keras variable holds."""
    return np.asarray(variable, dtype=np.float32)


def _require_channels_last(layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise BatchscanError(f"layer {layer.name}: expected channels_last data")
