"""Sentences of the report that few images, or few digits, could make misleading."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from report_rows import CLASSES, make_rows, text_column

from batchscan.model.reference import Reference
from batchscan.report.document import Section
from batchscan.report.figures.discrimination import discrimination_section
from batchscan.report.figures.subgroups import subgroups_section
from batchscan.report.input.rows import Rows
from batchscan.report.scores.drift import drift_section
from batchscan.report.sheets.picture_caption import Caption
from batchscan.report.summary import summary_section
from batchscan.report.trust.outliers import outlier_blocks


def block(section: Section, key: str) -> Any:
    (found,) = (each for each in section.blocks if each.key == key)
    return found


def reference(low: float = 0.0) -> Reference:
    """Return training images whose scores are spread evenly from `low` to 1."""
    quantiles = np.linspace(low, 1, 1001, dtype=np.float32)
    nothing = np.zeros((1, 1), dtype=np.float32)
    return Reference(quantiles, np.empty(0, np.uint64), nothing, nothing, 1.0)


def unlabelled(score: list[float]) -> Rows:
    return make_rows(score, [None] * len(score))


@pytest.mark.parametrize("n", [1, 2, 20])
def test_chance_is_no_drift(n: int) -> None:
    """A large index that few images have by chance is not called drift, and is no warning."""
    score = np.random.default_rng(n).random(n).tolist()
    reading = block(drift_section(unlabelled(score), reference()), "reading")
    assert reading.tone == "note"
    assert "by chance alone, so that it says nothing" in reading.text


@pytest.mark.parametrize("n", [20, 1000])
def test_drift_is_called_so(n: int) -> None:
    """Scores that are all high are drift, also those of few images."""
    score = np.linspace(0.91, 1, n).tolist()
    reading = block(drift_section(unlabelled(score), reference()), "reading")
    assert reading.tone == "warning"
    assert "clearly otherwise" in reading.text


def test_drift_by_chance_alone() -> None:
    """Of samples without drift whose index is above 0.1, about 5 in 100 are called drift."""
    rng = np.random.default_rng(0)
    warned = sum(
        block(drift_section(unlabelled(rng.random(60).tolist()), reference()), "reading").tone
        == "warning"
        for _ in range(300)
    )
    assert warned / 300 <= 0.09


def test_edges_are_told_apart() -> None:
    """Bins of scores close to 1 have names that differ, none of them from 1.0000 to 1.0000."""
    table = block(drift_section(unlabelled([0.5, 0.99999]), reference(0.99999)), "bins")
    names = [row[0] for row in table.rows]
    assert len(set(names)) == len(names) == 10
    assert not any("above 1.0" in name for name in names)


@pytest.mark.parametrize(
    ("ood", "tone", "words"),
    [
        ([0.5] * 3, "note", "With so few images"),
        ([0.5] * 1000, "good", "No more images than the 1% expected"),
        ([0.5] * 900 + [1.5] * 100, "warning", "More images than the 1% expected"),
    ],
)
def test_outliers_of_few_images(
    ood: list[float], tone: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few images without an outlier do not show that there are none."""
    rows = unlabelled([0.5] * len(ood))
    table = rows.table.append_column("ood_score", pa.array(ood, pa.float32()))
    monkeypatch.setattr(
        "batchscan.report.trust.outliers.paths_of", lambda _, places: ["a"] * len(places)
    )
    reading: Any = outlier_blocks(Rows(rows.result, {}, rows.classes, rows.threshold, table))[0]
    assert reading.tone == tone
    assert words in reading.text


def test_counts_are_those_of_the_flow() -> None:
    """Images whose score is no number aren't counted as scored; predictions are the scores'."""
    score = [0.2, 0.7, 0.9, np.nan, np.nan]
    status = ["scored"] * 4 + ["failed"]
    rows = make_rows(score, [CLASSES[0], CLASSES[1], None, CLASSES[1], None], status=status)
    table = rows.table.append_column("prediction", text_column([CLASSES[0]] * 5))
    rows = Rows(rows.result, {}, rows.classes, rows.threshold, table)
    counts = {row[0]: row[1] for row in block(summary_section(rows, (), None), "counts").rows}
    assert counts == {
        "Images found": 5,
        "Scored": 3,
        "Scored, but the score is no number": 1,
        "Failed": 1,
        "With a label": 3,
        "Scored and labelled": 2,
        "Predicted NORMAL": 1,
        "Predicted PNEUMONIA": 2,
    }


def test_captions_round_as_tables() -> None:
    """A score just below 1 is not shown as 1, neither below a picture nor read out."""
    caption = Caption("a.png", 0.99999, "PNEUMONIA", None, (), again=0.00001)
    shown = " ".join((*caption.lines(), caption.alternative()))
    assert ">0.9999" in shown
    assert "<0.0001 now" in shown
    assert "1.0000" not in shown


def test_methods_are_told_once() -> None:
    """How groups were compared stands once in the section, not below each table."""
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.5
    site = rng.choice(["a", "b"], 200)
    label = [CLASSES[int(each)] for each in truth]
    rows = make_rows(rng.random(200), label, by={"site": site, "year": site})
    notes = [block.note for block in subgroups_section(rows).blocks if hasattr(block, "note")]
    texts = [block.text for block in subgroups_section(rows).blocks if hasattr(block, "text")]
    assert not any("Newcombe" in note for note in notes)
    assert sum("Newcombe" in text for text in texts) == 1


@pytest.mark.parametrize(("swapped", "warned"), [(True, True), (False, False)])
def test_swapped_labels(swapped: bool, warned: bool) -> None:
    """Scores that order images worse than chance are warned of: labels may be swapped."""
    label = [CLASSES[::-1][each % 2] if swapped else CLASSES[each % 2] for each in range(100)]
    rows = make_rows([0.3 + 0.3 * (each % 2) + each / 1000 for each in range(100)], label)
    keys = [each.key for each in discrimination_section(rows).blocks]
    assert ("worse_than_chance" in keys) is warned


def test_curves_name_the_threshold() -> None:
    """The threshold in both curves is called by its value: it need not be the bundle's."""
    rows = make_rows([0.2, 0.6, 0.4, 0.9], [*CLASSES, *CLASSES], threshold=0.5)
    section = discrimination_section(rows)
    assert "At the threshold of 0.5, 100.0% of" in block(section, "roc").summary
    for key in ("roc", "precision_recall"):
        assert [mark.label for mark in block(section, key).marks] == ["Threshold 0.5"]
