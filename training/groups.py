"""Sub-groups of the data set, and how a network does on one that it never saw in training.

Kermany, Zhang and Goldbaum's file names tell two series of normal images (`IM`, `NORMAL2-IM`) and
two kinds of pneumonia (`bacteria`, `virus`). A network that learned what pneumonia looks like, not
what one series or one germ looks like, still works on a group that was left out of its training.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.metrics.outcomes import predicted_positive
from batchscan.metrics.statistics import delong_interval, roc_auc, wilson_interval

_GROUP = re.compile(r"((?:NORMAL2-)?IM)-\d+-\d+|person\d+_(bacteria|virus)_\d+", re.IGNORECASE)


@dataclass(frozen=True)
class LeftOut:
    """Scores of a network that was trained without a group, of images that it never saw.

    `scores` (n,) are of the group's images, which all have the class `label`, 0 or 1; `others` (m,)
    are of images of the other class. All are scores of class 1, from 0 to 1; n and m are 1 or more.
    """

    label: int
    scores: NDArray[np.float32]
    others: NDArray[np.float32]


@dataclass(frozen=True)
class GroupFigures:
    """How a network does on a group that was left out, with 95% intervals.

    `auc` is against the images of the other class. `right` is the share of the group's images on
    their side of the threshold: the sensitivity of a positive group, the specificity of a negative
    one. The interval of the AUC is DeLong's, None where none can be stated; the other is Wilson's.
    """

    label: int
    images: int
    others: int
    auc: float
    auc_low: float | None
    auc_high: float | None
    right: float
    right_low: float
    right_high: float


def group_of(file_name: str) -> str | None:
    """Return `IM`, `NORMAL2-IM`, `bacteria` or `virus`; None where the name follows no known rule.

    The case of letters doesn't matter.
    """
    match = _GROUP.match(file_name)
    if match is None:
        return None
    return match[1].upper() if match[1] else match[2].lower()


def positions_of(file_names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return for each group, by name, the ascending positions of its images, int64."""
    found: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(file_names):
        if group := group_of(name):
            found[group].append(position)
    return {group: np.array(found[group], dtype=np.int64) for group in sorted(found)}


def group_report(left_out: Mapping[str, LeftOut], threshold: float) -> dict[str, GroupFigures]:
    """Measure each group that was left out; the keys are the groups' names.

    Raises `ValueError` where there are no images of a group, or none of the other class.
    """
    return {name: _figures(name, group, threshold) for name, group in left_out.items()}


def for_card(report: Mapping[str, GroupFigures], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return a report as JSON values, one row for each group, with the name of its class."""
    rows = []
    for name, figures in report.items():
        values = asdict(figures)
        rows.append({"group": name, "class": classes[values.pop("label")], **values})
    return rows


def _figures(name: str, group: LeftOut, threshold: float) -> GroupFigures:
    of_group = np.repeat([True, False], [len(group.scores), len(group.others)])
    positive = of_group if group.label == 1 else ~of_group
    scores = np.concatenate([group.scores, group.others])
    auc = roc_auc(positive, scores)
    right = predicted_positive(group.scores, threshold) == (group.label == 1)
    share = wilson_interval(int(right.sum()), len(right))
    if auc is None or share is None:
        raise ValueError(f"{name}: expected images of the group and of the other class, found none")
    low, high = delong_interval(positive, scores) or (None, None)
    return GroupFigures(
        label=group.label,
        images=len(group.scores),
        others=len(group.others),
        auc=auc,
        auc_low=low,
        auc_high=high,
        right=float(right.mean()),
        right_low=share[0],
        right_high=share[1],
    )
