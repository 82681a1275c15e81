"""Groups of images by a column: figures, differences from the rest, and groups too small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from report_rows import CLASSES, make_rows, text_column
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from batchscan.metrics.outcomes import Outcomes
from batchscan.report.document import Estimate, ForestPlot, Section
from batchscan.report.figures.area import Area, area_of
from batchscan.report.figures.differences import area_difference, holm, rate_difference
from batchscan.report.figures.groups import MOST, Groups, groups_of
from batchscan.report.figures.key_figures import key_figures
from batchscan.report.figures.rates import Rate
from batchscan.report.figures.subgroups import subgroups_section
from batchscan.report.input.rows import Rows


def drawn(n: int = 1200, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    score = stats.norm.cdf(rng.normal(size=n) + 1.5 * truth - 0.75).astype(np.float32)
    return score, truth


def rows_of(score: NDArray[np.float32], truth: NDArray[np.bool_], **more: Any) -> Rows:
    return make_rows(score, [CLASSES[int(each)] for each in truth], **more)


def block(section: Section, key: str) -> Any:
    (found,) = (each for each in section.blocks if each.key == key)
    return found


def grouped(column: str, values: list[str | None]) -> Groups:
    return groups_of(column, text_column(values))


def members(groups: Groups) -> list[str]:
    return [groups.names[number] for number in groups.number]


# ------------------------------------------------------------------ groups


def test_values_as_they_are() -> None:
    """Few values are groups, in the order of numbers or of the alphabet, the unknown ones last."""
    texts = grouped("site", ["b", None, "a", "", "b", " "])
    assert texts.names == ("a", "b", "unknown")
    assert members(texts) == ["b", "unknown", "a", "unknown", "b", "unknown"]
    years = grouped("year", ["2019", "999", "2020", None])
    assert years.names == ("999", "2019", "2020", "unknown")
    assert members(years) == ["2019", "999", "2020", "unknown"]


@pytest.mark.parametrize("column", ["age_years", "age", "Age", "patient age"])
def test_ages_in_bands(column: str) -> None:
    """Ages are put into bands of full years, whatever digits they have."""
    ages = ["0", "0.9", "1", "5.9", "6.0", "17.99", "18", "39", "40", "64.5", "65", "101", None]
    groups = grouped(column, ages)
    bands = ["0", "0", "1-5", "1-5", "6-17", "6-17", "18-39", "18-39", "40-64", "40-64"]
    assert members(groups) == [*bands, "65+", "65+", "unknown"]
    assert groups.note
    assert grouped("dosage", ages).names != groups.names


def test_few_ages() -> None:
    """A handful of ages stay as they are."""
    assert grouped("age", ["3", "40", "3"]).names == ("3", "40")


@given(st.lists(st.integers(-500, 500), min_size=31, max_size=300))
def test_other_numbers_in_quarters(values: list[int]) -> None:
    """Many numbers become at most four bands that hold what they say, each about as large."""
    groups = grouped("kvp", [str(value) for value in values])
    if len(set(values)) <= MOST:
        assert groups.names == tuple(str(value) for value in sorted(set(values)))
        return
    assert len(groups.names) <= 4
    for value, name in zip(values, members(groups), strict=True):
        low, high = name.split(" to ")
        assert float(low) <= value <= float(high)


def test_many_texts() -> None:
    """Of many values the largest are kept and the rest put together, which a note says."""
    values = [f"v{number:03}" for number in range(50) for _ in range(1 + number)]
    groups = grouped("site", [*values, None])
    assert len(groups.names) == MOST + 2
    assert groups.names[:2] == ("v020", "v021")
    assert groups.names[-2:] == ("all 20 others", "unknown")
    assert members(groups).count("all 20 others") == sum(range(1, 21))
    assert "50" in groups.note


def test_unused_values() -> None:
    """A value of the dictionary that no image has makes no group."""
    column = pa.DictionaryArray.from_arrays(pa.array([1, 1], pa.int32()), pa.array(["x", "y"]))
    assert groups_of("site", column).names == ("y",)


# ------------------------------------------------------------- differences


def test_area_difference_as_delong() -> None:
    """Independent areas differ by the normal distribution with both of DeLong's variances."""
    one, other = Area(0.9, 0.0004, 50, 200), Area(0.8, 0.0005, 60, 300)
    estimate, p = area_difference(one, other)
    assert estimate.value == pytest.approx(0.1)
    assert (estimate.low, estimate.high) == pytest.approx((0.0412, 0.1588), abs=1e-4)
    assert p == pytest.approx(2 * stats.norm.sf(0.1 / 0.03))
    assert area_difference(Area(1.0, 0.0, 50, 200), other)[1] is None


