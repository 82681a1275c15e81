"""A document with every kind of block, as sections make them; the numbers are made up."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from batchscan.phantom import draw_phantom
from batchscan.report.document import (
    Axis,
    BarChart,
    Bars,
    Column,
    Document,
    Estimate,
    Flow,
    FlowStep,
    ForestPlot,
    ForestRow,
    Line,
    LineChart,
    Mark,
    Picture,
    Section,
    Sheet,
    Table,
    Text,
)

AUC = Estimate(0.9502, 0.9311, 0.9644, 1240)
NAMES = {"key", "kind", "tone"}
"""Fields whose text is of the program, not of files or labels."""


def phantom_document() -> Document:
    """Return a document with each kind of block at least once, and values of every kind."""
    return Document(
        "Audit of pneumonia scores",
        (
            ("Result", "results.parquet"),
            ("Archive", "/archive/chest"),
            ("Model", "compact, digest 0123456789ab"),
            ("Threshold", "0.4213"),
        ),
        (_texts(), _flow(), _discrimination(), _calibration(), _subgroups(), _pictures()),
    )


def spoiled(value: Any, spoil: Callable[[str], str]) -> Any:
    """Return the same document with each text that files or labels may bring replaced."""
    if isinstance(value, str):
        return spoil(value) if value else value
    if isinstance(value, tuple):
        return tuple(spoiled(each, spoil) for each in value)
    if isinstance(value, dict):
        return {spoil(name): spoiled(each, spoil) for name, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value,
            **{
                field.name: spoiled(getattr(value, field.name), spoil)
                for field in dataclasses.fields(value)
                if field.name not in NAMES
            },
        )
    return value


def _texts() -> Section:
    columns = (Column("figure", "Figure"), Column("estimate", "Estimate (95% interval)", "percent"))
    figures = (
        ("Sensitivity", Estimate(0.9501, 0.9322, 0.9634, 800)),
        ("Specificity", Estimate(0.8825, 0.8481, 0.9101, 440)),
        ("Share of nobody", Estimate(None, None, None, 0)),
        ("Accuracy", Estimate(0.99999, 0.9991, 1.0, 1240)),
    )
    return Section(
        "summary",
        "Summary",
        (
            Text("plain", "1,240 of 1,302 images have a label and a score."),
            Text("good", "Well calibrated: scores can be read as probabilities here.", "good"),
            Text("warning", "12 images were in the model's training set.", "warning"),
            Text("note", "Intervals take images as independent.", "note"),
            Table("key_figures", "Key figures", columns, figures, "Intervals: Wilson (1927)."),
            Table(
                "kinds",
                "Values of every kind",
                (
                    Column("name", "Name"),
                    Column("count", "Images", "count"),
                    Column("percent", "Share", "percent"),
                    Column("figure", "Figure", "figure"),
                    Column("p", "p", "p_value"),
                    Column("score", "Score", "score"),
                    Column("yes", "Yes"),
                ),
                (
                    ("ordinary", 10_000_000, 0.5, 1.25, 0.04, 0.1234, True),
                    ("extreme", 0, 0.00001, -0.00001, 0.0000001, 0.99999, False),
                    ("missing", None, None, math.nan, None, math.inf, None),
                ),
            ),
        ),
    )


def _flow() -> Section:
    steps = (
        FlowStep(
            "Files found",
            1410,
            (("skipped: not_chest", 12), ("skipped: lateral", 40), ("failed", 56)),
        ),
        FlowStep("Scored", 1302, (("without a label", 62),)),
        FlowStep("Scored and labelled", 1240),
    )
    summary = "1,410 found, 1,302 scored, 1,240 of them labelled."
    return Section("flow", "Flow of images", (Flow("flow", "Flow of images", summary, steps),))


def _discrimination() -> Section:
    x = np.linspace(0, 1, 200)
    y = x**0.12
    low, high = y - 0.04 * (1 - x) - 0.01 * (x < 1), np.minimum(y + 0.03, 1)
    curve = Line("Model", *(tuple(each.tolist()) for each in (x, y, low.clip(0), high)))
    chance = Line("Chance", (0.0, 1.0), (0.0, 1.0), dashed=True)
    other = Line("Another model", tuple(x.tolist()), tuple((x**0.3).tolist()), step=True)
    share = (Axis("1 - specificity", 0, 1, "percent"), Axis("Sensitivity", 0, 1, "percent"))
    chart = LineChart(
        "roc",
        "ROC curve",
        "The area under the curve is 0.950.",
        *share,
        (curve, other, chance),
        (Mark("Threshold 0.4213", 0.12, 0.775), Mark("Youden", 0.16, 0.803)),
    )
    return Section("discrimination", "Discrimination", (chart,))


def _calibration() -> Section:
    x = tuple(n / 10 + 0.05 for n in range(10))
    y = tuple(min(1.0, v * 1.05) for v in x)
    model = Line("Model", x, y, tuple(v - 0.04 for v in y), tuple(min(1.0, v + 0.04) for v in y))
    perfect = Line("Perfect calibration", (0.0, 1.0), (0.0, 1.0), dashed=True)
    axes = (Axis("Mean score", 0, 1), Axis("Share labelled positive", 0, 1, "percent"))
    reliability = LineChart(
        "reliability", "Reliability diagram", "Near the diagonal.", *axes, (model, perfect)
    )
    heights = tuple(float(v) for v in (410, 60, 21, 12, 9, 8, 10, 19, 44, 30))
    others = tuple(float(v) for v in (4, 6, 8, 9, 12, 22, 40, 88, 120, 491))
    histogram = BarChart(
        "counts",
        "Labelled images by score",
        "Most images have scores near 0 or 1.",
        Axis("Score", 0, 1),
        Axis("Images", 0, 491, "count"),
        tuple(n / 10 for n in range(11)),
        (Bars("NORMAL", heights), Bars("PNEUMONIA", others)),
        (("Threshold 0.4213", 0.4213), ("Youden", 0.45)),
    )
    return Section("calibration", "Calibration", (reliability, histogram))


def _subgroups() -> Section:
    rows = (
        ForestRow("sex", "female", Estimate(0.948, 0.921, 0.966, 590)),
        ForestRow("sex", "male", Estimate(0.953, 0.93, 0.97, 650)),
        ForestRow("site", "a", Estimate(0.961, 0.94, 0.98, 940)),
        ForestRow("site", "b, with a name that goes on and on", Estimate(0.85, 0.62, 0.95, 285)),
        ForestRow("site", "c", Estimate(0.91, 0.4, 0.99, 15), muted=True),
        ForestRow("site", "nobody", Estimate(None, None, None, 0), muted=True),
    )
    plot = ForestPlot(
        "forest_auc",
        "AUC by group, with 95% intervals",
        "AUC is lowest for site b, 0.850.",
        Axis("AUC", 0.7, 1),
        rows,
        0.9502,
    )
    estimates = (AUC,) * 5
    columns = tuple(
        Column(key, key.upper(), "figure") for key in ("auc", "sens", "spec", "ppv", "npv")
    )
    table = Table(
        "figures_site",
        "Figures by site",
        (Column("group", "site"), Column("n", "Images", "count"), *columns, Column("r", "Remark")),
        (("a", 940, *estimates, None), ("b", 285, *estimates, "too small")),
    )
    return Section("subgroups", "Subgroups", (plot, table))


def _pictures() -> Section:
    shown = [
        Picture(
            _encoded(number, "JPEG"),
            _encoded(number + 10, "PNG") if number % 2 == 0 else None,
            f"Chest X-ray {number}, labelled NORMAL, score 0.98{number}",
            (f"site-a/2024/NORMAL/image-{number:05d}.jpeg", f"score 0.98{number}, labelled NORMAL"),
            {"score": 0.98, "row": number},
        )
        for number in range(4)
    ]
    sheet = Sheet("false_positives", "Most confident false positives", "By score.", tuple(shown))
    return Section("pictures", "Pictures", (sheet, Sheet("none", "False negatives", "", ())))


def _encoded(seed: int, format: str) -> bytes:
    """Return a phantom, for the heat map in false colours."""
    pixels = draw_phantom(np.random.default_rng(seed % 10), seed % 2 == 0, 224, 180)
    image = Image.fromarray(pixels)
    if format == "PNG":
        image = Image.merge("RGB", (image, image.point(lambda grey: grey // 2), image))
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()
