"""A model that was measured again, as text: figures here beside the card's, and what they prove."""

from __future__ import annotations

from itertools import groupby

from batchscan.metrics.figures import Metric
from batchscan.model.check import ModelCheck
from batchscan.model.verdict import BETTER, HOLDS, LOWER, NOT_JUDGED, Comparison
from batchscan.terminal.outline import words
from batchscan.terminal.text import paragraph, printable, share, share_with_interval, table

SHOWN = 5  # of the images that can't be scored


def render_check(check: ModelCheck, *, all_failed: bool = False) -> str:
    """Lay a check out for a terminal; `all_failed` names every image that can't be scored."""
    parts = [
        _head(check),
        _left_out(check, all_failed),
        _overlap(check),
        _figures(check.comparison),
        _notes(check.comparison),
        _conclusion(check.comparison),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(check: ModelCheck) -> list[str]:
    bundle, report = check.bundle, check.report
    rule = f"{len(bundle.classes)} classes"
    if bundle.threshold is not None:
        rule = f"threshold {bundle.threshold:.4g}"
    shares = ", ".join(
        f"{metric.class_name or bundle.positive_class} {share(metric.value or 0)}"
        for metric in report.metrics
        if metric.metric == "prevalence"
    )
    found = f"{report.images:,} labelled images in {check.dataset}"
    scored = report.images - len(check.failed)
    return [
        *paragraph(f"Model {bundle.name} ({bundle.digest[:12]}), {rule}", ""),
        *paragraph(f"{found}, {scored:,} scored (share of {shares})", ""),
    ]


def _left_out(check: ModelCheck, all_failed: bool) -> list[str]:
    """Say what is in the folder, and in no figure."""
    notes, lines = check.notes, []
    if check.failed:
        lines.append(f"Images that cannot be scored, part of no figure: {len(check.failed):,}")
        shown = check.failed if all_failed else check.failed[:SHOWN]
        for path, reason in shown:
            lines += paragraph(f"{path}: {reason}", "    ", "  - ")
        if len(shown) < len(check.failed):
            lines.append(f"  - ... {len(check.failed) - len(shown):,} more, see --verbose")
    counts = {
        "Images outside class folders, left out": notes.unlabelled,
        "Hidden images, left out": notes.hidden,
        "Files that are no images": notes.listing.other_files.total(),
        "Links to folders that are measured elsewhere": notes.listing.repeated_links,
    }
    lines += [f"{what}: {count:,}" for what, count in counts.items() if count]
    for folder in notes.listing.unreadable_folders:
        lines += paragraph(f"WARNING: the folder {folder or '.'} could not be read", "  ", "")
    return lines


def _overlap(check: ModelCheck) -> list[str]:
    overlap = check.overlap
    little = "The figures prove little: they say nothing about images that the model has not seen."
    if overlap.same_data:
        text = "WARNING: these are the data that the model was trained on, by their fingerprint."
    elif overlap.by_name:
        text = (
            f"WARNING: {overlap.by_name:,} of {overlap.images:,} images have the class and the "
            "file name of one that the model was trained on or chosen by."
        )
    elif overlap.by_name is None:
        text = "The bundle has no list of its training images: these may be among them."
        return paragraph(text, "")
    else:
        return []
    return paragraph(f"{text} {little}", "")


def _figures(comparison: Comparison) -> list[str]:
    side = f"card ({words(comparison.side)})" if comparison.side else "card"
    rows = [
        [words(each.name), _cell(each.here), f"{each.here.n:,}", _cell(each.card), each.word]
        for each in comparison.verdicts
    ]
    return table(["", "here, 95% interval", "n", side, "verdict"], rows, "")


def _cell(metric: Metric | None) -> str:
    return (
        "-" if metric is None else share_with_interval(metric.value, metric.ci_low, metric.ci_high)
    )


def _notes(comparison: Comparison) -> list[str]:
    """Say why figures are not judged."""
    if comparison.side is None:
        return []
    open_ones = [each for each in comparison.verdicts if each.word == NOT_JUDGED]
    lines: list[str] = []
    for reason, group in groupby(sorted(open_ones, key=lambda v: v.reason), lambda v: v.reason):
        lines += paragraph(f"{', '.join(each.name for each in group)}: {reason}", "    ", "  - ")
    return ["Not judged:", *lines] if lines else []


def _conclusion(comparison: Comparison) -> list[str]:
    lower, better = comparison.named(LOWER), comparison.named(BETTER)
    judged = len(lower) + len(better) + len(comparison.named(HOLDS))
    if comparison.side is None:
        return paragraph("The card states no figures: there is nothing to hold these against.", "")
    if not judged:
        return ["No figure can be held against the card's."]
    if lower:
        below = "the whole interval here lies below the card's"
        return paragraph(f"{len(lower)} of {judged} figures are lower: {below}.", "")
    more = f", {len(better)} of them better" if better else ""
    return paragraph(f"All {judged} figures that can be judged hold{more}.", "")


def lower_figures(check: ModelCheck) -> str:
    """Name the figures that do not hold; "" where all do."""
    return printable(", ".join(check.comparison.named(LOWER)))