def test_rate_difference_as_published() -> None:
    """Newcombe's interval (1998, table II, method 10): 56 of 70 less 48 of 80."""
    estimate, p = rate_difference(Rate(56, 70, 70.0), Rate(48, 80, 80.0))
    assert estimate.value == pytest.approx(0.2)
    assert (estimate.low, estimate.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    chi2 = stats.chi2_contingency([[56, 14], [48, 32]], correction=False).statistic
    assert p == pytest.approx(stats.chi2.sf(chi2 * 149 / 150, 1))


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_rate_difference_as_libraries(n: int, m: int, one: float, other: float) -> None:
    """Intervals are statsmodels'; small expected counts are Fisher's; large ones chi-squared's."""
    a, b = round(n * one), round(m * other)
    estimate, p = rate_difference(Rate(a, n, float(n)), Rate(b, m, float(m)))
    expected = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
    assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-9)
    table = np.array([[a, n - a], [b, m - b]])
    assert p is not None
    if (table.sum(axis=0) == 0).any():
        assert p == 1.0
    elif stats.contingency.expected_freq(table).min() < 5 - 1e-9:
        assert p == pytest.approx(stats.fisher_exact(table).pvalue)
    else:
        chi2 = stats.chi2_contingency(table, correction=False).statistic
        assert p == pytest.approx(stats.chi2.sf(chi2 * (n + m - 1) / (n + m), 1))


def test_holm_as_published() -> None:
    """Holm's correction (1979), worked out by hand; what isn't tested isn't counted."""
    found = holm([0.01, None, 0.04, 0.03, 0.005])
    assert found == [pytest.approx(0.03), None, *[pytest.approx(0.06)] * 2, pytest.approx(0.02)]
    assert holm([None, None]) == [None, None]


def test_false_alarms() -> None:
    """Where groups don't differ, an alarm is raised in about 5% of the reports at most."""
    alarms = 0
    for seed in range(120):
        score, truth = drawn(600, seed)
        rng = np.random.default_rng(seed)
        by = {"site": rng.choice(["a", "b", "c", "d"], 600), "sex": rng.choice(["M", "F"], 600)}
        section = subgroups_section(rows_of(score, truth, by=by))
        tables = [block(section, f"differences_{column}") for column in by]
        p_values = [row[place] for table in tables for row in table.rows for place in (2, 4, 6)]
        alarms += min(p_values) < 0.05
    assert alarms / 120 <= 0.1


# ----------------------------------------------------------------- section


def test_figures_of_groups() -> None:
    """Each group has the figures of its images alone, and all images are in a group."""
    score, truth = drawn()
    site = np.random.default_rng(1).choice(["a", "b", "c"], score.size)
    section = subgroups_section(rows_of(score, truth, by={"site": site}))
    table = block(section, "figures_site")
    for row in table.rows:
        inside = site == row[0]
        images = Outcomes(score[inside], truth[inside], score[inside] >= 0.5)
        expected = dict(key_figures(images))
        assert row[1:3] == (images.score.size, int(images.positive.sum()))
        for found, name in zip(row[4:8], ("sensitivity", "specificity", "ppv", "npv"), strict=True):
            assert found == expected[name]
        assert row[3].value == pytest.approx(expected["auc"].value)
    assert sum(row[1] for row in table.rows) == score.size


