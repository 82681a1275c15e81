"""Whether figures that were measured again hold up what a model's card says.

A figure fails only where its whole 95% interval lies below the card's: few images prove little, and
then it holds. Figures that mix the classes (`MIXED`) depend on how frequent each class is: they are
judged only where that is similar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchscan.metrics.figures import Metric
from batchscan.metrics.measure import MetricsReport

HOLDS, BETTER, LOWER, NOT_JUDGED = "holds", "better", "LOWER", "-"

SIDES = ("test", "out_of_fold", "validation")
"""Sides of the card's figures: the first that is there is what the card says."""

TWO_CLASSES = ("accuracy", "recall", "specificity", "precision", "f1", "auc")
ALL_CLASSES = ("accuracy", "balanced_accuracy", "macro_auc")
EACH_CLASS = ("recall", "auc")
MIXED = frozenset({"accuracy", "precision", "f1"})

SIMILAR = 0.05
"""Classes are similarly frequent where their shares of the images differ by at most this."""


_FREQUENCY = "depends on how frequent the classes are"


@dataclass(frozen=True)
class Verdict:
    """One figure, as measured here and as the card has it (None where it doesn't).

    `word` is one of HOLDS, BETTER, LOWER and NOT_JUDGED; `reason` says why it is the last.
    """

    name: str
    here: Metric
    card: Metric | None
    word: str
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """The verdicts on a model. `side` is that of the card's figures; None where it has none.

    `prevalence_gap` is the largest difference of a class's share of the images; None where the card
    doesn't tell it.
    """

    side: str | None
    verdicts: tuple[Verdict, ...]
    prevalence_gap: float | None

    def named(self, word: str) -> tuple[str, ...]:
        """Return the names of the figures with this verdict."""
        return tuple(verdict.name for verdict in self.verdicts if verdict.word == word)


def compare(report: MetricsReport, card: Mapping[str, Any]) -> Comparison:
    """Compare measured figures with those of a card, which may lack any of them."""
    side, stated = _stated(card)
    gap = _prevalence_gap(report, stated)
    verdicts = []
    for name, class_name in _figures(report.classes):
        shown = f"{name}[{class_name}]" if class_name else name
        here = report.find(name, class_name=class_name)
        verdicts.append(_verdict(shown, here, _read(shown, stated.get(shown)), gap))
    return Comparison(side, tuple(verdicts), gap)


def _figures(classes: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return name and class of each figure that is compared."""
    if len(classes) == 2:
        return [(name, None) for name in TWO_CLASSES]
    together = [(name, None) for name in ALL_CLASSES]
    return [*together, *((name, each) for name in EACH_CLASS for each in classes)]


def _verdict(name: str, here: Metric, card: Metric | None, gap: float | None) -> Verdict:
    reason = _reason(name, here, card, gap)
    if reason or card is None:
        return Verdict(name, here, card, NOT_JUDGED, reason)
    low, high = _interval(here)
    card_low, card_high = _interval(card)
    word = LOWER if high < card_low else BETTER if low > card_high else HOLDS
    return Verdict(name, here, card, word)


def _reason(name: str, here: Metric, card: Metric | None, gap: float | None) -> str:
    """Return why a figure can't be judged; "" where it can."""
    if card is None:
        return "not in the card"
    if here.value is None:
        return "not defined for these images"
    if here.ci_low is None or card.ci_low is None:
        return "no interval can be stated"
    if name in MIXED and gap is None:
        return f"{_FREQUENCY}, which the card does not tell"
    if name in MIXED and gap is not None and gap > SIMILAR:
        return f"{_FREQUENCY}: here a share differs by {gap:.3f}, by more than {SIMILAR:g}"
    return ""


def _interval(metric: Metric) -> tuple[float, float]:
    assert metric.ci_low is not None
    assert metric.ci_high is not None
    return metric.ci_low, metric.ci_high


def _stated(card: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    """Return the side whose figures the card stands for, and those."""
    figures = card.get("figures")
    if isinstance(figures, Mapping):
        for side in SIDES:
            found = figures.get(side)
            if isinstance(found, Mapping) and any(_read(name, found[name]) for name in found):
                return side, found
    return None, {}


def _read(name: str, found: Any) -> Metric | None:
    """Read a figure of a card; None where it has no value, or is none."""
    if not isinstance(found, Mapping) or not _is_number(found.get("value")):
        return None
    low, high = found.get("ci_low"), found.get("ci_high")
    if not (_is_number(low) and _is_number(high)):
        low = high = None
    count = found.get("n")
    return Metric("card", name, found["value"], low, high, count if type(count) is int else 0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _prevalence_gap(report: MetricsReport, stated: Mapping[str, Any]) -> float | None:
    several: Sequence[str | None] = report.classes if len(report.classes) > 2 else (None,)
    gaps = []
    for class_name in several:
        name = f"prevalence[{class_name}]" if class_name else "prevalence"
        here = report.find("prevalence", class_name=class_name).value
        card = _read(name, stated.get(name))
        if here is None or card is None or card.value is None:
            return None
        gaps.append(abs(here - card.value))
    return max(gaps)
