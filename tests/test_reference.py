"""batchscan.model.reference: a bundle's numbers of its training images, and distances to them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle, write_tiny_class_bundle

from batchscan.errors import BundleError
from batchscan.model.bundle import Bundle, load_bundle
from batchscan.model.reference import Reference, load_reference, reference_bytes

FEATURES = 3


def reference(classes: int = 2, seed: int = 0) -> Reference:
    random = np.random.default_rng(seed)
    scores = random.random((1001,) if classes == 2 else (1001, classes), dtype=np.float32)
    return Reference(
        score_quantiles=np.sort(scores, axis=0),
        phashes=np.sort(random.integers(0, 2**64, 20, dtype=np.uint64)),
        means=np.arange(classes * FEATURES, dtype=np.float32).reshape(classes, FEATURES),
        whitening=np.diag([1, 2, 0.5]).astype(np.float32),
        limit=2.0,
    )


def write(folder: Path, content: bytes) -> Bundle:
    return write_tiny_bundle(folder, size=8, further={"reference.npz": content})


def arrays_of(reference: Reference) -> dict[str, Any]:
    with np.load(io.BytesIO(reference_bytes(reference))) as arrays:
        return dict(arrays)


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_written_and_read(tmp_path: Path) -> None:
    """A reference comes back from a bundle as it was, and the same one gives the same bytes."""
    wanted = reference()
    assert reference_bytes(wanted) == reference_bytes(reference())
    found = load_reference(write(tmp_path / "model", reference_bytes(wanted)))
    assert found is not None
    for name, array in arrays_of(wanted).items():
        value = np.asarray(getattr(found, name))
        assert (value.dtype, value.tolist()) == (array.dtype, array.tolist())


def test_three_classes(tmp_path: Path) -> None:
    """With three classes, each has its quantiles and its mean."""
    further = {"reference.npz": reference_bytes(reference(3))}
    found = load_reference(write_tiny_class_bundle(tmp_path / "model", size=8, further=further))
    assert found is not None
    assert found.score_quantiles.shape == (1001, 3)


def test_bundle_without_one(tmp_path: Path) -> None:
    """A bundle needs no reference."""
    assert load_reference(write_tiny_bundle(tmp_path / "model", size=8)) is None


def test_digest_knows_the_reference(tmp_path: Path) -> None:
    """Another reference makes another model: its distances do not belong beside the old ones."""
    without = write_tiny_bundle(tmp_path / "without", size=8).digest
    one, same, other = (
        write(tmp_path / f"model{number}", reference_bytes(reference(seed=seed))).digest
        for number, seed in enumerate((0, 0, 1))
    )
    assert one == same
    assert len({without, one, other}) == 3


def test_distance() -> None:
    """The score is the distance from the nearest mean, each direction by its spread, by limit."""
    features = np.array([[0, 1, 2], [3, 4, 6], [0, 2, 2], [4, 1, 2]], dtype=np.float32)
    found = reference().out_of_distribution(features)
    assert found.dtype == np.float32
    assert found.tolist() == [0, 0.25, 1, 2]


def test_odd_features() -> None:
    """A feature that is no number gives none; huge ones give a huge, finite score."""
    features = np.array([[np.nan, 0, 0], [3e38, 3e38, 3e38]], dtype=np.float32)
    tight = replace(reference(), limit=1e-30)
    found = tight.out_of_distribution(features)
    assert np.isnan(found[0])
    assert found[1] == np.finfo(np.float32).max


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    """A pickle in a reference is refused and not run."""
    trap = np.array([Evil(tmp_path / "touched")], dtype=object)
    content = npz(**arrays_of(reference()) | {"means": trap})
    with pytest.raises(BundleError, match=r"reference\.npz: expected the arrays"):
        load_reference(write(tmp_path / "model", content))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score_quantiles": np.zeros(1000, np.float32)}, r"score_quantiles .*\[1001\].*\[1000\]"),
        ({"score_quantiles": np.zeros(1001)}, "score_quantiles to be float32 .* found float64"),
        ({"score_quantiles": np.linspace(1, 0, 1001, dtype=np.float32)}, "ascending"),
        ({"phashes": np.zeros(4, np.int64)}, "phashes to be uint64"),
        ({"phashes": np.zeros((2, 2), np.uint64)}, "phashes"),
        ({"phashes": np.array([2, 1], np.uint64)}, "phashes to be ascending"),
        ({"means": np.zeros((3, FEATURES), np.float32)}, r"means to be float32 \[2, 3\]"),
        ({"means": np.float32(1)}, "means"),
        ({"means": np.full((2, FEATURES), np.nan, np.float32)}, "means to be finite"),
        ({"whitening": np.eye(4, dtype=np.float32)}, r"whitening .*\[3, 3\], found .*\[4, 4\]"),
        ({"limit": np.float64(0)}, "limit to be above 0"),
        ({"limit": np.float64(np.inf)}, "limit to be finite"),
        ({"limit": np.zeros(2)}, "limit"),
    ],
)
def test_other_arrays(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Arrays of another kind are refused in one line that says what was expected and found."""
    content = npz(**arrays_of(reference()) | changes)
    with pytest.raises(BundleError, match=message) as caught:
        load_reference(write(tmp_path / "model", content))
    assert str(caught.value).startswith(str(tmp_path / "model" / "reference.npz"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no zip", b"\x80\4N.", npz(means=np.zeros(3))])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    """A file that is no reference is refused in one line."""
    with pytest.raises(BundleError, match=r"reference\.npz: expected the arrays") as caught:
        load_reference(write(tmp_path / "model", content))
    assert "\n" not in str(caught.value)


def test_damaged_file(tmp_path: Path) -> None:
    """A reference that is not the one that the card lists is refused."""
    bundle = write(tmp_path / "model", reference_bytes(reference()))
    (bundle.folder / "reference.npz").write_bytes(reference_bytes(reference(seed=1)))
    with pytest.raises(BundleError, match="damaged"):
        load_reference(bundle)
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(bundle.folder)
    card = json.loads((bundle.folder / "card.json").read_text())
    assert "reference.npz" in card["files"]
