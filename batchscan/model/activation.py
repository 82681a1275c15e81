"""Where in an image a score comes from: the class activation maps that a network gives.

A map has a value for each place of the network's last feature map: what that place adds to the
logit, in logits. Its mean over all places is the logit of the score (Zhou et al., "Learning Deep
Features for Discriminative Localization", 2016).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BundleError
from batchscan.model.bundle import Bundle
from batchscan.model.scorer import BATCH

_SCORE, _ACTIVATION = "score", "activation"
_TOLERANCE = 1e-3  # Of a score: a map of another kind is further away from what it should explain.


@dataclass(frozen=True)
class Explained:
    """Scores of B images, and what they come from, by one run of the network.

    Of two classes, `scores` is float32 (B,), of the last class, and `maps` float32 (B, h, w): above
    0 speaks for the last class, below 0 for the first. Of C classes they are (B, C) and
    (B, C, h, w). `maps` is None where the network gives none, or some that don't add up to the
    scores.
    """

    scores: NDArray[np.float32]
    maps: NDArray[np.float32] | None

    def speaking_for(self, image: int, number: int) -> NDArray[np.float32] | None:
        """Return the map (h, w) of an image: above 0 speaks for a class, below for the others.

        `number` is that of the class. Of two, it is what speaks for the last, whichever is asked.
        """
        if self.maps is None or self.maps.ndim == 3:
            return None if self.maps is None else self.maps[image]
        own = self.maps[image, number]
        others = np.delete(self.maps[image], number, axis=0).mean(axis=0)
        difference: NDArray[np.float32] = own - others
        return difference


@dataclass(frozen=True)
class Explainer:
    """A loaded `model.onnx`, with the names of its input and of the outputs that are asked for."""

    session: Any
    images: str
    outputs: tuple[str, ...]
    class_count: int

    def explain(self, images: NDArray[np.uint8]) -> Explained:
        """Score and explain uint8 (B, S, S) grey levels, B at least 1, in batches as in a scan."""
        results = []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            padding = np.zeros((BATCH - len(batch), *batch.shape[1:]), dtype=np.uint8)
            padded = np.concatenate([batch, padding])
            found = self.session.run(list(self.outputs), {self.images: padded})
            results.append([array[: len(batch)] for array in found])
        scores, *maps = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
        if self.class_count == 2:
            scores = scores.reshape(len(images))
        return Explained(scores, maps[0] if maps and _adds_up(maps[0], scores) else None)


def open_explainer(bundle: Bundle) -> Explainer:
    """Load a bundle's `model.onnx` on the CPU; raises `BundleError` where it has none."""
    # From 1.29 on, ONNX Runtime reports to its maker as soon as it is imported, unless it is told
    # not to before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    content = bundle.model_bytes("onnx")
    try:
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"model.onnx cannot be loaded by ONNX Runtime: {error}") from error
    names = [node.name for node in session.get_outputs()]
    if _SCORE not in names:
        raise BundleError(f"model.onnx: expected an output named {_SCORE}; export it again")
    outputs = (_SCORE, _ACTIVATION) if _ACTIVATION in names else (_SCORE,)
    return Explainer(session, session.get_inputs()[0].name, outputs, len(bundle.classes))


def _adds_up(maps: NDArray[np.float32], scores: NDArray[np.float32]) -> bool:
    """Say whether maps explain scores: a foreign bundle may call anything an activation."""
    if maps.shape[:-2] != scores.shape or maps.ndim != scores.ndim + 2:
        return False
    logits = maps.mean(axis=(-2, -1), dtype=np.float64)
    if scores.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
        scores = np.stack([1 - scores, scores], axis=1)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return bool(np.allclose(shares, scores, rtol=0, atol=_TOLERANCE))
