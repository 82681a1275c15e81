"""A bundle's card as text: what the model is, what it was measured to be worth, and its limits.

Sections are shown for the fields that the card has. Fields that this program doesn't know, or that
have another shape than it knows, are shown by their names: nothing of a card is left out but the
long lists, of which `batchscan model show --json` prints all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchscan.model import card_tables
from batchscan.model.bundle import Bundle
from batchscan.model.card import INT8_FILE
from batchscan.terminal.outline import one_line, outline, rates
from batchscan.terminal.text import entries, paragraph, printable

Fields = dict[str, Any]
"""What of a card hasn't been shown yet: each section takes out what it shows."""


def render_card(bundle: Bundle) -> str:
    """Lay a bundle's card out for a terminal, less than 80 columns wide for usual names."""
    card: Fields = dict(bundle.card)
    training = card.pop("training", {})
    about: Fields = dict(training) if isinstance(training, Mapping) else {"training": training}
    sections = {
        printable(bundle.name): _identity(bundle, card),
        "Intended use": _take(card, "intended_use", _sentences),
        "Data": _data(about),
        "Training": outline(about),
        "Figures, with 95% intervals": _take(card, "figures", card_tables.figures),
        "Calibration": _take(card, "calibration", card_tables.calibration),
        "The network in 8-bit integers": _take(card, "int8", outline),
        "Operating point": _operating_point(bundle, card),
        "Shift suite": _take(card, "shift_suite", card_tables.shift_suite),
        "Groups left out of training": _take(card, "groups_left_out", _groups),
        "Reference of the training images": _take(card, "reference", outline),
        "Limits": _take(card, "limits", _sentences),
        "Files, by SHA-256": _files(card.pop("files")),
        "Further fields": outline(card),
    }
    return "\n\n".join("\n".join([title, *lines]) for title, lines in sections.items() if lines)


def _files(digests: Mapping[str, str]) -> list[str]:
    """Lay out each digest below its name: side by side, they are too wide."""
    return [line for name, digest in digests.items() for line in (f"  {name}", f"    {digest}")]


def _identity(bundle: Bundle, card: Fields) -> list[str]:
    """Say what produces the scores. The bundle has read and checked all these fields."""
    size = bundle.input_size
    pairs = [("model", bundle.digest)]
    if INT8_FILE in card["files"]:
        pairs.append(("at int8", bundle.at_precision("int8").digest))
    pairs.append(("classes", ", ".join(bundle.classes)))
    if bundle.positive_class:
        pairs.append(("high score", bundle.positive_class))
    pairs.append(("input", f"{size} x {size} grey pixels, decoded by {bundle.preprocessing}"))
    for known in ("name", "classes", "input", "preprocessing", "format", "format_version"):
        del card[known]
    pairs += [
        (name, one_line(card.pop(name)))
        for name in ("network", "created", "batchscan")
        if name in card
    ]
    return entries(pairs)


def _take(card: Fields, name: str, render: Callable[[Any], list[str]]) -> list[str]:
    """Take a field out of the card and lay it out; without a field, there is no line."""
    value = card.pop(name, None)
    if value is None:
        return []
    try:
        return render(value)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return outline({name: value})  # A shape that is not known: another version's, perhaps.


def _sentences(value: Any) -> list[str]:
    """Lay out a text, or a list of texts."""
    if isinstance(value, str):
        return paragraph(value)
    if not isinstance(value, list):
        raise TypeError(f"expected a text or a list, found {type(value).__name__}")
    return [line for item in value for line in paragraph(one_line(item), "    ", "  - ")]


def _data(training: Fields) -> list[str]:
    """Lay out which images trained; takes these fields out of the card's `training`."""
    names = {"data_sha256": "fingerprint", "age_group": "age group"}
    names |= {name: name for name in ("excluded", "split", "parts")}
    shown = {title: training.pop(name) for name, title in names.items() if name in training}
    sides = _take(training, "sides", card_tables.sides)
    return outline(shown) + (["", *sides] if sides and shown else sides)


def _operating_point(bundle: Bundle, card: Fields) -> list[str]:
    threshold = card.pop("threshold", None)
    shown = {} if threshold is None else {"threshold": f"{threshold:.6g}"}
    if "threshold_rule" in card:
        shown["rule"] = card.pop("threshold_rule")
    elif bundle.threshold is None:
        shown["rule"] = "the likeliest class is predicted"
    curve = _take(card, "operating_curve", card_tables.operating_curve)
    return outline(shown) + (["", *curve] if curve else [])


def _groups(reports: Any) -> list[str]:
    """Lay out what trainings without a group of images made of that group."""
    pairs = []
    for report in reports:
        (_, name), *found = rates(report).items()
        pairs.append((name, one_line(dict(found))))
    return entries(pairs)
