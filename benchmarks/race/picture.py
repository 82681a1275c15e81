"""The result of a race as a picture: seconds of the whole process, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.race.table import Row

_COLOURS = {"ours": "#1b6ca8", "peer": "#8a8a8a", "tuned": "#b4b4b4", "reference": "#dedede"}


def draw_picture(rows: Sequence[Row], file: Path, title: str) -> None:
    """Draw bars for whole process and peak memory; those without times are left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row.whole]
    figure, (seconds, memory) = pyplot.subplots(
        1, 2, sharey=True, figsize=(11, 1.2 + 0.45 * len(shown)), width_ratios=[3, 2]
    )
    for place, row in enumerate(shown):
        assert row.whole is not None
        low, middle, high = row.whole
        spread = [[middle - low], [high - middle]]
        colour = _COLOURS[row.kind]
        bar = seconds.barh(place, middle, xerr=spread, color=colour, ecolor="#444444", capsize=3)
        rate = f", {row.steady:.0f} img/s steady" if row.steady else ""
        seconds.bar_label(bar, [f"{middle:.1f} s{rate}"], padding=8)
        bar = memory.barh(place, (row.peak_megabytes or 0) / 1000, color=colour)
        memory.bar_label(bar, fmt="%.2f", padding=3)
    seconds.set_yticks(range(len(shown)), [row.title for row in shown])
    seconds.invert_yaxis()
    seconds.set_xlabel("whole process, seconds (median, lowest to highest)")
    memory.set_xlabel("peak memory of all processes, GB")
    for axes in (seconds, memory):
        axes.margins(x=0.35)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
