"""Scores without labels, and their drift: against pandas, numpy and scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_files import block, cells, has_block, row, write_result_file
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from batchscan.model.reference import Reference
from batchscan.report.document import Estimate
from batchscan.report.input.reading import read_rows
from batchscan.report.input.rows import Rows
from batchscan.report.scores import share_tables
from batchscan.report.scores.drift import (
    decile_edges,
    drift_section,
    expected_shares,
    kolmogorov_smirnov,
    stability_index,
)
from batchscan.report.scores.score_distribution import BINS, scores_section

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.beta(1, 2, 400).astype(np.float32)


def made(folder: Path, scores: np.ndarray = SCORES, depth: int = 1) -> Rows:
    """Read a result with labels in part, in folders of different sizes, over many months."""
    rows = []
    for number, score in enumerate(scores.tolist()):
        path = "/".join(f"{number % (7 + level)}" for level in range(depth)) + f"/{number:04d}"
        label = [None, "NORMAL", "PNEUMONIA"][number % 3]
        moment = pd.Timestamp("2020-01-15", tz="UTC") + pd.DateOffset(months=number % 40)
        more = {"label": label, "modified": moment.to_pydatetime() if number % 11 else None}
        rows.append(row(path, score, **more))
    rows.append(row("0/failed", failure="empty"))
    return read_rows(write_result_file(folder / "r.parquet", rows, group_rows=50))


def frame(rows: Rows) -> pd.DataFrame:
    table = rows.table.select(["score", "label", "folder", "month"]).to_pandas()
    return table[table["score"].notna()].astype({"folder": str})


def test_histograms(tmp_path: Path) -> None:
    """Bars count the scores between their edges; by label they are shares of its images."""
    rows = made(tmp_path)
    section, plain = scores_section(rows), frame(rows)
    chart = block(section, "distribution")
    expected = np.histogram(plain["score"], np.linspace(0, 1, BINS + 1))[0]
    assert list(chart.series[0].heights) == expected.tolist()
    assert sum(chart.series[0].heights) == 400
    assert chart.lines == (("threshold", 0.5),)
    for bars in block(section, "distribution_by_label").series:
        own = plain.loc[plain["label"] == bars.label, "score"]
        assert np.allclose(
            bars.heights, np.histogram(own, np.linspace(0, 1, BINS + 1))[0] / len(own)
        )


def test_quantiles(tmp_path: Path) -> None:
    """Quantiles are those that pandas computes."""
    rows = made(tmp_path)
    table, plain = block(scores_section(rows), "quantiles"), frame(rows)
    assert cells(table, "q0.5")["all"] == pytest.approx(plain["score"].median(), abs=1e-6)
    own = plain.loc[plain["label"] == "PNEUMONIA", "score"]
    assert cells(table, "q0.95")["PNEUMONIA"] == pytest.approx(own.quantile(0.95), abs=1e-6)
    assert cells(table, "images") == {"all": 400, **plain["label"].value_counts().to_dict()}


@pytest.mark.parametrize("key", ["folder", "month"])
def test_shares(tmp_path: Path, key: str) -> None:
    """Shares at or above the threshold have Wilson's intervals; the rest and all are told."""
    rows = made(tmp_path)
    table, plain = block(scores_section(rows), key), frame(rows)
    grouped = plain.assign(**{key: plain[key].astype(object).fillna("unknown")}).groupby(key)[
        "score"
    ]
    sizes = grouped.size().sort_index().sort_values(ascending=False, kind="stable")
    largest = set(sizes.index[: share_tables.MOST_ROWS])
    names = [line[0] for line in table.rows]
    assert set(names) - {"all"} - {name for name in names if "others" in name} == largest
    for name, images, share in table.rows:
        if name in largest:
            own = grouped.get_group(name)
            low, high = proportion_confint((own >= 0.5).sum(), len(own), method="wilson")
            expected = ((own >= 0.5).mean(), low, high, len(own))
            assert (share.value, share.low, share.high, images) == pytest.approx(expected)
    assert sum(line[1] for line in table.rows[:-1]) == table.rows[-1][1] == 400
    assert table.rows[-1][2].value == pytest.approx((plain["score"] >= 0.5).mean())


