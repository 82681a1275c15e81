"""Small bundles for tests: a network that needs no training, made without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from batchscan.image.decode import PREPROCESSING
from batchscan.model.bundle import Bundle, write_bundle


def tiny_onnx(size: int = 150, seed: int = 0, *, features: bool = False) -> bytes:
    """Return an ONNX network: uint8 [N, size, size] -> float32 [N], a sigmoid of a weighted mean.

    The weights sum to 1, so a black image scores near 0, a mid-grey one 0.5, a white one near 1.
    Different seeds give slightly different scores for any image that isn't flat. `features` adds an
    output of that name, float32 [N, 2]: the mean grey of the upper and of the lower half, 0 to 1.
    """
    weights = np.random.default_rng(seed).random((size * size, 1), dtype=np.float32) + 0.5
    weights /= weights.sum()
    constants = {
        "flat": np.array([-1, size * size], dtype=np.int64),
        "weights": weights * np.float32(8 / 255),
        "offset": np.array([-4], dtype=np.float32),
        "one": np.array([-1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["grey", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["mean"]),
        helper.make_node("Add", ["mean", "offset"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["column"]),
        helper.make_node("Reshape", ["column", "one"], ["score"]),
    ]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])]
    if features:
        constants["halves"] = np.array([-1, 2, size * size // 2], dtype=np.int64)
        constants["white"] = np.array(255, dtype=np.float32)
        nodes += [
            helper.make_node("Div", ["grey", "white"], ["share"]),
            helper.make_node("Reshape", ["share", "halves"], ["half"]),
            helper.make_node("ReduceMean", ["half"], ["features"], axes=[2], keepdims=0),
        ]
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 2]))
    return _model(nodes, outputs, constants, size)


CLASSES = ("NORMAL", "BACTERIA", "VIRUS")
CENTRES = (0.2, 0.5, 0.8)


def tiny_class_onnx(
    size: int = 150,
    centres: Sequence[float] = CENTRES,
    output: str = "score",
    map_name: str = "activation",
) -> bytes:
    """Return an ONNX network: uint8 [N, size, size] -> float32 [N, C], a softmax.

    The likeliest class is the one whose centre is nearest to the picture's mean grey, which is 0
    for black and 1 for white. A map, `activation` by name, comes before the scores.
    """
    middle = np.array(centres, dtype=np.float32)
    constants = {
        "white": np.array(255, dtype=np.float32),
        "column": np.array([-1, 1], dtype=np.int64),
        "weights": 80 * middle[np.newaxis],
        "offsets": -40 * middle**2,
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["grey", "white"], [map_name]),
        helper.make_node("ReduceMean", [map_name], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["means"]),
        helper.make_node("MatMul", ["means", "weights"], ["slopes"]),
        helper.make_node("Add", ["slopes", "offsets"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [output], axis=1),
    ]
    outputs = [
        helper.make_tensor_value_info(map_name, TensorProto.FLOAT, ["N", size, size]),
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", "C"]),
    ]
    return _model(nodes, outputs, constants, size)


def _model(
    nodes: list[onnx.NodeProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[Any]],
    size: int,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="batchscan"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_tiny_class_bundle(
    folder: Path,
    *,
    classes: tuple[str, ...] = CLASSES,
    centres: Sequence[float] = CENTRES,
    size: int = 150,
    details: Mapping[str, Any] | None = None,
    further: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle with `tiny_class_onnx` in it, for three classes or more."""
    return write_bundle(
        folder,
        name="tiny classes",
        files={"model.onnx": tiny_class_onnx(size, centres), **(further or {})},
        classes=classes,
        threshold=None,
        input_size=size,
        preprocessing=PREPROCESSING,
        details=details,
    )


def write_tiny_bundle(
    folder: Path,
    *,
    size: int = 150,
    threshold: float = 0.5,
    name: str = "tiny",
    seed: int = 0,
    preprocessing: str = PREPROCESSING,
    details: Mapping[str, Any] | None = None,
    split: str | None = None,
    features: bool = False,
    further: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle with `tiny_onnx` in it; another seed makes another model.

    `details` are further fields of the card, `split` is the text of its `split.csv`, and `further`
    are further files.
    """
    further = dict(further or {}) | ({} if split is None else {"split.csv": split.encode()})
    return write_bundle(
        folder,
        name=name,
        files={"model.onnx": tiny_onnx(size, seed, features=features), **further},
        classes=("NORMAL", "PNEUMONIA"),
        threshold=threshold,
        input_size=size,
        preprocessing=preprocessing,
        details=details,
    )
