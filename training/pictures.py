"""Pictures of a training run, as PNG files."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from batchscan.metrics.measure import Metric
from training.calibration_quality import CalibrationQuality, CalibrationReport
from training.evaluation import roc_curve
from training.shift import STRENGTHS
from training.shift_report import ShiftReport

BLUE = "#4477aa"
RED = "#cc6677"
GREY = "#999999"
COLOURS = (RED, BLUE, "#ddaa33", "#228833", "#aa3377", "#66ccee")  # told apart by most eyes
TAIL = 32  # letters of a path that fit above a picture


def draw_samples(pixels: Sequence[NDArray[np.uint8]], classes: Sequence[str], path: Path) -> None:
    """Draw images of every class; `pixels` has for each class uint8 (N, S, S)."""
    columns = max(len(images) for images in pixels)
    figure = Figure(figsize=(1.9 * columns, 2.25 * len(pixels)), layout="constrained")
    axes = figure.subplots(len(pixels), columns, squeeze=False)
    for row, images in enumerate(pixels):
        axes[row, 0].set_title(classes[row], loc="left", fontsize=11)
        for column in range(columns):
            axes[row, column].set_axis_off()
            if column < len(images):
                axes[row, column].imshow(images[column], cmap="gray", vmin=0, vmax=255)
    _save(figure, path)


def draw_history(history: Sequence[Mapping[str, float]], best_epoch: int, path: Path) -> None:
    """Draw loss and accuracy of each epoch; the training's are with augmentation and dropout."""
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, colour in (
            (name, "training (augmented)", BLUE),
            (f"val_{name}", "validation", RED),
        ):
            if key not in history[0]:
                continue
            values = [row[key] for row in history]
            axes.plot(epochs, values, "o-", color=colour, label=label, markersize=4)
        axes.axvline(best_epoch, color=GREY, linestyle=":", label="epoch kept")
        axes.set(xlabel="epoch", title=name.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    _save(figure, path)


def draw_confusion(
    counts: Mapping[str, NDArray[np.int64]], classes: Sequence[str], path: Path
) -> None:
    """Draw counts (C, C), actual classes in rows, as heat maps coloured by the share of a row.

    The keys of `counts` are the titles.
    """
    names = [textwrap.fill(name.replace("_", " "), 12) for name in classes]
    side = max(4.0, 1.5 * len(classes))
    figure = Figure(figsize=((side + 0.4) * len(counts), side), layout="constrained")
    places = range(len(classes))
    for axes, (title, matrix) in zip(
        figure.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True
    ):
        shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            text = f"{count}\n{share:.1%}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=12)
        axes.set_xticks(places, names)
        axes.set_yticks(places, names, rotation=90, va="center", multialignment="center")
        axes.set(xlabel="predicted", ylabel="actual", title=title)
    _save(figure, path)


def draw_roc(
    scored: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]],
    results: Mapping[str, Mapping[str, Metric]],
    path: Path,
) -> None:
    """Draw the ROC curves of the sides from (labels, scores), and where the threshold lies."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    whole, corner = figure.subplots(1, 2)
    for axes in (whole, corner):
        for colour, (side, (labels, scores)) in zip(COLOURS, scored.items(), strict=False):
            metrics = results[side]
            label = f"{side}, AUC {metrics['auc'].value:.4f}"
            axes.step(*roc_curve(labels, scores), where="post", color=colour, label=label)
            recall, specificity = metrics["recall"].value or 0, metrics["specificity"].value or 0
            axes.plot(1 - specificity, recall, "o", color=colour)
        axes.plot([], [], "o", color=GREY, label="at the threshold")
        axes.plot([0, 1], [0, 1], ":", color=GREY, label="chance")
        axes.set(xlabel="false positive rate (1 - specificity)", aspect="equal")
        axes.grid(alpha=0.3)
    whole.set(ylabel="true positive rate (recall)", title="ROC curve")
    whole.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    whole.legend(frameon=False, loc="lower right")
    corner.set(title="Its upper left corner", xlim=(-0.005, 0.205), ylim=(0.795, 1.005))
    corner.xaxis.set_major_locator(MultipleLocator(0.05))
    corner.yaxis.set_major_locator(MultipleLocator(0.05))
    _save(figure, path)


def draw_reliability(report: CalibrationReport, path: Path) -> None:
    """Draw predicted against observed rates, before and after, and how many images a bin has."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 2, sharex=True, height_ratios=(4, 1))
    for axes, counts, title, quality, colour in zip(
        upper,
        lower,
        ("Before calibration", "After calibration"),
        (report.before, report.after),
        (RED, BLUE),
        strict=True,
    ):
        _draw_bins(axes, quality, colour)
        error, brier = quality.expected_calibration_error, quality.brier
        axes.set_title(f"{title}\ncalibration error {error:.4f}, Brier score {brier:.4f}")
        predicted = [each.predicted for each in quality.bins]
        number = [each.count for each in quality.bins]
        counts.vlines(predicted, 0, number, color=colour, linewidth=3)
        counts.set(xlabel="predicted probability, mean of a bin", ylim=(0, 1.2 * max(number)))
        counts.grid(alpha=0.3)
    upper[0].set_ylabel("observed share")
    lower[0].set_ylabel("images")
    figure.legend(*upper[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    _save(figure, path)


def _draw_bins(axes: Any, quality: CalibrationQuality, colour: str) -> None:
    bins = quality.bins
    below = [each.observed - each.ci_low for each in bins]
    above = [each.ci_high - each.observed for each in bins]
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="as it should be")
    axes.errorbar(
        [each.predicted for each in bins],
        [each.observed for each in bins],
        yerr=(below, above),
        fmt="o-",
        color=colour,
        ecolor="black",
        elinewidth=0.8,
        capsize=2,
        markersize=4,
        label="bins of equal count, 95% interval",
    )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)


