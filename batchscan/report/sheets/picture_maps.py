"""What the model says of the images that are shown: their scores once more, and their maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from batchscan.errors import BundleError
from batchscan.model.activation import Explained, open_explainer
from batchscan.model.bundle import Bundle
from batchscan.report.input.rows import Rows

LEAST_FULL = 14.0
"""Logits that are needed for the full colour at least, those of a score of 0.999999: so an archive
of healthy chests does not glow."""


@dataclass(frozen=True)
class Maps:
    """The scores and maps of images that are known by their row numbers.

    `full` is the value of a map that has full colour, in logits. `problem` says why there are no
    maps, or not even scores, where that is so.
    """

    problem: str | None = None
    full: float = LEAST_FULL
    explained: Explained | None = None
    places: Mapping[int, int] = field(default_factory=dict)

    def scores(self, number: int) -> NDArray[np.float32] | None:
        """Return the scores of a row's image: (), or (C,) for C classes."""
        if self.explained is None:
            return None
        return np.asarray(self.explained.scores[self.places[number]])

    def of(self, number: int, class_number: int) -> NDArray[np.float32] | None:
        """Return the map of a row's image for a class, float32 (h, w), in logits."""
        if self.explained is None:
            return None
        return self.explained.speaking_for(self.places[number], class_number)


def maps_of(rows: Rows, bundle: Bundle, squares: Mapping[int, NDArray[np.uint8]]) -> Maps:
    """Run the network on uint8 (S, S) images, under their row numbers."""
    if not squares:
        return Maps()
    unchecked = "There are no heat maps, and the scores of the pictures are not checked"
    model = rows.footer.get("model")
    digest = model.get("digest") if isinstance(model, Mapping) else None
    if digest is not None and digest != bundle.digest:
        return Maps(f"{unchecked}: {bundle.name} is not the model that made the result.")
    try:
        explained = open_explainer(bundle).explain(np.stack(list(squares.values())))
    except BundleError as error:
        return Maps(f"{unchecked}: {error}.")
    places = {number: place for place, number in enumerate(squares)}
    if explained.maps is None:
        problem = f"There are no heat maps: {bundle.name} does not tell where its scores come from."
        return Maps(problem, explained=explained, places=places)
    strong = float(np.percentile(np.abs(explained.maps), 98))
    return Maps(None, max(LEAST_FULL, strong), explained, places)
