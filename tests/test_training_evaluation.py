"""training.evaluation: the figures at a threshold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from training.evaluation import evaluate, for_card, render, roc_curve
from training.operating_point import choose_threshold

TWO, THREE = ("NORMAL", "PNEUMONIA"), ("NORMAL", "BACTERIA", "VIRUS")

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
    figures = evaluate(labels, scores, choose_threshold(labels, scores), TWO)
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
    figures = for_card(evaluate(labels, scores, threshold, TWO))
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


classes = st.lists(
    st.tuples(st.integers(0, 2), st.tuples(*[st.integers(1, 40)] * 3)), min_size=3, max_size=60
).filter(lambda rows: len({label for label, _ in rows}) == 3)


@given(rows=classes)
def test_figures_of_classes_agree_with_reference(
    rows: list[tuple[int, tuple[int, ...]]],
) -> None:
    """With three classes the likeliest is predicted, and the figures are scikit-learn's."""
    labels = np.array([label for label, _ in rows], dtype=np.uint8)
    weights = np.array([row for _, row in rows], dtype=np.float32)
    scores = weights / weights.sum(axis=1, keepdims=True)
    figures = evaluate(labels, scores, None, THREE)
    predicted = scores.argmax(axis=1)
    assert figures["accuracy"].value == reference.accuracy_score(labels, predicted)
    expected = [reference.roc_auc_score(labels == n, scores[:, n]) for n in range(3)]
    for name, area in zip(THREE, expected, strict=True):
        np.testing.assert_allclose(figures[f"auc[{name}]"].value, area, rtol=1e-6)
    np.testing.assert_allclose(figures["macro_auc"].value, np.mean(expected), rtol=1e-6)


def test_table_of_classes() -> None:
    """The printed table of three classes has the figures of all, and of each by its name."""
    labels = np.array([0, 1, 2, 2], dtype=np.uint8)
    scores = np.float32([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
    text = render({"out_of_fold": evaluate(labels, scores, None, THREE)})
    assert text.splitlines()[0].split() == ["out_of_fold"]
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["images"].split()[1] == "4"
    assert "0.7500" in lines["accuracy"]
    assert "0.5000" in lines["recall[VIRUS]"]


def test_table_shows_each_side() -> None:
    """The printed table has the figures of every side with their intervals, within 90 columns."""
    labels, scores = np.array([0, 0, 1, 1], dtype=np.uint8), np.float32([0.1, 0.6, 0.4, 0.9])
    figures = evaluate(labels, scores, 0.5, TWO)
    text = render({"out_of_fold": figures, "test": figures})
    assert text.splitlines()[0].split() == ["out_of_fold", "test"]
    assert text.count("0.7500 (") == 2
    for name in ("accuracy", "precision", "recall", "f1", "auc"):
        assert f"\n{name} " in text
    assert max(map(len, text.splitlines())) < 90