@pytest.mark.parametrize("sites", [["a", "b"], ["a", "b", "c"]])
def test_each_group_against_the_rest(sites: list[str]) -> None:
    """Differences are those to all other images, for two groups as for three."""
    score, truth = drawn()
    site = np.random.default_rng(1).choice(sites, score.size)
    section = subgroups_section(rows_of(score, truth, by={"site": site}))
    raw = []
    table = block(section, "differences_site")
    for row in table.rows:
        inside = site == row[0]
        areas = [
            area_of(Outcomes(score[part], truth[part], truth[part])) for part in (inside, ~inside)
        ]
        assert areas[0] is not None
        assert areas[1] is not None
        estimate, p = area_difference(areas[0], areas[1])
        assert row[1].value == pytest.approx(estimate.value)
        assert (row[1].low, row[1].high) == pytest.approx((estimate.low, estimate.high))
        for place, part in ((3, truth), (5, ~truth)):
            right = (score >= 0.5) == truth
            pair = [
                Rate(int(right[p].sum()), int(p.sum()), float(p.sum()))
                for p in (part & inside, part & ~inside)
            ]
            expected = rate_difference(pair[0], pair[1])
            assert row[place] == expected[0]
            raw.append(expected[1])
        raw.append(p)
    tests = raw if len(sites) == 3 else raw[:3]
    found = sorted({row[place] for row in table.rows for place in (2, 4, 6)})
    assert found == pytest.approx(sorted({each for each in holm(tests) if each is not None}))


def test_a_group_that_fails() -> None:
    """A group for which the model fails is named, with a warning; the others are not."""
    score, truth = drawn(2000)
    sex = np.random.default_rng(1).choice(["F", "M"], 2000)
    score = np.where((sex == "F") & truth, score * 0.5, score).astype(np.float32)
    finding = block(subgroups_section(rows_of(score, truth, by={"sex": sex})), "finding")
    assert finding.tone == "warning"
    assert "sex F (Sensitivity -0." in finding.text
    assert "sex M" not in finding.text


def test_small_groups() -> None:
    """A group that is too small is muted, has no p-value, and takes part in no correction."""
    score, truth = drawn()
    site = np.where(np.arange(score.size) < 12, "tiny", "a")
    site[600:] = "b"
    section = subgroups_section(rows_of(score, truth, by={"site": site}))
    plot = block(section, "forest_auc")
    assert [(row.name, row.muted) for row in plot.rows] == [
        ("a", False),
        ("b", False),
        ("tiny", True),
    ]
    assert block(section, "figures_site").rows[2][-1] == "too few positives and negatives"
    assert set(block(section, "differences_site").rows[2][1:]) == {None}
    assert "6 tests" in block(section, "finding").text


def test_groups_of_one_class() -> None:
    """Groups of ill people alone are compared by sensitivity, and by nothing else."""
    score, truth = drawn()
    kind = np.where(truth, np.where(np.arange(score.size) % 2, "virus", "bacteria"), "none")
    section = subgroups_section(rows_of(score, truth, by={"kind": kind}))
    muted = {
        name: [row.muted for row in block(section, f"forest_{name}").rows]
        for name in ("auc", "sensitivity", "specificity")
    }
    groups = [row[0] for row in block(section, "figures_kind").rows]
    assert groups == ["bacteria", "none", "virus"]
    assert muted["auc"] == [True, True, True]
    assert muted["sensitivity"] == [False, True, False]
    assert muted["specificity"] == [True, False, True]
    rows = {row[0]: row[1:] for row in block(section, "differences_kind").rows}
    assert [rows["virus"][place].value is None for place in (0, 2, 4)] == [True, False, True]
    assert "2 tests" in block(section, "finding").text


