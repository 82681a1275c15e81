"""training.evaluation: the figures at a threshold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from training.evaluation import evaluate, for_card, render, roc_curve
from training.operating_point import choose_threshold

pairs = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 40).map(lambda n: np.float32(n / 40))),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def arrays(rows: list[tuple[int, np.float32]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, dtype=np.uint8), np.array(scores, dtype=np.float32)


def test_constant_scores() -> None:
    """A network that gives one score to all has a threshold and figures all the same."""
    labels, scores = np.array([0, 1, 1], dtype=np.uint8), np.float32([0.7, 0.7, 0.7])
    figures = evaluate(labels, scores, choose_threshold(labels, scores))
    assert figures["auc"].value == 0.5
    assert figures["recall"].value == 1


@given(rows=pairs)
def test_curve_agrees_with_reference(rows: list[tuple[int, np.float32]]) -> None:
    """The ROC curve is scikit-learn's, with every point."""
    labels, scores = arrays(rows)
    false, true = roc_curve(labels, scores)
    expected_false, expected_true, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(false, expected_false)
    np.testing.assert_allclose(true, expected_true)


@given(rows=pairs)
def test_figures_agree_with_reference(rows: list[tuple[int, np.float32]]) -> None:
    """The figures are scikit-learn's, at the threshold."""
    labels, scores = arrays(rows)
    threshold = choose_threshold(labels, scores)
    figures = for_card(evaluate(labels, scores, threshold))
    predicted = scores >= np.float32(threshold)
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "precision": reference.precision_score(labels, predicted, zero_division=np.nan),
        "recall": reference.recall_score(labels, predicted),
        "f1": reference.f1_score(labels, predicted),
        "auc": reference.roc_auc_score(labels, scores),
    }
    for name, value in expected.items():
        found = figures[name]["value"]
        np.testing.assert_allclose(np.nan if found is None else found, value, rtol=1e-6)


def test_table_shows_each_side() -> None:
    """The printed table has the figures of every side with their intervals, within 80 columns."""
    labels, scores = np.array([0, 0, 1, 1], dtype=np.uint8), np.float32([0.1, 0.6, 0.4, 0.9])
    figures = evaluate(labels, scores, 0.5)
    text = render({"validation": figures, "test": figures})
    assert text.splitlines()[0].split() == ["validation", "test"]
    assert text.count("0.7500 (") == 2
    for name in ("accuracy", "precision", "recall", "f1", "auc"):
        assert f"\n{name} " in text
    assert max(map(len, text.splitlines())) < 80
