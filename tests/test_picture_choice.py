"""Tests of which images go into the contact sheets."""

from __future__ import annotations

import numpy as np
from picture_rows import made_up, made_up_of_three

from batchscan.report.input.rows import Rows
from batchscan.report.sheets.picture_choice import MOST_PICTURES, PER_SHEET, choose

N, P = "NORMAL", "PNEUMONIA"


def chosen(rows: Rows) -> dict[str, list[int]]:
    return {choice.key: choice.numbers.tolist() for choice in choose(rows)}


def test_sheets_of_two_classes() -> None:
    """Mistakes come by how certain they are, highest scores from the top, borderline in order."""
    rows = made_up([0.9, 0.1, 0.6, 0.45, None, 0.99, 0.05], [N, P, N, N, P, P, P])
    assert chosen(rows) == {
        "false_positives": [0, 2],
        "false_negatives": [6, 1],
        "highest": [5, 0, 2, 3, 1, 6],
        "borderline": [6, 1, 3, 2, 0, 5],
    }


def test_without_labels() -> None:
    """Without labels there are no sheets of mistakes."""
    assert set(chosen(made_up([0.1, 0.9]))) == {"highest", "borderline"}


def test_the_threshold_itself_is_predicted_positive() -> None:
    """A score that shows as the threshold is no false negative, as in the result."""
    rows = made_up([0.7, 0.7], [N, P], threshold=0.7)
    assert chosen(rows)["false_positives"] == [0]
    assert chosen(rows)["false_negatives"] == []


def test_borderline_has_either_side() -> None:
    """Half of the borderline cases lie below the threshold, however many are nearer above."""
    rows = made_up([0.1] * 20 + [0.51] * 20)
    borderline = chosen(rows)["borderline"]
    assert [number < 20 for number in borderline] == [True] * 6 + [False] * 6


def test_copies_are_shown_once() -> None:
    """Of images with the same content the first is shown, and room is left for others."""
    contents = [7] * 30 + [8, None, None]
    rows = made_up([0.9] * 30 + [0.8, 0.7, 0.7], contents=contents)
    assert chosen(rows)["highest"] == [0, 30, 31, 32]


def test_equal_scores_come_in_order() -> None:
    """Which of many equal scores are shown does not depend on chance: the first of the result."""
    rows = made_up([0.5] * 5000 + [0.6])
    assert chosen(rows)["highest"] == [5000, *range(PER_SHEET - 1)]


def test_nothing_scored() -> None:
    """A result without any score has empty sheets."""
    assert chosen(made_up([None, None], [N, P])) == {
        "false_positives": [], "false_negatives": [], "highest": [], "borderline": []
    }  # fmt: skip


def test_three_classes() -> None:
    """With more classes there are mistakes, undecided ones, and the likeliest of each class."""
    scores = [[0.8, 0.1, 0.1], [0.2, 0.45, 0.35], [0.0, 0.1, 0.9], [0.5, 0.25, 0.25]]
    found = chosen(made_up_of_three(scores, ["A", "A", "B", None]))
    assert found["mistakes"] == [2, 1]
    assert found["borderline"] == [1, 3, 0, 2]
    assert found["highest_1"] == [0, 3, 1, 2]
    assert found["highest_3"] == [2, 1, 3, 0]


def test_ten_thousand_rows_agree_with_a_sort() -> None:
    """The choice is that of a plain sort over all rows."""
    scores = np.random.default_rng(0).random(10_000).astype(np.float32)
    found = chosen(made_up(scores.tolist(), [N] * 10_000))
    expected = sorted(range(10_000), key=lambda n: (-scores[n], n))[:PER_SHEET]
    assert found["highest"] == found["false_positives"] == expected
    assert sum(map(len, found.values())) <= MOST_PICTURES
