"""Groups of images within a class, as file names tell them; for tests on a group never seen.

In the data set of Kermany, Zhang and Goldbaum (2018) the normal images come in two series, `IM` and
`NORMAL2-IM`, and pneumonia is `bacteria` or `virus`. A network that is trained without one of them
meets images like those of another year, or of another kind of the disease.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.outcomes import predicted_positive
from batchscan.statistics import Interval, delong_interval, roc_auc, wilson_interval

_GROUP = re.compile(r"(?:(NORMAL2-IM|IM)-\d+|person\d+_(bacteria|virus))[-_]", re.IGNORECASE)


@dataclass(frozen=True)
class GroupReport:
    """How a network does on a group that it was not trained on.

    `images` of the group, and `others`: images of the other classes, also not trained on. `auc`
    tells the group from the others. `right` is the share of the group's images that are predicted
    to be of their class, `others_right` that of the others. Intervals are of 95%.
    """

    group: str
    images: int
    others: int
    auc: float
    auc_interval: Interval | None
    right: float
    right_interval: Interval | None
    others_right: float
    others_right_interval: Interval | None


def group_of(file_name: str) -> str | None:
    """Return the group that a file name tells, or None where it follows no known rule."""
    match = _GROUP.match(file_name)
    if match is None:
        return None
    return match[1].upper() if match[1] else match[2].lower()


def group_report(
    group: str,
    labels: NDArray[np.uint8],
    scores: NDArray[np.float32],
    inside: NDArray[np.bool_],
    threshold: float | None,
) -> GroupReport:
    """Measure scores (N,) or (N, C) of labels (N,), of which those `inside` are of the group.

    The images of the group have one label, which no other image has. Scores (N,) predict class 1 at
    the threshold, scores (N, C) the likeliest.
    """
    label = int(labels[inside][0])
    if scores.ndim == 2:
        of_class, predicted = scores[:, label], scores.argmax(axis=1)
    else:
        of_class = scores if label == 1 else 1 - scores
        predicted = predicted_positive(scores, threshold or 0.0).astype(np.int64)
    right = predicted == labels
    return GroupReport(
        group,
        int(inside.sum()),
        int((~inside).sum()),
        float(roc_auc(inside, of_class) or 0.0),
        delong_interval(inside, of_class),
        float(right[inside].mean()),
        wilson_interval(int(right[inside].sum()), int(inside.sum())),
        float(right[~inside].mean()),
        wilson_interval(int(right[~inside].sum()), int((~inside).sum())),
    )


def for_card(report: GroupReport) -> dict[str, Any]:
    """Return a report as JSON values, rates to 5 digits."""
    return {
        name: [round(end, 5) for end in value]
        if isinstance(value, tuple | list)
        else round(value, 5)
        if isinstance(value, float)
        else value
        for name, value in asdict(report).items()
    }
