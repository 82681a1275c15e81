"""Small bundles for tests: a network that needs no training, made without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from batchscan.bundle import Bundle, write_bundle
from batchscan.image import PREPROCESSING


def tiny_onnx(size: int = 150, seed: int = 0) -> bytes:
    """Return an ONNX network: uint8 [N, size, size] -> float32 [N], a sigmoid of a weighted mean.

    The weights sum to 1, so a black image scores near 0, a mid-grey one 0.5, a white one near 1.
    Different seeds give slightly different scores for any image that isn't flat.
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
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="batchscan"
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_tiny_bundle(
    folder: Path,
    *,
    size: int = 150,
    threshold: float = 0.5,
    name: str = "tiny",
    seed: int = 0,
    preprocessing: str = PREPROCESSING,
) -> Bundle:
    """Write a bundle with `tiny_onnx` in it; another seed makes another model."""
    return write_bundle(
        folder,
        name=name,
        files={"model.onnx": tiny_onnx(size, seed)},
        classes=("NORMAL", "PNEUMONIA"),
        threshold=threshold,
        input_size=size,
        preprocessing=preprocessing,
    )
