"""An ONNX graph under construction.

Its contract: input `images`, uint8 [N, S, S] with any N; output `score`, float32 [N], or [N, C] for
C classes. What the last dense layer makes the score of is an output as well: `features`, float32
[N, F]. A network whose last dense layer follows global average pooling has a third: `activation`,
float32 [N, h, w] or [N, C, h, w], the class activation map (Zhou et al., "Learning Deep Features
for Discriminative Localization", 2016): what each place of the last feature map adds to the logit,
in logits; its mean over all places is the logit of the score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from batchscan.version import VERSION

OPSET = 17  # ONNX 1.12 (2022): every operator needed here, in every ONNX Runtime since 1.13
IR_VERSION = 8  # the file format of the same release
FEATURES = "features"


class Graph:
    """The nodes and constants so far. Pixels are [N, C, H, W]."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
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