def draw_mistakes(
    pixels: NDArray[np.uint8], captions: Sequence[tuple[str, str]], path: Path
) -> None:
    """Draw images, uint8 (N, S, S), N of 1 or more, as a contact sheet, six in a row.

    Each caption has the image's path, whose tail is shown, and a line such as "NORMAL, score 0.98".
    """
    columns = min(6, len(pixels))
    rows = -(-len(pixels) // columns)
    figure = Figure(figsize=(2.1 * columns, 2.55 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, image, (name, line) in zip(axes, pixels, captions, strict=False):
        place.imshow(image, cmap="gray", vmin=0, vmax=255)
        tail = name if len(name) <= TAIL else "..." + name[3 - TAIL :]
        place.set_title(f"{tail}\n{line}", fontsize=7.5)
    _save(figure, path)


def draw_shifts(report: ShiftReport, path: Path) -> None:
    """Draw each figure after each change as a point, in a row for each kind of change."""
    kinds = list(dict.fromkeys(row.shift for row in report.rows))
    names = list(report.clean)
    figure = Figure(figsize=(3.4 * len(names) + 1, 0.36 * len(kinds) + 1.7), layout="constrained")
    for axes, name in zip(
        figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True
    ):
        axes.axvline(report.clean[name], color="black", linewidth=1, label="unchanged images")
        for number, (strength, size) in enumerate(zip(STRENGTHS, (4, 6, 8), strict=True)):
            rows = [row for row in report.rows if row.strength == strength]
            values = [row.figures[name] for row in rows]
            places = [kinds.index(row.shift) + (number - 1) * 0.22 for row in rows]
            colour = ("#99bbdd", BLUE, RED)[number]
            axes.plot(values, places, "o", color=colour, markersize=size, label=strength)
        worst, where = report.worst[name], report.worst_at[name]
        title = f"{name.upper() if name == 'auc' else name.capitalize()}\nmean "
        axes.set_title(f"{title}{report.mean[name]:.3f}, worst {worst:.3f} ({where})", fontsize=9)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.grid(alpha=0.3)
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Write without pyplot: no display, no global state. Names hold no formulas, whatever signs."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    FigureCanvasAgg(figure).print_figure(path, dpi=120)
