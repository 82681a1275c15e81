"""Copies, training images and outliers: against plain computations; and the figures without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from result_files import block, cells, digest, has_block, row, write_result_file
from sklearn.metrics import roc_auc_score

from batchscan.image.perceptual_hash import NEAR
from batchscan.model.reference import Reference
from batchscan.report.document import Section
from batchscan.report.input.reading import read_rows
from batchscan.report.input.rows import Rows
from batchscan.report.trust.copies import exact_copies, find_likeness
from batchscan.report.trust.near_hashes import Neighbours
from batchscan.report.trust.trust import trust_section

NOTHING = np.zeros((1, 1), np.float32)
QUANTILES = np.linspace(0, 1, 1001, dtype=np.float32)


def reference(*hashes: int) -> Reference:
    return Reference(QUANTILES, np.sort(np.array(hashes, np.uint64)), NOTHING, NOTHING, 1.0)


def some_bits(number: int) -> int:
    """Return bits for each number; those of each seventh are near those of seven before."""
    if number % 7 == 0 and number:
        return some_bits(number - 7) ^ (1 << number % 64) ^ 1
    return int(np.random.default_rng(number).integers(0, 2**63))


def made_rows() -> list[dict[str, Any]]:
    """Make 300 rows: some copied once or twice, some turned by a few bits, some outliers."""
    random = np.random.default_rng(1)
    rows = []
    for number in range(300):
        original = number % 100 if number % 10 == 0 else number
        ill = bool(random.random() < 0.4)
        score = float(np.float32(random.beta(4, 2) if ill else random.beta(2, 4)))
        more: dict[str, Any] = {
            "label": ["NORMAL", "PNEUMONIA"][ill],
            "phash": f"{some_bits(original):016x}",
            "sha256": digest(original),
            "ood_score": float(random.lognormal(-0.5, 0.5)),
        }
        if number % 13 == 0:
            rows.append(row(f"{number:03d}", failure="truncated", **more))
        else:
            rows.append(row(f"{number:03d}", score, **more))
    return rows


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return read_rows(write_result_file(tmp_path / "r.parquet", made_rows()))


@pytest.fixture
def plain() -> pd.DataFrame:
    found = pd.DataFrame(made_rows())
    found["bits"] = [int(text, 16) for text in found["phash"]]
    return found


def near_pairs(bits: pd.Series) -> np.ndarray:
    values = np.array(bits, dtype=np.uint64)
    close = np.bitwise_count(values[:, np.newaxis] ^ values[np.newaxis]) <= NEAR
    np.fill_diagonal(close, False)
    return close


def test_exact_copies(rows: Rows, plain: pd.DataFrame) -> None:
    """Groups, files and further copies are those that pandas counts."""
    section = trust_section(rows, None)
    sizes = plain.groupby("sha256").size()
    counts = cells(block(section, "exact"), "count")
    assert list(counts.values())[:4] == [
        300, (sizes > 1).sum(), sizes[sizes > 1].sum(), plain.duplicated("sha256").sum(),
    ]  # fmt: skip
    further = plain.duplicated("sha256") & plain["score"].notna()
    assert list(counts.values())[4] == further.sum()
    assert exact_copies(rows).further.tolist() == plain.duplicated("sha256").tolist()
    largest = block(section, "exact_examples")
    assert cells(largest, "files")["000"] == sizes[digest(0)]
    assert cells(largest, "copy")["000"] == "100"


def test_contradicting_copies(rows: Rows, plain: pd.DataFrame) -> None:
    """Contents with different labels or scores are counted."""
    section = trust_section(rows, None)
    labels = (plain.groupby("sha256")["label"].nunique() > 1).sum()
    scores = (plain.groupby("sha256")["score"].nunique() > 1).sum()
    assert block(section, "different_labels").text.startswith(f"{labels} contents")
    assert block(section, "different_scores").text.startswith(f"{scores} contents")


def test_near_copies(rows: Rows, plain: pd.DataFrame) -> None:
    """Images that look alike are those that comparing all with all finds."""
    counts = cells(block(trust_section(rows, None), "near"), "count")
    distinct = plain[~plain.duplicated("sha256")]
    near = near_pairs(distinct["bits"]).any(axis=1)
    assert list(counts.values())[:2] == [300, near.sum()]
    found = find_likeness(rows, exact_copies(rows), np.empty(0, np.uint64), NEAR)
    assert found.near[distinct.index].tolist() == near.tolist()
    left = plain[~found.further & ~plain.duplicated("sha256")]
    assert not near_pairs(left["bits"]).any()
    lost = plain[found.further]
    for bits in lost["bits"]:
        assert (
            np.bitwise_count(left["bits"].to_numpy(np.uint64) ^ np.uint64(bits)) <= 2 * NEAR
        ).any()


def test_near_examples_are_near(rows: Rows, plain: pd.DataFrame) -> None:
    """Each example is a pair that differs in as many bits as it says."""
    bits = plain.set_index("path")["bits"]
    examples = block(trust_section(rows, None), "near_examples").rows
    assert examples
    for path, other, differing in examples:
        assert path != other
        assert (bits[path] ^ bits[other]).bit_count() == differing <= NEAR


def test_training_images(rows: Rows, plain: pd.DataFrame) -> None:
    """Images near a hash of the reference are counted and named, copies with them."""
    known = [plain["bits"][3], plain["bits"][20] ^ 0b1111, plain["bits"][50] ^ 0b11111]
    section = trust_section(rows, reference(*known))
    near = [any((bits ^ k).bit_count() <= NEAR for k in known) for bits in plain["bits"]]
    (line,) = block(section, "training").rows
    assert line[:2] == (300, sum(near))
    assert line[2].value == pytest.approx(sum(near) / 300)
    assert [path for (path,) in block(section, "training_examples").rows] == [
        *plain["path"][near][:10]
    ]
    assert block(section, "training_found").tone == "warning"


def test_no_training_images(rows: Rows) -> None:
    """Where none is found, it is said what would not be noticed; without a reference, that too."""
    free = reference(0xFFFF_FFFF_FFFF_FFFF)
    assert block(trust_section(rows, free), "training_found").tone == "good"
    assert "knows no hashes" in block(trust_section(rows, None), "training_none").text


def test_outliers(rows: Rows, plain: pd.DataFrame) -> None:
    """Images with an ood_score above 1 are counted; those with the highest are named."""
    section = trust_section(rows, None)
    (line,) = block(section, "outliers").rows
    above = plain["ood_score"] > 1
    assert line[:2] == (300, above.sum())
    assert block(section, "outliers_reading").tone == "warning"
    examples = block(section, "outlier_examples").rows
    assert [path for path, _ in examples] == [*plain.nlargest(10, "ood_score")["path"]]


def test_figures_with_and_without(rows: Rows, plain: pd.DataFrame) -> None:
    """Each line has the figures of the images left, as scikit-learn computes them."""
    known = reference(*(int(bits) for bits in plain["bits"][:40]))
    table = block(trust_section(rows, known), "figures")
    used = plain["score"].notna()
    likeness = find_likeness(rows, exact_copies(rows), known.phashes, NEAR)
    copies = plain.duplicated("sha256")
    outliers = plain["ood_score"] > 1
    expected = {
        "all images": used,
        "without further exact copies": used & ~copies,
        "without images that look like another one": used & ~copies & ~likeness.further,
        "without images that look like training images": used & ~likeness.of_training,
        "without images unlike the training images": used & ~outliers,
    }
    nothing_odd = ~(copies | likeness.further | likeness.of_training | outliers)
    expected["without all of these"] = used & nothing_odd
    assert [line[0] for line in table.rows] == [*expected]
    for name, mask in expected.items():
        own = plain[mask]
        ill = own["label"] == "PNEUMONIA"
        assert cells(table, "images")[name].value == len(own)
        assert cells(table, "left_out")[name] == used.sum() - len(own)
        assert cells(table, "auc")[name].value == pytest.approx(roc_auc_score(ill, own["score"]))
        found = (own["score"][ill] >= 0.5).mean()
        assert cells(table, "sensitivity")[name].value == pytest.approx(found)


def test_nothing_odd(tmp_path: Path) -> None:
    """Where no image is odd, no table of figures is needed."""
    hashes = ["0f0f0f0f0f0f0f0f", "f0f0f0f0f0f0f0f0"]
    clean = [row(h, 0.5, phash=h, ood_score=0.5, label="NORMAL") for h in hashes]
    section = trust_section(read_rows(write_result_file(tmp_path / "r", clean)), reference(1))
    assert block(section, "exact_none").tone == "good"
    assert has_block(section, "figures_same")
    assert block(section, "outliers_reading").tone == "note"  # Two images prove nothing.


def older(tmp_path: Path, rows: list[dict[str, Any]]) -> Section:
    lacking = ["phash", "ood_score", "sha256"]
    file = write_result_file(tmp_path / "r.parquet", rows, without=lacking)
    return trust_section(read_rows(file), reference(1))


@pytest.mark.parametrize("rows", [[], [row("a", failure="empty")], [row("a", 0.5)]])
def test_what_is_not_known_is_said(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """An older result, an empty one, one without labels: each gap is said, nothing is made up."""
    section = older(tmp_path, rows)
    keys = ("exact_none", "near_none", "training_none", "outliers_none")
    assert [block(section, key).tone for key in keys] == ["warning"] * 4
    assert has_block(section, "figures_none")


def test_search_that_was_cut_short_is_said(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all pairs were compared, the counts are called lower bounds."""

    def cut(hashes: np.ndarray, *_: object) -> Neighbours:
        none = np.zeros(hashes.size, dtype=bool)
        return Neighbours(none, none, none, complete=False)

    monkeypatch.setattr("batchscan.report.trust.copies.find_neighbours", cut)
    assert "lower bounds" in block(trust_section(rows, None), "near_incomplete").text


def test_several_classes(tmp_path: Path) -> None:
    """Of three classes, each has its figures against the rest, with and without."""
    made = []
    for number in range(60):
        scores = np.random.default_rng(number).dirichlet([1, 1, 1])
        own = row(
            f"{number:02d}", **dict(zip(("score_A", "score_B", "score_C"), scores, strict=True))
        )
        del own["score"]
        more = {"status": "scored", "label": "ABC"[number % 3], "sha256": digest(number // 2)}
        made.append(own | more)
    file = write_result_file(tmp_path / "r.parquet", made, classes=("A", "B", "C"))
    section = trust_section(read_rows(file), None)
    for name in "ABC":
        assert cells(block(section, f"figures_{name}"), "left_out") == {
            "all images": 0,
            "without further exact copies": 30,
            "without images that look like another one": 30,
            "without all of these": 30,
        }