def test_others_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not shown by itself is shown together."""
    monkeypatch.setattr(share_tables, "MOST_ROWS", 3)
    rows = made(tmp_path)
    table, plain = block(scores_section(rows), "folder"), frame(rows)
    shown = [line[0] for line in table.rows[:3]]
    rest = plain[~plain["folder"].isin(shown)]["score"]
    assert table.rows[3][:2] == ("4 others", len(rest))
    assert table.rows[3][2].value == pytest.approx((rest >= 0.5).mean())


def test_months_are_in_order_of_time(tmp_path: Path) -> None:
    """Months ascend, whatever their size."""
    names = [line[0] for line in block(scores_section(made(tmp_path)), "month").rows[:-2]]
    assert names == sorted(names)


def test_many_folders_are_taken_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for each patient says nothing: a higher level is taken, and said."""
    monkeypatch.setattr(share_tables, "MOST_FOLDERS", 60)
    rows = made(tmp_path, depth=3)
    table, plain = block(scores_section(rows), "folder"), frame(rows)
    expected = plain["folder"].str.split("/").str[:2].str.join("/").value_counts()
    found = {name: images for name, images, _ in table.rows[:30]}
    assert found == {name: expected[name] for name in found}
    assert "2 levels below the archive" in table.note


def test_images_to_read_first(tmp_path: Path) -> None:
    """The highest scores come first, of equal ones the first by path; the others are counted."""
    scores = np.round(SCORES, 1)
    scores[:60] = 0.875
    rows = made(tmp_path, scores)
    table = block(scores_section(rows), "read_first")
    plain = frame(rows).reset_index(names="row")
    expected = plain.sort_values(["score", "row"], ascending=[False, True])["score"][:30]
    assert [line[1] for line in table.rows] == pytest.approx(expected.tolist())
    equal = [line[0] for line in table.rows if line[1] == table.rows[-1][1]]
    assert equal == sorted(equal)
    left = (plain["score"] >= expected.iloc[-1]).sum() - 30
    assert f"{left} further images have the same score" in table.note


def test_file_names_stay_as_they_are(tmp_path: Path) -> None:
    """Markup in a name is text: it is not touched before a page is made."""
    name = "<script>alert(1)</script>/&amp;.png"
    rows = read_rows(write_result_file(tmp_path / "r.parquet", [row(name, 0.9, flags=["blank"])]))
    section = scores_section(rows)
    assert block(section, "read_first").rows == ((name, pytest.approx(0.9), None, "blank"),)
    assert block(section, "folder").rows[0][0] == "<script>alert(1)</script>"


def test_without_scores(tmp_path: Path) -> None:
    """Where all failed, a warning stands in place of figures."""
    rows = read_rows(write_result_file(tmp_path / "r.parquet", [row("1", failure="empty")]))
    for section in (scores_section(rows), drift_section(rows, reference(SCORES))):
        assert [each.tone for each in section.blocks] == ["warning"]


def test_several_classes(tmp_path: Path) -> None:
    """Each of three classes has a distribution, a share of predictions, and a drift."""
    rows = []
    for number in range(30):
        scores = {"score_A": 0.2, "score_B": 0.1 + number / 40, "score_C": 0.3}
        own = row(f"{number:02d}", **scores) | {"status": "scored", "flags": [], "label": "A"}
        del own["score"]
        rows.append(own)
    file = write_result_file(tmp_path / "r.parquet", rows, classes=("A", "B", "C"))
    found = read_rows(file)
    section = scores_section(found)
    assert {f"distribution_{name}" for name in "ABC"} <= {each.key for each in section.blocks}
    shares = block(section, "folder").rows[-1][2:]
    likely_b = np.mean([0.1 + number / 40 > 0.3 for number in range(30)])
    assert [share.value for share in shares] == pytest.approx([0, likely_b, 1 - likely_b])
    assert not has_block(section, "read_first")
    three = np.stack([np.linspace(0, 1, 1001)] * 3, axis=1).astype(np.float32)
    drift = drift_section(found, Reference(three, *nothing()))
    assert {f"reading_{name}" for name in "ABC"} <= {each.key for each in drift.blocks}


def nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    empty = np.zeros((1, 1), np.float32)
    return np.empty(0, np.uint64), empty, empty, 1.0


def reference(scores: np.ndarray) -> Reference:
    quantiles = np.quantile(scores, np.linspace(0, 1, 1001)).astype(np.float32)
    return Reference(quantiles, *nothing())


def test_drift_against_plain_computations(tmp_path: Path) -> None:
    """Index and distance are those of the textbook formula and of scipy."""
    other = RANDOM.beta(2, 2, 50_000)
    section = drift_section(made(tmp_path), reference(other))
    edges = np.quantile(other, np.arange(0.1, 1, 0.1))
    shares = np.bincount(np.digitize(SCORES, edges), minlength=10) / SCORES.size
    index = ((shares - 0.1) * np.log(shares / 0.1)).sum()
    figures = cells(block(section, "figures"), "value")
    assert figures["Population stability index"] == pytest.approx(index, abs=1e-3)
    distance = stats.ks_2samp(SCORES, other).statistic
    assert figures["Kolmogorov-Smirnov distance"] == pytest.approx(distance, abs=2e-3)
    assert block(section, "reading").tone == "warning"
    bins = block(section, "bins")
    assert sum(line[3] for line in bins.rows) == 400
    assert sum(line[1] for line in bins.rows) == pytest.approx(1)


def test_no_drift_from_the_same_scores(tmp_path: Path) -> None:
    """Scores spread as the reference's have an index and a distance near 0."""
    section = drift_section(made(tmp_path), reference(SCORES))
    figures = cells(block(section, "figures"), "value")
    assert figures["Population stability index"] < 0.01
    assert figures["Kolmogorov-Smirnov distance"] < 0.01
    assert block(section, "reading").tone == "good"


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60), st.lists(st.integers(0, 5), min_size=2)
)
def test_equal_scores_do_no_harm(scores: list[int], others: list[int]) -> None:
    """With many ties, shares add up, the index is finite, and the distance is scipy's."""
    quantiles = np.quantile(np.array(others) / 8, np.linspace(0, 1, 1001), method="lower")
    values = np.sort(np.array(scores, np.float32) / 8)
    if quantiles[0] < quantiles[-1]:
        edges = decile_edges(quantiles)
        expected = expected_shares(quantiles, edges)
        assert expected.sum() == pytest.approx(1)
        assert (expected > 0).all()
        counts = np.diff(
            np.searchsorted(values, edges, side="right"), prepend=0, append=values.size
        )
        assert 0 <= stability_index(expected, counts) < np.inf
    found = kolmogorov_smirnov(values, quantiles)
    places = np.unique(np.concatenate([values, quantiles]))
    plain = max(abs((values <= x).mean() - (quantiles <= x).mean()) for x in places)
    assert found == pytest.approx(plain)


def test_without_a_reference(tmp_path: Path) -> None:
    """A bundle without a reference, or with one score for all, says that there is no drift."""
    rows = made(tmp_path)
    assert "knows no scores" in block(drift_section(rows, None), "none").text
    assert "one score" in block(drift_section(rows, reference(np.array([0.5]))), "none").text


def test_few_images_are_said_to_be_few(tmp_path: Path) -> None:
    """With 20 images, chance alone makes an index of about 9 / 20."""
    section = drift_section(made(tmp_path, SCORES[:20]), reference(SCORES))
    assert "about 0.450 comes about by chance alone" in block(section, "reading").text
    assert isinstance(block(section, "figures").rows[1][1], float)
    assert not isinstance(block(section, "figures").rows[1][1], Estimate)
