"""The flow of images: counts that add up, and words for what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from report_rows import make_rows
from result_files import block, cells, has_block, row, write_result_file

from batchscan.errors import UsageError
from batchscan.report.document import Flow, Section
from batchscan.report.flow import flow_section
from batchscan.report.input.reading import read_rows

ROWS = [
    row("1", 0.1, label="NORMAL"),
    row("2", 0.9, label="PNEUMONIA"),
    row("3", 0.8, label="NORMAL"),
    row("4", 0.3),
    row("5", float("nan"), label="NORMAL"),
    row("6", failure="truncated", label="PNEUMONIA"),
    row("7", failure="truncated"),
    row("8", failure="empty"),
    row("9", skip="lateral", label="NORMAL"),
]


@pytest.fixture
def section(tmp_path: Path) -> Section:
    return flow_section(read_rows(write_result_file(tmp_path / "r.parquet", ROWS)))


def test_each_step_is_the_one_before_less_what_leaves(section: Section) -> None:
    """Found, to be scored, scored, labelled: with each reason and its count."""
    diagram: Flow = block(section, "diagram")
    assert [step.count for step in diagram.steps] == [9, 8, 4, 3]
    assert diagram.steps[0].leaves == (("skipped: lateral", 1),)
    assert diagram.steps[1].leaves == (
        ("failed: truncated", 2),
        ("failed: empty", 1),
        ("scored, but the score is no number", 1),
    )
    assert diagram.steps[2].leaves == (("no label", 1),)
    assert "9 images found, 4 were scored" in diagram.summary


def test_labels_are_crossed_with_what_became_of_the_images(section: Section) -> None:
    """Each label is counted among the scored, skipped and failed; rows add up to all."""
    table = block(section, "labels")
    assert cells(table, "label_NORMAL") == {
        "scored": 2, "scored, but the score is no number": 1, "skipped": 1, "failed": 0, "all": 4,
    }  # fmt: skip
    assert cells(table, "label_PNEUMONIA")["failed"] == 1
    assert cells(table, "unlabelled")["all"] == 3
    *parts, whole = (line[1:] for line in table.rows)
    assert tuple(map(sum, zip(*parts, strict=True))) == whole


def test_what_is_missing_is_said(section: Section) -> None:
    """Scores that are no numbers and labelled images without a score are said in words."""
    assert "score that is no number: 1." in block(section, "no_number").text
    assert "in none of the figures: 3." in block(section, "labelled_not_scored").text


def test_unmatched_labels_are_said(tmp_path: Path) -> None:
    """Paths of the label file without an image are counted; a name can't break the line."""
    labels = tmp_path / "truth.csv"
    labels.write_text('path,label\n1,normal\n"<b>\n",normal\n')
    rows = read_rows(write_result_file(tmp_path / "r.parquet", ROWS), labels=labels)
    text = block(flow_section(rows), "unmatched").text
    assert "count nowhere: 1, such as" in text
    assert text.endswith(r"<b>\n")


@pytest.mark.parametrize(
    ("rows", "key"),
    [
        ([], "none_scored"),
        ([row("1", failure="empty", label="NORMAL")], "none_scored"),
        ([row("1", 0.5)], "no_labels"),
    ],
)
def test_results_without_figures_say_so(
    tmp_path: Path, rows: list[dict[str, object]], key: str
) -> None:
    """Nothing found, all failed, and no labels: a diagram, and a warning."""
    found = flow_section(read_rows(write_result_file(tmp_path / "r.parquet", rows)))
    assert block(found, key).tone == "warning"
    assert block(found, "diagram").steps[0].count == len(rows)


@pytest.mark.parametrize("folders", [0, 2])
def test_what_the_scan_could_not_read_is_a_warning(tmp_path: Path, folders: int) -> None:
    """A flow from an archive of which folders were not read says so."""
    record = {"not_read": {"folders": folders, "containers": 0}}
    found = flow_section(read_rows(write_result_file(tmp_path / "r.parquet", ROWS, footer=record)))
    texts = [each.text for each in found.blocks if each.key == "not_read"]
    assert len(texts) == (1 if folders else 0)
    assert all("Folders: 2;" in text for text in texts)


def test_footer_that_says_otherwise_is_refused(tmp_path: Path) -> None:
    """Rows that were changed after the scan are no basis for a report."""
    counts = {"found": 9, "scored": 6, "labelled": 6}
    file = write_result_file(tmp_path / "r.parquet", ROWS, footer={"counts": counts})
    with pytest.raises(UsageError, match="scored: 6, found 5"):
        flow_section(read_rows(file))


def test_counts_that_do_not_add_up_are_refused() -> None:
    """A status that is none of the three leaves a gap, which is not passed over."""
    rows = make_rows([0.1, 0.2], ["NORMAL", None], status=["scored", "elsewhere"])
    empty = pa.array([None, None], pa.string()).dictionary_encode()
    table = rows.table.append_column("skip", empty).append_column("failure", empty)
    with pytest.raises(UsageError, match="add up"):
        flow_section(replace(rows, table=table))


def test_label_file_has_its_own_count(tmp_path: Path) -> None:
    """The record's count of labels is that of the scan, not of a label file that came later."""
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label\n1,normal\n")
    rows = read_rows(write_result_file(tmp_path / "r.parquet", ROWS), labels=labels)
    assert block(flow_section(rows), "diagram").steps[-1].count == 1
    assert not has_block(flow_section(rows), "unmatched")
