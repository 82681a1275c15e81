"""Two results of the same images, as a document: what they are, what differs, which is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.compare.pairing import Change, Pairs
from batchscan.compare.side_by_side import Side
from batchscan.report.document import (
    Axis,
    BarChart,
    Bars,
    Block,
    Column,
    Document,
    Section,
    Table,
    Text,
    Value,
)
from batchscan.report.figures.comparison_figures import accuracy_section
from batchscan.schema import FAILED, SCORED, SKIPPED, score_columns
from batchscan.storage.location import Location

_BINS = 40
_FACTS = ("version", "commit", "preprocessing", "preprocessing_digest", "archive", "finished")


def comparison_document(pairs: Pairs, labels: Location | None = None) -> Document:
    """Return the document of a comparison; A is the first result, B the second."""
    facts = [("A", str(pairs.first.result)), ("B", str(pairs.second.result))]
    facts += [("Labels", str(labels))] if labels is not None else []
    return Document(
        "Comparison of two results",
        tuple(facts),
        (
            _inputs_section(pairs),
            _images_section(pairs),
            _scores_section(pairs),
            accuracy_section(pairs),
            _changes_section(pairs),
        ),
    )


def _inputs_section(pairs: Pairs) -> Section:
    """Tell what the two results were made with, and what of that differs."""
    first, second = (_facts(side) for side in (pairs.first, pairs.second))
    columns = (Column("what", "What"), Column("a", "A"), Column("b", "B"))
    rows = tuple((name, first[name], second[name]) for name in first)
    table = Table("inputs", "What was compared", columns, rows)
    return Section("inputs", "The two results", (*_differences(pairs), table))


def _facts(side: Side) -> dict[str, str]:
    model = side.footer.get("model")
    model = model if isinstance(model, Mapping) else {}
    found: dict[str, Any] = {
        "model": model.get("name"),
        "model digest": model.get("digest"),
        "precision": model.get("precision"),
        "classes": ", ".join(side.classes),
        "threshold": None if side.threshold is None else f"{side.threshold:.6g}",
    }
    found |= {name.replace("_", " "): side.footer.get(name) for name in _FACTS}
    return {name: "-" if value is None else str(value) for name, value in found.items()}


def _differences(pairs: Pairs) -> list[Text]:
    """Say what a reader must know before the figures: what was not the same."""
    first, second = (_facts(side) for side in (pairs.first, pairs.second))
    texts = []
    if not pairs.same_classes:
        texts.append(
            Text(
                "classes",
                f"The results have other classes (A: {first['classes']}; B: {second['classes']}): "
                "scores cannot be compared, only which images go together and what is predicted.",
                "warning",
            )
        )
    digests = [side["preprocessing digest"] for side in (first, second)]
    if first["preprocessing"] != second["preprocessing"]:
        texts.append(Text("preprocessing", _otherwise(first, second), "warning"))
    elif "-" not in digests and digests[0] != digests[1]:
        text = "Images were decoded by other versions of the libraries, with other pixels."
        texts.append(Text("preprocessing", text, "note"))
    if first["threshold"] != second["threshold"]:
        text = (
            f"The thresholds differ (A: {first['threshold']}, B: {second['threshold']}): so "
            "decisions may differ where scores do not. Areas under curves do not depend on them."
        )
        texts.append(Text("thresholds", text, "note"))
    precisions = first["precision"], second["precision"]
    if first["model"] == second["model"] and "-" not in precisions and len({*precisions}) == 2:
        text = f"The model of that name scored at other precisions (A: {precisions[0]}, B: "
        texts.append(Text("precisions", f"{text}{precisions[1]}).", "note"))
    if first["model digest"] == second["model digest"] != "-":
        text = "Both results are of the same model: what differs are images, machines or options."
        texts.append(Text("model", text, "note"))
    if first["archive"] != second["archive"]:
        text = "The archives have other names: images are matched by their paths within them."
        texts.append(Text("archive", text, "note"))
    return texts


def _otherwise(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    return (
        f"Images were decoded otherwise (A: {first['preprocessing']}, B: "
        f"{second['preprocessing']}): differences are those of model and decoding together."
    )


def _images_section(pairs: Pairs) -> Section:
    """Count what goes together, so that nothing is left out unsaid."""
    counts = pairs.counts
    both = counts.statuses.total()
    rows: list[tuple[Value, ...]] = [
        ("in A and B", both),
        ("only in A", counts.only_first),
        ("only in B", counts.only_second),
        ("in both, with other content", counts.other_content),
    ]
    if counts.no_number:
        rows += [("scored in both, but with a score that is no number", counts.no_number)]
    rows += [("compared: the same content, with a score in both", pairs.n)]
    blocks: list[Block] = [
        Table(
            "matched",
            "Images by path",
            (Column("images", "Images"), Column("count", "Number", "count")),
            tuple(rows),
            "Only those that are compared enter the figures below.",
        )
    ]
    if set(counts.statuses) - {(SCORED, SCORED)}:
        blocks.append(_statuses(pairs))
    if counts.unknown_content:
        text = f"For {counts.unknown_content:,} of the compared images no SHA-256 was recorded."
        blocks.append(Text("unknown_content", text, "warning"))
    if pairs.unmatched_labels:
        named = ", ".join(pairs.unmatched_examples)
        text = f"{pairs.unmatched_labels:,} labelled paths are not in A, such as {named}."
        blocks.append(Text("unmatched_labels", text, "warning"))
    return Section("images", "Images", tuple(blocks))


def _statuses(pairs: Pairs) -> Table:
    names = (SCORED, SKIPPED, FAILED)
    columns = [Column(name, f"B: {name}", "count") for name in names]
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (f"A: {one}", *(pairs.counts.statuses[one, other] for other in names)) for one in names
    )
    caption = "What became of the images that are in both"
    return Table("statuses", caption, (Column("a", ""), *columns), rows)


def _scores_section(pairs: Pairs) -> Section:
    """Tell how far scores lie apart."""
    if pairs.scores is None or not pairs.n:
        text = "There are no pairs of scores to compare."
        return Section("scores", "Scores", (Text("no_scores", text, "warning"),))
    columns = (
        Column("score", "Score"),
        Column("mean", "Mean of B - A", "score"),
        Column("median", "Median distance", "score"),
        Column("p95", "95% within", "score"),
        Column("largest", "Largest", "score"),
        Column("equal", "Within 0.0001", "percent"),
    )
    gaps = pairs.scores[1].astype(np.float64) - pairs.scores[0]
    names = score_columns(pairs.first.classes)
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (name, *_spread(gaps[:, place])) for place, name in enumerate(names)
    )
    table = Table("distances", "Distances of scores", columns, rows)
    charts = [_histogram(name, gaps[:, place]) for place, name in enumerate(names)]
    return Section("scores", "Scores", (table, *charts))


def _spread(gap: NDArray[np.float64]) -> tuple[float, ...]:
    size = np.abs(gap)
    median, most = np.quantile(size, [0.5, 0.95])
    near = float((size <= 1e-4).mean())
    return float(gap.mean()), float(median), float(most), float(size.max()), near


def _histogram(name: str, gap: NDArray[np.float64]) -> BarChart:
    heights, edges = np.histogram(gap, bins=_BINS, range=(-1, 1))
    shares = heights / gap.size
    up, down = (float((sign * gap > 1e-4).mean()) for sign in (1, -1))
    return BarChart(
        f"gaps_{name}",
        f"Differences B - A of {name}",
        f"Of {gap.size:,} images, {up:.1%} have a higher score in B and {down:.1%} a lower one.",
        Axis("B - A", -1.0, 1.0),
        Axis("share of images", 0.0, float(shares.max()), "percent"),
        tuple(edges.tolist()),
        (Bars("images", tuple(shares.tolist())),),
    )


def _changes_section(pairs: Pairs) -> Section:
    title = "Images whose scores differ most"
    if pairs.scores is None:
        text = "Scores of other classes cannot be compared."
        return Section("changes", title, (Text("not_comparable", text),))
    if not pairs.most_changed:
        text = "No image has another score."
        return Section("changes", title, (Text("no_changes", text),))
    names = score_columns(pairs.first.classes)
    scores = [
        Column(f"{side.lower()}_{name}", f"{side}: {name}", "score")
        for name in names
        for side in ("A", "B")
    ]
    columns = (
        Column("path", "Path"),
        Column("label", "Label"),
        *scores,
        Column("a_prediction", "A: prediction"),
        Column("b_prediction", "B: prediction"),
    )
    caption = f"The {len(pairs.most_changed)} images with the largest distance"
    rows = tuple(_change_row(change) for change in pairs.most_changed)
    return Section("changes", title, (Table("changes", caption, columns, rows),))


def _change_row(change: Change) -> tuple[Value, ...]:
    scores = [value for both in zip(*change.scores, strict=True) for value in both]
    return (change.path, change.label, *scores, *change.predictions)
