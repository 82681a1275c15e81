"""training.groups: sub-groups by file name, and figures of those left out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tiny_bundle import tiny_onnx

from batchscan.metrics.statistics import delong_interval, wilson_interval
from training.crossvalidation import group_tasks
from training.dataset import LabelledImage, patient_of
from training.groups import LeftOut, for_card, group_of, group_report, positions_of
from training.member import TRAIN, Member
from training.options import TrainingOptions
from training.outcome import Exported, Measured, doubts
from training.prepare import PreparedData
from training.split import Split

few_scores = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=1, max_size=30).map(
    np.float32
)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("IM-0115-0001.jpeg", "IM"),
        ("IM-0187-0001-0002.jpeg", "IM"),
        ("NORMAL2-IM-0383-0001.jpeg", "NORMAL2-IM"),
        ("normal2-im-0383-0001.JPEG", "NORMAL2-IM"),
        ("person100_bacteria_475.jpeg", "bacteria"),
        ("person1000_virus_1681.jpeg", "virus"),
        ("person1_Virus_6.jpeg", "virus"),
        ("person1_fungus_6.jpeg", None),
        ("IM.jpeg", None),
        ("scan.png", None),
        ("", None),
    ],
)
def test_group_of_a_name(name: str, group: str | None) -> None:
    """Series of normal images and kinds of pneumonia are told by the name, in any case; no other
    name has a group, and every name with a group also tells the patient."""
    assert group_of(name) == group
    assert (patient_of(name) is None) == (group is None)


def test_positions_of_groups() -> None:
    """Each image of a known name is in one group, at its position."""
    names = ["IM-1-1.jpeg", "x.png", "person1_virus_1.jpeg", "IM-2-1.jpeg"]
    found = {group: places.tolist() for group, places in positions_of(names).items()}
    assert found == {"IM": [0, 3], "virus": [2]}


@given(group=few_scores, others=few_scores, label=st.integers(0, 1))
def test_figures_agree_with_reference(group: np.ndarray, others: np.ndarray, label: int) -> None:
    """AUC, rate and intervals are those of the group's images against the others, whichever of
    the two is positive."""
    found = group_report({"virus": LeftOut(label, group, others)}, 0.5)["virus"]
    truth = np.array([label] * len(group) + [1 - label] * len(others))
    scores = np.concatenate([group, others])
    right = (group >= 0.5) == (label == 1)
    assert found.auc == pytest.approx(roc_auc_score(truth, scores))
    assert found.right == pytest.approx(right.mean())
    assert (found.right_low, found.right_high) == wilson_interval(right.sum(), len(right))
    expected = delong_interval(truth == 1, scores) or (None, None)
    assert (found.auc_low, found.auc_high) == expected
    assert (found.images, found.others) == (len(group), len(others))


def test_report_is_json() -> None:
    """The card has a row for each group, in the order given."""
    scores = np.float32([0.9, 0.2])
    report = group_report(
        {"virus": LeftOut(1, scores, scores), "IM": LeftOut(0, scores, scores)}, 0.5
    )
    rows = json.loads(json.dumps(for_card(report, ("NORMAL", "PNEUMONIA")), allow_nan=False))
    assert [(row["group"], row["class"], row["right"]) for row in rows] == [
        ("virus", "PNEUMONIA", 0.5),
        ("IM", "NORMAL", 0.5),
    ]


def test_empty_groups_are_refused() -> None:
    """A group without images, or nothing to hold it against, is an error that names the group."""
    some, none = np.float32([0.5]), np.float32([])
    for group in (LeftOut(1, none, some), LeftOut(1, some, none)):
        with pytest.raises(ValueError, match="virus"):
            group_report({"virus": group}, 0.5)


def dataset_of(files: list[tuple[str, int]]) -> PreparedData:
    """Return images with their labels, every second one held out; there is nothing to see."""
    members = tuple(
        Member(LabelledImage(name, label, name, None), "", TRAIN) for name, label in files
    )
    labels = np.array([label for _, label in files], dtype=np.uint8)
    split = Split(("NORMAL", "PNEUMONIA"), members, np.arange(len(files)) % 2, ())
    return PreparedData(np.zeros((len(files), 2, 2), np.uint8), labels, split, split.classes, {})


def test_a_name_in_both_classes_is_no_group() -> None:
    """Only groups of one class are left out, each from the training, whole for the validation."""
    names = ["IM-1-1.png", "IM-2-1.png", "NORMAL2-IM-1-1.png", "NORMAL2-IM-2-1.png"]
    sick = ["person1_virus_1.png", "person2_virus_1.png", "person3_bacteria_1.png", "IM-3-1.png"]
    alike = dataset_of([(name, 0) for name in names] + [(name, 1) for name in sick])
    assert [task.name for task in group_tasks(alike)] == ["without-bacteria", "without-virus"]
    apart = dataset_of([(name, 0) for name in names] + [(name, 1) for name in sick[:3]])
    task = group_tasks(apart)[0]
    assert task.name == "without-IM"
    assert not set(task.train) & {0, 1}
    assert {0, 1} <= set(task.validation)


@pytest.mark.parametrize(("threshold", "doubted"), [(0.5, False), (1.1, True)])
def test_a_network_unlike_its_folds_is_doubted(threshold: float, doubted: bool) -> None:
    """Where the written network is worse on its own images than the folds' on others, it is said.

    It scores black images 0 and white ones 1; the folds' figures are perfect.
    """
    options = TrainingOptions(workers=1)
    size = options.architecture.input_size
    data = dataset_of([(f"{number}.png", number % 2) for number in range(8)])
    white = np.ones((1, size, size), np.uint8) * 255
    data = replace(data, pixels=data.labels[:, None, None] * white)
    unused: Any = None
    measured = Measured(
        side="out_of_fold",
        held_out=unused,
        calibration=unused,
        threshold=threshold,
        scored={"out_of_fold": (data.labels, data.labels + np.float32(0.2))},
        figures={},
        shift=unused,
        groups={},
    )
    exported = Exported({"model.onnx": tiny_onnx(size)}, 0.0, 8)
    found = doubts(measured, exported, data, options)
    assert bool(found) == doubted
    assert not doubted or "gets 50.0% of its own training images right" in found[0]
