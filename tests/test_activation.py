"""Tests of where in an image a score comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle, write_tiny_class_bundle

from batchscan.errors import BundleError
from batchscan.image.decode import PREPROCESSING
from batchscan.model.activation import Explained, open_explainer
from batchscan.model.bundle import Bundle, load_bundle, write_bundle
from batchscan.model.scorer import open_scorer
from batchscan.phantom import draw_phantom


def phantoms(count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([draw_phantom(rng, bool(n % 2), size, size) for n in range(count)])


def test_scores_are_those_of_a_scan() -> None:
    """The scores that come with the maps are those that a scan gives, within 1e-6."""
    bundle = load_bundle()
    images = phantoms(35, bundle.input_size)
    scorer = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size)
    explained = open_explainer(bundle).explain(images)
    np.testing.assert_allclose(explained.scores, scorer.score(images), rtol=0, atol=1e-6)


def test_maps_add_up_to_the_score() -> None:
    """The mean of the shipped model's map is the logit of the score."""
    bundle = load_bundle()
    explained = open_explainer(bundle).explain(phantoms(3, bundle.input_size))
    assert explained.maps is not None
    assert explained.maps.ndim == 3
    logits = explained.maps.mean(axis=(1, 2))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), explained.scores, atol=1e-5)


@pytest.mark.parametrize("write", [write_tiny_bundle, write_tiny_class_bundle])
def test_no_maps(write: object, tmp_path: Path) -> None:
    """A bundle without maps, or with an `activation` of another kind, gives scores alone."""
    bundle: Bundle = write(tmp_path / "bundle", size=32)  # type: ignore[operator]
    explained = open_explainer(bundle).explain(phantoms(2, 32))
    assert explained.maps is None
    assert explained.speaking_for(0, 1) is None
    assert len(explained.scores) == 2


def test_no_onnx_file(tmp_path: Path) -> None:
    """A bundle without `model.onnx` is refused."""
    bundle = write_bundle(
        tmp_path / "keras",
        name="keras",
        files={"model.keras": b"none"},
        classes=("A", "B"),
        threshold=0.5,
        input_size=32,
        preprocessing=PREPROCESSING,
    )
    with pytest.raises(BundleError, match=r"model\.onnx"):
        open_explainer(bundle)


def test_of_more_classes_a_map_is_compared_with_the_others() -> None:
    """What raises all classes alike speaks for none of them."""
    maps = np.stack([np.full((2, 2), 3.0), np.full((2, 2), 3.0), np.eye(2) + 3.0])
    explained = Explained(np.ones((1, 3), np.float32), maps[np.newaxis].astype(np.float32))
    found = explained.speaking_for(0, 2)
    assert found is not None
    np.testing.assert_allclose(found, np.eye(2))
