"""What a person reads when a scan is over."""

from __future__ import annotations

from batchscan.archive.notes import ListingNotes
from batchscan.metrics.table import render_metrics
from batchscan.run.summary import ScanSummary
from batchscan.terminal.text import one_line

_SHOWN = 5


def render_summary(summary: ScanSummary) -> str:
    """Render the closing summary: what was found, what was done, where the files are."""
    parts = ["\n".join(_lines(summary))]
    if summary.metrics is not None:
        parts.append(render_metrics(summary.metrics))
    return "\n\n".join(parts)


def _lines(summary: ScanSummary) -> list[str]:
    counts = summary.counts
    failed, skipped = counts.failed.total(), counts.skipped.total()
    rate = summary.scored_now / summary.seconds if summary.seconds else 0.0
    lines = [
        f"{counts.found:,} images: {counts.scored:,} scored, "
        + (f"{skipped:,} skipped, " if skipped else "")
        + f"{failed:,} failed",
        f"  this run   {summary.scored_now:,} scored in {summary.seconds:.1f} s "
        f"({rate:.0f} images/s), {summary.unchanged:,} unchanged from earlier runs",
    ]
    if summary.dropped:
        lines.append(
            f"  dropped    {summary.dropped:,} rows of files that are gone, or left out now"
        )
    for word, kinds in (
        ("skipped", counts.skipped),
        ("failed", counts.failed),
        ("flagged", counts.flagged),
    ):
        if kinds:
            named = ", ".join(f"{name} {n:,}" for name, n in kinds.most_common())
            lines.append(f"  {word:10} {named}")
    precision = "" if summary.precision == "fp32" else f" at {summary.precision}"
    lines.append(f"  model      {summary.model}{precision}; {_predicted(summary)}")
    lines += _notes(summary)
    lines.append(f"  results    {one_line(str(summary.out))}")
    if summary.metrics_out:
        lines.append(f"  metrics    {one_line(str(summary.metrics_out))}")
    return lines


def _predicted(summary: ScanSummary) -> str:
    if summary.threshold is None:
        counts = summary.counts.predicted
        return "predicted " + ", ".join(f"{name} {counts[name]:,}" for name in summary.classes)
    return (
        f"{summary.counts.positive:,} at or above the threshold {summary.threshold:.4g} "
        f"({summary.classes[-1]})"
    )


def _container_notes(notes: ListingNotes) -> list[str]:
    lines = []
    if notes.containers:
        empty = notes.containers_without_images
        without = f", {empty:,} of them without images" if empty else ""
        lines.append(f"  inside     {notes.containers:,} zip and tar files looked into{without}")
    unread = notes.unread_containers
    if unread:
        shown = ", ".join(unread[:_SHOWN]) + (", ..." if len(unread) > _SHOWN else "")
        lines.append(f"  WARNING    {len(unread):,} containers could not be read whole: {shown}")
    if notes.duplicate_members:
        shown = ", ".join(notes.duplicate_examples[:_SHOWN])
        more = ", ..." if notes.duplicate_members > len(notes.duplicate_examples) else ""
        lines.append(
            f"  WARNING    {notes.duplicate_members:,} files in containers have the path of "
            f"another one and were left out: {shown}{more}"
        )
    return lines


def _notes(summary: ScanSummary) -> list[str]:
    lines = []
    others = summary.notes.other_files
    if others:
        kinds = ", ".join(f"{one_line(name)} {n:,}" for name, n in others.most_common(_SHOWN))
        lines.append(f"  left out   {others.total():,} files that are no images ({kinds})")
    folders = summary.notes.unreadable_folders
    if folders:
        shown = ", ".join(map(one_line, folders[:_SHOWN])) + (
            ", ..." if len(folders) > _SHOWN else ""
        )
        lines.append(f"  WARNING    {len(folders):,} folders could not be read: {shown}")
    lines += _container_notes(summary.notes)
    if summary.notes.repeated_links:
        lines.append(
            f"  links      {summary.notes.repeated_links:,} to folders that are scanned elsewhere"
        )
    unmatched, examples = summary.unmatched_labels
    if unmatched:
        lines.append(
            f"  WARNING    {unmatched:,} labelled paths have no image in the archive, such as"
        )
        lines += [f"             {one_line(example)}" for example in examples]
    return lines