def test_plots() -> None:
    """There is a forest plot for each figure, with all groups and the figure of all images."""
    score, truth = drawn()
    by = {"sex": ["M", "F"] * 600, "site": ["a", "b", "c"] * 400}
    section = subgroups_section(rows_of(score, truth, by=by))
    plots = [each for each in section.blocks if isinstance(each, ForestPlot)]
    assert [plot.key for plot in plots] == [
        "forest_auc",
        "forest_sensitivity",
        "forest_specificity",
    ]
    for plot in plots:
        assert [row.group for row in plot.rows] == ["sex"] * 2 + ["site"] * 3
        name = plot.key.removeprefix("forest_")
        images = Outcomes(score, truth, score >= 0.5)
        assert plot.reference == pytest.approx(dict(key_figures(images))[name].value)
        lows = [row.estimate.low for row in plot.rows]
        assert all(low is not None and low >= plot.x.low for low in lows)
    keys = [each.key for each in section.blocks]
    assert len(set(keys)) == len(keys)


def test_clustered_groups() -> None:
    """With patients, groups have intervals that are clustered, too."""
    score, truth = drawn()
    patient = np.repeat(np.arange(300), 4)
    site = np.repeat(["a", "b", "c"], 400)
    plain, clustered = (
        block(
            subgroups_section(rows_of(score, truth, by={"site": site}, patient=key)), "figures_site"
        )
        for key in (None, patient)
    )
    images = Outcomes(score[:400], truth[:400], score[:400] >= 0.5)
    expected = dict(key_figures(images, patient[:400].astype(np.int32)))
    assert clustered.rows[0][4] == expected["sensitivity"]
    assert clustered.rows[0][3].low == pytest.approx(expected["auc"].low)
    assert clustered.rows[0][3].value == pytest.approx(plain.rows[0][3].value)
    assert clustered.rows[0][3].low != pytest.approx(plain.rows[0][3].low, rel=1e-6)


def test_one_group() -> None:
    """A column with one value, or none at all, has figures and nothing to be compared."""
    score, truth = drawn(100)
    by: dict[str, list[str | None]] = {"sex": ["F"] * 100, "site": [None] * 100}
    section = subgroups_section(rows_of(score, truth, by=by))
    assert "nothing to be compared" in block(section, "one_group_sex").text
    assert block(section, "figures_site").rows[0][0] == "unknown"
    assert block(section, "finding").text == "No group could be compared with the rest."


def test_groups_without_a_figure() -> None:
    """A group of one class has no area; it is muted, with an estimate that isn't defined."""
    score, truth = drawn(200)
    site = np.where(truth, "ill", "well")
    section = subgroups_section(rows_of(score, truth, by={"site": site}))
    plot = block(section, "forest_auc")
    assert [(row.muted, row.estimate) for row in plot.rows] == [
        (True, Estimate(None, n=int(truth.sum()))),
        (True, Estimate(None, n=int((~truth).sum()))),
    ]


@pytest.mark.parametrize(
    ("score", "label", "by", "key"),
    [
        ([0.1, 0.9], ["NORMAL", "PNEUMONIA"], {}, "no_columns"),
        ([0.1, 0.9], [None, None], {"sex": ["F", "M"]}, "nothing_to_measure"),
        ([0.1, 0.9], ["NORMAL", "NORMAL"], {"sex": ["F", "M"]}, "one_class"),
        ([np.nan, np.nan], ["NORMAL", "PNEUMONIA"], {"sex": ["F", "M"]}, "nothing_to_measure"),
    ],
)
def test_what_cannot_be_computed(
    score: list[float], label: list[str | None], by: dict[str, list[str]], key: str
) -> None:
    """Where nothing can be computed, the section is one text that says why."""
    (found,) = subgroups_section(make_rows(score, label, by=by)).blocks
    assert found.key == key


def test_markup_in_values() -> None:
    """Values are passed on as they are: whoever draws them escapes them."""
    score, truth = drawn(200)
    by = {"site": ["<b>", "a&b"] * 100}
    table = block(subgroups_section(rows_of(score, truth, by=by)), "figures_site")
    assert [row[0] for row in table.rows] == ["<b>", "a&b"]


def test_three_classes() -> None:
    """For three classes the section says that it is for two."""
    by = {"sex": ["F"]}
    rows = make_rows([[0.2, 0.3, 0.5]], ["A"], classes=("A", "B", "C"), threshold=None, by=by)
    (found,) = subgroups_section(rows).blocks
    assert found.key == "two_classes_only"
