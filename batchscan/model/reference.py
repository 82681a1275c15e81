"""What a bundle knows of the images it was trained on: `reference.npz`, optional.

With it a scan tells which images look unlike these to the network, and a report tells which images
were among them, and whether scores are spread as theirs were. It holds numbers only: no pixels, no
names. `python -m training.reference` makes one for a bundle that has none.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BundleError
from batchscan.model.bundle import Bundle
from batchscan.model.card import REFERENCE, RESTORE

QUANTILES = 1001


@dataclass(frozen=True, eq=False)
class Reference:
    """The images that a network was trained on, in numbers.

    `score_quantiles`, float32 (1001,), are the quantiles 0, 0.001, ..., 1 of their scores: out of
    fold where these are known (the card's `reference` says so); with C classes, more than two,
    (1001, C). `phashes`, uint64 (n,), are their perceptual hashes, ascending.

    The rest measures how far the features of an image, (F,), lie from theirs, by Mahalanobis:
    `means`, float32 (C, F), are those of each class, and `whitening`, float32 (F, F), turns
    differences into such of variance 1, with one covariance for all classes. The distance is the
    least over classes c of |(features - means[c]) @ whitening| (Lee et al., "A Simple Unified
    Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", 2018). 1% of the
    training images have one above `limit`, each measured by means and covariance of others.
    """

    score_quantiles: NDArray[np.float32]
    phashes: NDArray[np.uint64]
    means: NDArray[np.float32]
    whitening: NDArray[np.float32]
    limit: float

    def out_of_distribution(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the `ood_score` (B,) of features (B, F): distance by limit, 1 at the limit.

        Not a number where a feature is none.
        """
        scores = distances(features, self.means, self.whitening) / self.limit
        return np.minimum(scores, np.finfo(np.float32).max).astype(np.float32)


def distances(
    features: NDArray[np.float32], means: NDArray[np.float32], whitening: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return how far features (B, F) lie from the nearest of the means (C, F), float64 (B,)."""
    # In float64, what the number of images changes in the last digits is lost in float32.
    wide = whitening.astype(np.float64)
    placed, centres = features.astype(np.float64) @ wide, means.astype(np.float64) @ wide
    squares = [((placed - centre) ** 2).sum(axis=1) for centre in centres]
    nearest: NDArray[np.float64] = np.sqrt(np.min(squares, axis=0))
    return nearest


def load_reference(bundle: Bundle) -> Reference | None:
    """Read a bundle's `reference.npz`, verified; None where the bundle has none.

    Nothing in the file is run: it holds plain arrays, no pickles. Raises `BundleError`, in one
    line, where the file is damaged or holds other arrays than a `Reference` of this bundle.
    """
    content = bundle.listed_bytes(REFERENCE)
    if content is None:
        return None
    place = bundle.folder / REFERENCE
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {field.name: arrays[field.name] for field in fields(Reference)}
    except Exception as problem:  # Whatever a zip file, or an array in it, may have.
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise BundleError(
            f"{place}: expected the arrays of a reference, found something else ({reason}); "
            f"{RESTORE}"
        ) from problem
    for name, reason in _objections(found, len(bundle.classes)):
        raise BundleError(f"{place}: expected {name} to be {reason}; {RESTORE}")
    return Reference(**found | {"limit": float(found["limit"])})


def reference_bytes(reference: Reference) -> bytes:
    """Return the content of a `reference.npz`; the same reference gives the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for field in fields(Reference):
            array = io.BytesIO()
            np.lib.format.write_array(
                array, np.asarray(getattr(reference, field.name)), allow_pickle=False
            )
            # `numpy.savez` would write the time of day.
            archive.writestr(zipfile.ZipInfo(f"{field.name}.npy"), array.getvalue())
    return content.getvalue()


def _objections(arrays: dict[str, NDArray[Any]], classes: int) -> list[tuple[str, str]]:
    """Return what is wrong: the name of an array, and what was expected and found."""
    features = arrays["means"].shape[-1] if arrays["means"].ndim else 0
    scores = (QUANTILES,) if classes == 2 else (QUANTILES, classes)
    expected = {
        "score_quantiles": (np.float32, scores),
        "phashes": (np.uint64, (arrays["phashes"].size,)),
        "means": (np.float32, (classes, features)),
        "whitening": (np.float32, (features, features)),
        "limit": (np.float64, ()),
    }
    wrong = [
        (name, f"{np.dtype(type)} {list(shape)}, found {found.dtype} {list(found.shape)}")
        for name, (type, shape) in expected.items()
        if (found := arrays[name]).dtype != type or found.shape != shape
    ]
    return wrong or _odd_values(arrays)


def _odd_values(arrays: dict[str, NDArray[Any]]) -> list[tuple[str, str]]:
    for name in ("score_quantiles", "means", "whitening", "limit"):
        if not np.isfinite(arrays[name]).all():
            return [(name, "finite, found others")]
    if not arrays["limit"] > 0:
        return [("limit", f"above 0, found {arrays['limit']}")]
    for name in ("score_quantiles", "phashes"):
        if np.any(arrays[name][1:] < arrays[name][:-1]):
            return [(name, "ascending, found another order")]
    return []
