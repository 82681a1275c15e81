"""Pictures of a training run, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from batchscan.metrics import Metric
from training.evaluation import roc_curve

BLUE = "#4477aa"
RED = "#cc6677"
GREY = "#999999"


def draw_samples(pixels: Sequence[NDArray[np.uint8]], classes: Sequence[str], path: Path) -> None:
    """Draw images of both classes; `pixels` has for each class uint8 (N, S, S)."""
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
    results: Mapping[str, Mapping[str, Metric]], classes: Sequence[str], path: Path
) -> None:
    """Draw the confusion matrices of the sides as heat maps, coloured by the share of a row."""
    figure = Figure(figsize=(4.4 * len(results), 4), layout="constrained")
    for axes, (side, metrics) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        cells = ("true_negative", "false_positive", "false_negative", "true_positive")
        counts = np.array([metrics[cell].value for cell in cells], dtype=int).reshape(2, 2)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            text = f"{count}\n{share:.1%}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=12)
        axes.set_xticks([0, 1], classes)
        axes.set_yticks([0, 1], classes, rotation=90, va="center")
        title = f"{side.capitalize()}, threshold {metrics['threshold'].value:.3f}"
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
        for colour, (side, (labels, scores)) in zip((RED, BLUE), scored.items(), strict=False):
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


def _save(figure: Any, path: Path) -> None:
    """Write without pyplot: no display, no global state."""
    FigureCanvasAgg(figure).print_figure(path, dpi=120)
